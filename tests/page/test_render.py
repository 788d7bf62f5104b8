"""The page's frame as HTML: complete, escaped, in the right language."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.page import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.wording import Language

LANGUAGES: tuple[Language, ...] = ("zh", "en")


class Unbalanced(HTMLParser):
    """Counts tags that were opened and not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open = 0
        self.feed(html)

    def handle_starttag(self, _tag: str, _: list[tuple[str, str | None]]) -> None:
        self.open += 1

    def handle_endtag(self, _: str) -> None:
        self.open -= 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("part", [render.heading, render.banner, render.stage, render.monitor])
def test_every_part_closes_what_it_opens_and_differs_by_language(
    part: Callable[[Language], str], language: Language
) -> None:
    assert Unbalanced(part(language)).open == 0
    assert part("zh") != part("en")


def test_a_command_in_a_sentence_is_set_as_one() -> None:
    assert render.with_commands("run `a < b` now") == "run <code>a &lt; b</code> now"
