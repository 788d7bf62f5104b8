"""Nothing but `emotape models pull` uses the network: everything else works while every socket is an error."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Final

import pytest

from tests.conftest import AUDIO

_GUARD: Final = """
import sys

def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.client.", "ftplib.", "smtplib.")):
        raise RuntimeError(f"network used: {event} {arguments}")

sys.addaudithook(refuse)
"""

_USES: Final = {
    "importing": "import emotape",
    "listing": "from emotape.store.catalogue import list_models; assert list_models()",
    "resolving": "from emotape.store.catalogue import resolve; assert resolve(None).path.is_dir()",
    "verifying": """
        from emotape.model.weights import verify
        from emotape.store.catalogue import resolve
        assert verify(resolve(None).path).ok
    """,
    "recognizing": """
        import emotape
        with emotape.Recognizer() as recognizer:
            prediction = recognizer.recognize(r"{speech}", granularity="segment", embedding=True, quality=True)
        assert prediction.segments
    """,
    "the recognize command": """
        from emotape.__main__ import main
        sys.argv = ["emotape", "recognize", r"{speech}"]
        try:
            main()
        except SystemExit as end:
            assert not end.code, end.code
    """,
    "the list command": """
        from emotape.delivery.cli.models import app
        app(["list"], standalone_mode=False)
    """,
}


def offline(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter in which any use of a socket raises."""
    prepared = _GUARD + textwrap.dedent(code).format(speech=AUDIO / "thorsten_neutral.wav")
    return subprocess.run([sys.executable, "-c", prepared], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("use", _USES.values(), ids=_USES)
def test_it_opens_no_socket(use: str) -> None:
    done = offline(use)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("use", ["import socket; socket.socket()", "import socket; socket.getaddrinfo('a', 1)"])
def test_the_guard_would_notice(use: str) -> None:
    done = offline(use)
    assert done.returncode != 0
    assert "network used" in done.stderr
