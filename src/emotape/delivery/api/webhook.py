"""Tells a caller's server that a job is finished: only hosts that are allow-listed, signed, tried again for a day.

The message follows Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature`, which is HMAC-SHA256
over `id.timestamp.body`, so that any of its libraries can check it. A message may come twice, with the same id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.api.callback_target import checked_target
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.store.jobs import Callback, JobStore

log = logging.getLogger("emotape")

_PREFIX: Final = "whsec_"  # as Standard Webhooks writes secrets
WAITS: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0)
"""Seconds from each failed attempt to the next; after the last one, a message is given up."""
_SHORTEST_SECRET: Final = 24  # bytes, as Standard Webhooks asks
_TIMEOUT: Final = 10.0
_IDLE_SECONDS: Final = 300.0
_AFTER_FAULT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class WebhookOptions:
    """Where messages may go, and what signs them.

    hosts   names ("hooks.example.com", "*.example.com"), whose addresses must be public; and addresses or networks
            ("10.1.2.3", "10.0.0.0/8"), which are allowed although they are private
    secret  "whsec_" and at least 24 bytes in base64; None: no callbacks
    """

    hosts: tuple[str, ...] = ()
    secret: str | None = None
    waits: tuple[float, ...] = WAITS


def check_options(options: WebhookOptions) -> None:
    """Raise BadRequest "webhook_secret" unless the secret is one."""
    if options.secret is not None and len(_key(options.secret)) < _SHORTEST_SECRET:
        raise BadRequest("webhook_secret", least=_SHORTEST_SECRET)


def check_callback(url: str, options: WebhookOptions) -> None:
    """Refuse a callback that could not be made.

    Raises BadRequest "callbacks_off" and what `checked_target` raises. Resolves names: not for the event loop.
    """
    if options.secret is None or not options.hosts:
        raise BadRequest("callbacks_off")
    checked_target(url, options.hosts)


def signature(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of a message."""
    signed = b".".join([message.encode(), str(timestamp).encode(), body])
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


class Courier:
    """The thread that delivers messages; jobs never wait for it."""

    def __init__(self, store: JobStore, options: WebhookOptions, clock: Callable[[], float] = time.time) -> None:
        check_options(options)
        self._store = store
        self._options = options
        self._clock = clock
        self._woken = threading.Event()
        self._leaving = False
        self._fault: str | None = None
        self._notes: list[tuple[Callback, str | None, float | None]] = []
        self._thread = threading.Thread(target=self._run, name="emotape-webhooks", daemon=True)
        self._stop_listening = store.listen(lambda _: self._woken.set())

    def start(self) -> None:
        """Begin with what is due."""
        if self._options.secret is not None:
            self._thread.start()

    def stop(self) -> None:
        """End after the message that is under way; the rest stays for the next start."""
        self._stop_listening()
        self._leaving = True
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._leaving:
            self._woken.clear()
            try:
                patience = self._deliver_due()
                self._fault = None
            except EmotapeError as error:
                if self._fault != error.code:
                    log.exception("webhooks cannot be delivered for the moment")
                self._fault = error.code
                patience = _AFTER_FAULT_SECONDS
            self._woken.wait(patience)

    def _deliver_due(self) -> float:
        """Deliver what is due; return in how many seconds to look again."""
        self._write_notes()
        while not self._leaving and (call := self._store.claim_callback()) is not None:
            self._deliver(call)
            self._write_notes()
        wait = self._store.next_callback()
        return _IDLE_SECONDS if wait is None else min(_IDLE_SECONDS, wait)

    def _deliver(self, call: Callback) -> None:
        try:
            problem = self._post(call)
        except EmotapeError as error:
            problem = error.code
        except Exception as error:  # noqa: BLE001 - one message never holds up the others
            problem = type(error).__name__
        last = problem == "410" or call.attempts >= len(self._options.waits)
        self._notes.append((call, problem, None if last else self._options.waits[call.attempts]))

    def _write_notes(self) -> None:
        """Note how messages went; what cannot be noted now is noted before the next one."""
        while self._notes:
            call, problem, wait = self._notes[0]
            if problem is None:
                self._store.callback_delivered(call)
            else:
                self._store.callback_failed(call, problem, wait)
            self._notes.pop(0)

    def _post(self, call: Callback) -> str | None:
        """Send a message; return None if it was taken, else what came instead."""
        import httpx

        target = checked_target(call.url, self._options.hosts)
        body, timestamp = call.body.encode(), int(self._clock())
        headers = {
            "host": target.url.netloc.decode("ascii"),
            "content-type": "application/json",
            "webhook-id": call.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._options.secret or "", call.id, timestamp, body),
        }
        url = target.url.copy_with(host=target.address)
        named = {"sni_hostname": target.url.raw_host.decode("ascii")}  # the certificate is the name's
        try:
            with (
                httpx.Client(trust_env=False, follow_redirects=False, timeout=_TIMEOUT) as client,
                client.stream("POST", url, content=body, headers=headers, extensions=named) as answer,  # never read
            ):
                return None if answer.is_success else str(answer.status_code)
        except httpx.HTTPError as error:
            return type(error).__name__


def _key(secret: str) -> bytes:
    """Return the bytes of a secret; none if it is not one."""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
