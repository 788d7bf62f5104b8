"""The documents of the command say what the command does: every option, every example, every exit code."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer

import emotape.delivery
from emotape.audio.quality import Quality
from emotape.delivery import export
from emotape.delivery.cli import app
from emotape.delivery.cli.errors import ExitCode
from emotape.delivery.export import EXPORTERS
from emotape.engine.result import GRANULARITIES
from emotape.errors import BadRequest
from emotape.wording import known_codes
from tests.delivery.fakes import PROVENANCE, make_prediction

if TYPE_CHECKING:
    from datetime import datetime

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["cli.md", "cli.zh.md"]
DESCRIBED = ["recognize", "evaluate", "serve", "settings", "profile", "top"]


def section(page: str, command: str) -> str:
    """Return the text under the heading of a command."""
    text = (DOCS / page).read_text("utf-8")
    found = re.search(rf"^## `{command}`$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no section on {command}"
    return found[1]


def told(page: str, command: str) -> set[str]:
    """Return the options in the first column of a section's tables."""
    rows = re.findall(r"^\| (`-.*?) \|", section(page, command), re.MULTILINE)
    return {option for row in rows for option in re.findall(r"`(-[\w-]+)`", row)}


def taken(command: Any) -> set[str]:
    """Return the options that a command takes, but for --help."""
    options = [param for param in command.params if param.param_type_name == "option"]
    return {name for option in options for name in (*option.opts, *option.secondary_opts)} - {"--help", "-h"}


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", DESCRIBED)
def test_every_option_is_documented_and_every_documented_option_exists(root: Any, page: str, name: str) -> None:
    assert told(page, f"emotape {name}") == taken(root.commands[name])


@pytest.mark.parametrize("page", PAGES)
def test_the_options_before_the_command_are_documented(root: Any, page: str) -> None:
    assert told(page, "emotape") == taken(root) | {"--help", "-h"}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_has_a_section(root: Any, page: str) -> None:
    headings = re.findall(r"^## `emotape (\w+)`$", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    assert set(headings) == set(root.commands)
    assert all(f"`{name}" in section(page, "emotape models") for name in root.commands["models"].commands)


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_understood(root: Any, page: str) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    examples = [line for block in blocks for line in block.splitlines() if line.startswith("emotape ")]
    assert len(examples) >= 9
    for example in examples:
        command, arguments = root, shlex.split(example)[1:]
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context("emotape", arguments).close()


@pytest.mark.parametrize("page", PAGES)
def test_every_exit_code_is_documented(page: str) -> None:
    rows = re.findall(r"^\| (\d+) \|", section(page, "emotape recognize"), re.MULTILINE)
    assert [int(row) for row in rows] == list(ExitCode)


def test_every_export_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(segments[.\w]+)` \|", (DOCS / "formats.md").read_text("utf-8"), re.M))
    assert rows == {name: file for name, (file, _) in EXPORTERS.items()}


def keys_told(heading: str) -> set[str]:
    """Return the keys in the first column of the tables under a heading of formats.md."""
    text = (DOCS / "formats.md").read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_every_key_of_the_results_is_documented(noon: datetime) -> None:
    experimental = replace(PROVENANCE, experimental=True)
    quality = Quality(-20.0, -3.0, 0.0, 0.0, 1.0)
    vectors: dict[str, Any] = {"frames": np.ones((1, 9), np.float32) / 9, "embedding": np.ones(4, np.float32)}
    seen: set[str] = set()
    for granularity in GRANULARITIES:
        told = {"granularity": granularity, "provenance": experimental, "quality": quality, "uncertain_below": 0.5}
        made = make_prediction(**told, **vectors)
        found = export.document("a.wav", made, noon, {})
        seen |= found.keys() | found["details"].keys()
    failed = export.failure("a.wav", BadRequest("stdin_twice"))
    seen |= failed.keys() | failed["error"].keys()
    run = {"source", "channel", "key", "folder"}  # what `recognize` adds
    assert seen | run == keys_told("JSON")


def test_every_text_of_the_command_is_worded() -> None:
    source = Path(emotape.delivery.__file__).parent
    code = "\n".join(path.read_text("utf-8") for path in source.rglob("*.py"))
    assert set(re.findall(r'interface_text\(\s*"(\w+)"', code)) <= known_codes("texts")
    assert set(re.findall(r'BadRequest\(\s*"(\w+)"', code)) <= known_codes("errors")


def test_both_languages_name_the_same_keys_of_the_result_formats() -> None:
    english, chinese = (
        re.findall(r"^\| (`.*?) \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
        for page in ("formats.md", "formats.zh.md")
    )
    named = [[re.findall(r"`(.*?)`", cell) for cell in cells] for cells in (english, chinese)]
    assert named[0] == named[1] != []
