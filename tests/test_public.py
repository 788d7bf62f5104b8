"""The public surface: every promised name is there, and importing does nothing."""

from __future__ import annotations

import subprocess
import sys

import emotape


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
