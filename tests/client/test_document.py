"""The examples of docs/client.md run as they stand, and the Chinese page has the same ones."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import AUDIO

if TYPE_CHECKING:
    from tests.client.conftest import Place

DOCS = Path(__file__).parents[2] / "docs"


def examples(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("number", "printed"), [(0, "1.59175"), (1, "1 of 1"), (2, "text_not_audio"), (3, "StreamSummary")]
)
def test_an_example_runs(
    place: Place,
    number: int,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(AUDIO / "thorsten_neutral.wav", "speech.wav")
    Path("broken.wav").write_text("no sound")
    text = examples("client.md")[number].replace("http://127.0.0.1:7860", place.url).replace("emo_...", place.key)
    exec(compile(text, "docs/client.md", "exec"), {})  # noqa: S102 - our own example
    assert printed in capsys.readouterr().out


def test_both_languages_have_the_same_examples() -> None:
    assert examples("client.zh.md") == examples("client.md")
    assert len(examples("client.md")) == 4
