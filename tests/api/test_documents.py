"""docs/api.md tells what is: its examples run, its options and statuses are the interface's, in both languages."""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from emotape.delivery.api.recognize import RecognizeOptions
from tests.api.conftest import AUDIO

if TYPE_CHECKING:
    from starlette.testclient import TestClient

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("api.md", "api.zh.md")
SPEECH = AUDIO / "thorsten_neutral.wav"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def requests() -> list[str]:
    """Return the calls to this machine that the document shows."""
    lines = [line for block in blocks("api.md") for line in block.splitlines()]
    return [line for line in lines if line.startswith("curl") and "127.0.0.1" in line]


def called(client: TestClient, command: str) -> Any:
    """Send what a curl command would send."""
    words = iter(shlex.split(command)[1:])
    sent: dict[str, Any] = {"files": [], "data": {}, "headers": {}}
    for word in words:
        if word == "-F":
            name, _, value = next(words).partition("=")
            if value.startswith("@"):
                sent["files"].append((name, (value[1:], SPEECH.read_bytes())))
            else:
                sent["data"][name] = value
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            sent["headers"][name] = value
        elif word == "--data-binary":
            assert next(words) == "@speech.wav"
            sent["content"] = SPEECH.read_bytes()
        elif word == "-d":
            sent["content"] = next(words).replace("…", base64.b64encode(SPEECH.read_bytes()).decode())
        else:
            address = urlsplit(word)
    parts = {key: value for key, value in sent.items() if value}
    return client.post(f"{address.path}?{address.query}", **parts)


@pytest.mark.parametrize("command", requests())
def test_every_example_is_answered(client: TestClient, command: str) -> None:
    answered = called(client, command)
    assert answered.status_code == 200, answered.text
    found = answered.json()
    assert len(found if isinstance(found, list) else [found]) >= 1
    assert not any("error" in one for one in found)


def test_both_documents_show_the_same_calls_and_the_same_parts() -> None:
    english, chinese = ([re.sub(r"#.*", "", block) for block in blocks(page)] for page in PAGES)
    assert english == chinese
    english, chinese = (re.findall(r"^#+", (DOCS / page).read_text("utf-8"), re.MULTILINE) for page in PAGES)
    assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_every_option_and_status_is_documented(client: TestClient, page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(RecognizeOptions.model_fields)
    told = {
        status for row in re.findall(r"^\| ([\d, 、]+) \|", text, re.MULTILINE) for status in re.findall(r"\d+", row)
    }
    operation = client.get("/openapi.json").json()["paths"]["/v1/recognize"]["post"]
    assert set(operation["responses"]) - {"200"} == told - {"404", "405", "409"}
