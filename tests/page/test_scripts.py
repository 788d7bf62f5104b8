"""The page's scripts: no markup made of data, no other machine, and every word in both languages."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from emotape.delivery.page.words import words_of
from emotape.wording import known_codes

ASSETS = resources.files("emotape.delivery.page") / "assets"
SCRIPTS = {file.name: file.read_text(encoding="utf-8") for file in ASSETS.iterdir() if file.name.endswith(".js")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_that_comes_from_outside_can_become_markup_or_code(name: str) -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc|DOMParser"
    assert re.search(ways, SCRIPTS[name]) is None


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_knows_another_machine(name: str) -> None:
    assert set(re.findall(r"https?://[^\"'` ]+", SCRIPTS[name])) <= {"http://www.w3.org/2000/svg"}


def test_every_word_that_a_script_says_exists_and_none_is_left_over() -> None:
    source = "".join(SCRIPTS.values())
    said = {code for code in words_of("en")["texts"] if f'"{code}"' in source or f"{code}:" in source}
    called = set(re.findall(r'say\("(\w+)"', source))
    texts = set(words_of("en")["texts"])
    composed = {code for code in texts if code.startswith("stage_")}
    assert called <= texts
    assert said | composed == texts


def test_the_words_of_both_languages_have_the_same_places_for_facts() -> None:
    english, chinese = words_of("en")["texts"], words_of("zh")["texts"]
    assert english.keys() == chinese.keys()
    for code, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese[code]))


def test_every_warning_of_a_prediction_has_its_words_in_the_browser() -> None:
    assert words_of("zh")["warnings"].keys() == known_codes("warnings")
