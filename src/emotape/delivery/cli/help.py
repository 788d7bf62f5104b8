"""`--help` in the reader's language: English stands beside each option, Chinese in wording/help.toml."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text
from typer import rich_utils

from emotape.delivery.cli.language import ambient_language
from emotape.wording import help_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from emotape.wording import Language

_FOLD: Final[dict[str, Any]] = {"overflow": "fold"}


class Folding(Text):
    """A text that goes on in the next line where it has no space, where typer would cut Chinese off."""

    def __init__(self, text: str = "", style: Any = "", **options: Any) -> None:
        super().__init__(text, style, **_FOLD | options)

    @classmethod
    def from_markup(cls, text: str, **options: Any) -> Text:
        """Return the text that some markup stands for."""
        return super().from_markup(text, **_FOLD | options)


_FRAME: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "ARGUMENTS_PANEL_TITLE": "Arguments",
        "OPTIONS_PANEL_TITLE": "Options",
        "COMMANDS_PANEL_TITLE": "Commands",
        "ERRORS_PANEL_TITLE": "Error",
        "DEFAULT_STRING": "[default: {}]",
        "REQUIRED_LONG_STRING": "[required]",
        "RICH_HELP": "Try [blue]'{command_path} {help_option}'[/] for help.",
    },
    "zh": {
        "ARGUMENTS_PANEL_TITLE": "参数",
        "OPTIONS_PANEL_TITLE": "选项",
        "COMMANDS_PANEL_TITLE": "子命令",
        "ERRORS_PANEL_TITLE": "错误",
        "DEFAULT_STRING": "[默认：{}]",
        "REQUIRED_LONG_STRING": "[必填]",
        "RICH_HELP": "运行 [blue]{command_path} {help_option}[/] 查看帮助。",
    },
}
"""typer's own words around ours, by the names of its constants."""
_VARIABLE: Final = re.compile(r" \[EMOTAPE_\w+\]$")


def asked_language(arguments: Sequence[str]) -> Language:
    """Return the language that `--language` names among `arguments`, else that of the environment."""
    named = [after for before, after in pairwise(arguments) if before == "--language"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--language=")]
    if named and named[-1] in ("en", "zh"):
        return "zh" if named[-1] == "zh" else "en"
    return ambient_language()


def speak(command: Any, language: Language) -> None:
    """Word the help of `command` and of all below it, and typer's own words around it, in `language`."""
    for constant, words in {**_FRAME[language], "Text": Folding}.items():
        setattr(rich_utils, constant, words)
    if language == "zh":
        names = command.context_settings["help_option_names"]
        for each in commands_of(command):
            each.help = in_chinese(each.help)
            for parameter in [*each.params, each.get_help_option(each.context_class(each, help_option_names=names))]:
                parameter.help = in_chinese(parameter.help)


def commands_of(command: Any) -> Iterator[Any]:
    """Yield `command` and all commands below it."""
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from commands_of(below)


def in_chinese(english: str | None) -> str:
    """Return a help text in Chinese, paragraph by paragraph; the variable of a setting stays behind it."""
    return "\n\n".join(_paragraph(each) for each in (english or "").split("\n\n"))


def _paragraph(english: str) -> str:
    variable = _VARIABLE.search(english)
    return help_text(_VARIABLE.sub("", english)) + (variable.group() if variable else "")
