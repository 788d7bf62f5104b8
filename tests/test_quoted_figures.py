"""Figures that the documents quote from results/ are those of the files.

A quoted figure is a link of its own, `[4.83 ×][first]`, and its definition names the file and the place in it as a JSON
pointer: `[first]: ../results/tutorial-large.json#/tables/0/rows/1/%C3%97%20first`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
TUNING = ("docs/tuning.md", "docs/tuning.zh.md")
IN_BOTH_LANGUAGES = (TUNING, ("README.md", "README.zh.md"), ("docs/evaluation.md", "docs/evaluation.zh.md"))

DEFINITION = re.compile(r"^\[([\w-]+)\]: (\S+\.json)#(/\S+)$", re.MULTILINE)
QUOTED = re.compile(r"\[([^][]+)\]\[([\w-]+)\]")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
SCALES = {("ms", "s"): 1e-3, ("ms", "秒"): 1e-3, ("ms", "毫秒"): 1.0, ("s", "秒"): 1.0, ("MB", "GB"): 1e-3}
PARTS = {1: ("median",), 2: ("lower_quartile", "upper_quartile"), 3: ("median", "lower_quartile", "upper_quartile")}


@cache
def result(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def definitions(document: str) -> dict[str, tuple[str, str]]:
    """Return file and pointer of every figure by its name."""
    text = (ROOT / document).read_text("utf-8")
    return {name: (file, unquote(pointer)) for name, file, pointer in DEFINITION.findall(text)}


def quotes(document: str) -> list[tuple[str, str]]:
    """Return what a document shows and the name of the figure, for every quoted figure."""
    known = definitions(document)
    found = QUOTED.findall((ROOT / document).read_text("utf-8"))
    return [(shown, name) for shown, name in found if name in known]


def place(document: str, name: str) -> Any:
    """Return what a figure's pointer leads to: a number, or a spread."""
    file, pointer = definitions(document)[name]
    found = result((ROOT / document).parent / file)
    for part in pointer.split("/")[1:]:
        step = part.replace("~1", "/").replace("~0", "~")
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def scale(column: str, shown: str) -> float:
    """Return the factor from a column's unit to the one that the text shows behind its numbers."""
    units = column.replace(",", " ").split()
    said = re.sub(r"[\d.,()（）–\s~]+", " ", shown).split()
    return next((SCALES[pair] for pair in SCALES if pair[0] in units and pair[1] in said), 1.0)


def holds(shown: str, found: Any, column: str) -> bool:
    """Whether the numbers shown are the file's, rounded to as many digits as are shown."""
    numbers = NUMBER.findall(shown)
    values = [found[part] for part in PARTS[len(numbers)]] if isinstance(found, dict) else [found]
    factor = scale(column, shown)
    return len(numbers) == len(values) and all(
        abs(float(number.replace(",", "")) - factor * value) <= 0.5001 * 10 ** -len(number.partition(".")[2])
        for number, value in zip(numbers, values, strict=True)
    )


def test_rounding_units_and_quartiles_are_read() -> None:
    spread = {"median": 1.046, "lower_quartile": 0.98, "upper_quartile": 1.2}
    assert holds("1.05 ×", spread, "× better")
    assert holds("1.05 (0.98–1.20)", spread, "× better")
    assert holds("0.98–1.20", spread, "× better")
    assert not holds("1.04 ×", spread, "× better")
    assert holds("1.5 s", 1494.9, "load ms")
    assert holds("1.5 秒", 1494.9, "load ms")
    assert holds("1,495 ms", 1494.9, "load ms")
    assert holds("1.9 GB", 1_949.2, "MB growth at peak")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_quoted_figures_are_those_of_the_result_files(document: str) -> None:
    for shown, name in quotes(document):
        _, pointer = definitions(document)[name]
        found = place(document, name)
        assert holds(shown, found, pointer.rpartition("/")[2]), (shown, name, found)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_figure_that_is_defined_is_quoted(document: str) -> None:
    assert set(definitions(document)) <= {name for _, name in quotes(document)}


@pytest.mark.parametrize("document", TUNING)
def test_the_tuning_guide_measures_nothing_without_saying_where(document: str) -> None:
    """Outside code, what looks measured (a decimal number, a ratio) is a quoted figure."""
    text = re.sub(r"^```.*?^```|`[^`]*`", "", (ROOT / document).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = QUOTED.sub("", DEFINITION.sub("", text))
    assert not re.findall(r"\d+\.\d+|\d\s*×|\d\s*倍", text)


@pytest.mark.parametrize(("english", "chinese"), IN_BOTH_LANGUAGES)
def test_both_languages_quote_the_same_figures(english: str, chinese: str) -> None:
    assert quotes(english)
    assert definitions(english) == definitions(chinese)
