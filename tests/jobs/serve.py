"""A server process of its own, to be killed: the whole interface over the bundled model, jobs in a given folder.

python -m tests.jobs.serve FOLDER [WEBHOOK_SECRET [DATABASE_URL]]
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import uvicorn

from emotape.delivery.api import jobs_runner
from emotape.delivery.api.app import create_app
from emotape.delivery.api.durable import DurableOptions, Jobs
from emotape.delivery.api.service import Service
from emotape.delivery.api.webhook import WebhookOptions
from emotape.delivery.server import take_address, url_of
from emotape.recognizer import Recognizer


def main(folder: str, secret: str | None = None, database_url: str | None = None) -> None:
    webhook = WebhookOptions(("127.0.0.1",), secret)
    if database_url is not None:
        jobs_runner._UPKEEP_SECONDS = 0.5  # type: ignore[misc]  # seconds of a test are dear
    listener = take_address("127.0.0.1", 0)
    with Recognizer() as recognizer:
        jobs = Jobs(DurableOptions(Path(folder), webhook=webhook, database_url=database_url), recognizer)
        service = Service(recognizer, jobs=jobs, history=jobs.history)
        jobs.start()
        service.readiness.mark_ready()
        listener.listen()
        sys.stdout.write(url_of(listener) + "\n")
        sys.stdout.flush()
        config = uvicorn.Config(create_app(service), log_level="warning", access_log=False)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again when it has ended
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            jobs.stop(10.0)
            jobs.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
