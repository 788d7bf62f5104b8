"""The servers that people build around FunASR: `python -m emotape.delivery.bench.peer_server KIND OFFICIAL THREADS`.

KIND is "handler" or "gradio", OFFICIAL the official model directory. The address is printed once requests are taken. No
part of the service: `emotape bench serve` measures against it.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.delivery.bench.reference import Reference

_HOST = "127.0.0.1"


def handler(reference: Reference, announce: Callable[[str], None]) -> None:
    """Serve a plain FastAPI handler that writes each upload to a file and runs the resident model on it."""
    import uvicorn
    from fastapi import FastAPI, UploadFile

    app = FastAPI()

    def recognize(file: UploadFile) -> dict[str, str | None]:
        with tempfile.NamedTemporaryFile(suffix=".wav") as copy:
            copy.write(file.file.read())
            copy.flush()
            return {"emotion": reference.generate(Path(copy.name))}

    # The annotation is a name that only this function knows, and FastAPI looks names up in the module.
    recognize.__annotations__ = {"file": UploadFile, "return": dict[str, str | None]}
    app.post("/recognize")(recognize)
    with socket.create_server((_HOST, 0)) as listener:
        announce(f"http://{_HOST}:{listener.getsockname()[1]}")
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def gradio(reference: Reference, announce: Callable[[str], None]) -> None:
    """Serve a Gradio page with its default queue: one request at a time."""
    import gradio as gr

    def recognize(path: str) -> dict[str, Any]:
        return {"emotion": reference.generate(Path(path))}

    page = gr.Interface(recognize, gr.Audio(type="filepath"), gr.JSON(), api_name="recognize", analytics_enabled=False)
    _, url, _ = page.launch(server_name=_HOST, prevent_thread_lock=True, quiet=True, ssr_mode=False)
    announce(url.rstrip("/"))
    page.block_thread()


KINDS = {"handler": handler, "gradio": gradio}


def main(arguments: list[str]) -> int:
    """Load the model, then serve until a signal. What other packages print goes to standard error."""
    from emotape.delivery.bench.reference import Reference

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def announce(url: str) -> None:
        answers.write(f"ready: {url}\n")
        answers.flush()

    kind, official, threads = arguments
    KINDS[kind](Reference(Path(official), int(threads)), announce)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
