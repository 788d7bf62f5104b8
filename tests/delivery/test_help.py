"""`--help` is whole in both languages: every text has a Chinese one, and nothing is lost on the way to the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer
from rich.cells import cell_len
from rich.text import Text
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.delivery.cli.help import asked_language, commands_of, in_chinese
from emotape.wording import known_codes

if TYPE_CHECKING:
    from collections.abc import Iterator


def texts(command: Any) -> Iterator[str]:
    for each in commands_of(command):
        yield each.help
        yield from (parameter.help for parameter in each.params)


def test_every_text_has_a_chinese_one_and_no_chinese_one_is_left_over() -> None:
    english = set(texts(typer.main.get_command(app))) | {"Show this message and exit."}
    paragraphs = {part.split(" [EMOTAPE_")[0] for text in english for part in text.split("\n\n")}
    assert paragraphs == known_codes("help")


@pytest.mark.parametrize("told", [str, in_chinese])
def test_no_part_of_a_text_is_taken_for_markup(told: Any) -> None:
    for text in texts(typer.main.get_command(app)):
        assert Text.from_markup(told(text)).plain == told(text)


def test_help_follows_the_locale_and_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMOTAPE_LANGUAGE", raising=False)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    chinese = CliRunner().invoke(app, ["models", "pull", "-h"]).stdout
    assert all(words in chinese for words in ("下载模型", "参数", "选项", "必填", "显示本帮助", "[默认：auto]"))
    english = CliRunner().invoke(app, ["models", "pull", "-h", "--language", "en"]).stdout
    assert all(words in english for words in ("Download", "Arguments", "Options", "required", "default: auto"))
    assert "错误" in CliRunner().invoke(app, ["recognize"]).stderr


@pytest.mark.parametrize(("language", "title"), [("en", "Options"), ("zh", "选项")])
def test_nothing_is_cut_off_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, language: str, title: str) -> None:
    """Chinese and long defaults have no spaces, and what is longer than a column would end in an ellipsis."""
    monkeypatch.setenv("EMOTAPE_LANGUAGE", language)
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    for command in (["-h"], ["recognize", "-h"], ["plan", "-h"], ["bench", "gpu", "-h"]):
        shown = CliRunner().invoke(app, command).stdout
        assert title in shown
        assert "…" not in shown
        assert max(cell_len(line) for line in shown.splitlines()) <= 80


@pytest.mark.parametrize(
    ("arguments", "language"), [(["--language=zh"], "zh"), (["--language", "xx"], "en"), ([], "en")]
)
def test_a_language_that_is_none_counts_as_not_given(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], language: str
) -> None:
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    assert asked_language(arguments) == language
