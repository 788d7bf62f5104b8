"""The public surface: every promised name is there, and importing does nothing."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature

import pytest
import typer

import emotape
from emotape.delivery.cli import app

THE_COMMANDS_OWN = {"as_json", "language", "models_folder", "device", "dtype", "threads", "offload", "output"}
"""How the command shows things, and what a `RecognizerOptions` says to the functions."""


def run(code: str) -> str:
    """Run code in a fresh interpreter; return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_every_public_name_is_there() -> None:
    """`__all__` is the truth, and nothing else is offered."""
    for name in emotape.__all__:
        assert getattr(emotape, name) is not None
    assert dir(emotape) == sorted(emotape.__all__)
    assert set(emotape._HOMES) | {"__version__"} == set(emotape.__all__)


def test_importing_does_nothing() -> None:
    """No torch, no numpy, no decoder, no thread, no logging set-up and no change of the environment."""
    code = (
        "import os, sys, threading, logging; before = dict(os.environ); import emotape, emotape.__main__;"
        "heavy = {'torch', 'numpy', 'av', 'soxr', 'gradio', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "print(sorted(heavy), threading.active_count(), logging.root.handlers, before == dict(os.environ))"
    )
    assert run(code) == "[] 1 [] True"


def test_errors_are_importable_without_the_engine() -> None:
    """Catching an error must not cost an import of torch."""
    assert run("import sys, emotape; emotape.BadAudio; print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize("name", ["adapt", "evaluate"])
def test_the_functions_take_what_the_commands_take(name: str) -> None:
    """With the same names, and the same defaults where both have one."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {param.name: param for param in command.params}
    arguments = signature(getattr(emotape, name)).parameters
    assert arguments.keys() - {"output"} == (options.keys() - THE_COMMANDS_OWN) | {"options", "progress"}
    for key in arguments.keys() & options.keys() - {"output", "recordings"}:
        assert (arguments[key].default or None) == (options[key].default or None), key


def test_the_functions_know_no_command_line() -> None:
    """A notebook pays for neither the command nor pictures nor training before it asks for them."""
    code = "import sys, emotape; emotape.adapt, emotape.evaluate;"
    assert run(code + "print(sorted({'typer', 'rich', 'matplotlib', 'peft', 'gradio'} & set(sys.modules)))") == "[]"
