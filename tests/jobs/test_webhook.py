"""Webhooks: signed as the standard says, delivered in the end, and never where they must not go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.api.callback_target import checked_target
from emotape.delivery.api.webhook import Courier, WebhookOptions, check_callback, check_options, signature
from emotape.errors import BadRequest
from emotape.store.jobs import Submission
from tests.api.conftest import visiting
from tests.jobs.conftest import Clock, Place, accepted, cut_off, finish_all, form, serving, uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.recognizer import Recognizer
    from emotape.store.jobs import JobStore

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
LOCAL = WebhookOptions(("127.0.0.1",), SECRET, waits=(0.0, 0.0, 0.0))


@dataclass
class Receiver:
    """A real HTTP server that answers with planned statuses, then with 200."""

    url: str
    statuses: list[int]
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def awaited(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count, 60)
            return list(self.got)


@contextmanager
def receiving(*statuses: int, redirect: str | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with receiver.changed:
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.changed.notify_all()
            self.send_response(status)
            if redirect is not None:
                self.send_header("location", redirect)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook?from=emotape", list(statuses))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def delivering(store: JobStore, options: WebhookOptions, clock: Clock) -> Iterator[Courier]:
    courier = Courier(store, options, clock)
    courier.start()
    try:
        yield courier
    finally:
        courier.stop()


def verified(headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Check a message as Standard Webhooks describes it, from the bytes on the wire alone."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{expected}" in headers["webhook-signature"].split(" ")
    message: dict[str, Any] = json.loads(body)
    return message


def states(store: JobStore) -> list[tuple[str, int, str | None]]:
    with store._database.read() as connection:
        rows = connection.execute("SELECT state, attempts, problem FROM callbacks ORDER BY job")
        return [(row["state"], row["attempts"], row["problem"]) for row in rows]


def settled(store: JobStore, *wanted: str) -> list[tuple[str, int, str | None]]:
    while [state for state, *_ in states(store)] != list(wanted):  # the test's own time limit ends this
        pass
    return states(store)


def test_the_signature_is_the_standards_own_example() -> None:
    """The vector of the Standard Webhooks specification's reference libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
    body = b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_end_is_told_signed_and_without_names_of_files(store: JobStore, place: Place) -> None:
    with receiving() as receiver, delivering(store, LOCAL, place.clock):
        job = accepted(store, b"1", b"2", callback=receiver.url)
        finish_all(store)
        ((headers, body),) = receiver.awaited(1)
    assert states(store) == [("delivered", 1, None)]
    message = verified(headers, body)
    counts = {"queued": 0, "running": 0, "done": 2, "failed": 0, "cancelled": 0}
    assert message["type"] == "job.done"
    assert message["data"] == {"id": job.id, "state": "done", "counts": counts}
    assert headers["webhook-timestamp"] == str(int(place.clock.now))
    assert "wav" not in body.decode()


def test_failures_are_tried_again_with_the_same_id_until_one_succeeds(store: JobStore, place: Place) -> None:
    with receiving(500, 302, 503) as receiver, delivering(store, LOCAL, place.clock):
        accepted(store, callback=receiver.url)
        finish_all(store)
        got = receiver.awaited(4)
    assert states(store) == [("delivered", 4, None)]
    assert len({headers["webhook-id"] for headers, _ in got}) == 1
    assert {verified(headers, body)["type"] for headers, body in got} == {"job.done"}


def test_a_message_is_given_up_in_the_end(store: JobStore, place: Place) -> None:
    with receiving(*[500] * 9) as receiver, delivering(store, LOCAL, place.clock):
        accepted(store, callback=receiver.url)
        finish_all(store)
        receiver.awaited(4)
    assert states(store) == [("given_up", 4, "500")]
    assert len(receiver.got) == 4


def test_a_receiver_that_is_gone_for_good_is_left_alone(store: JobStore, place: Place) -> None:
    with receiving(410) as receiver, delivering(store, LOCAL, place.clock):
        accepted(store, callback=receiver.url)
        finish_all(store)
        receiver.awaited(1)
    assert states(store) == [("given_up", 1, "410")]


def test_what_was_not_delivered_is_delivered_after_a_restart(place: Place) -> None:
    """The waiting time is kept, too: nothing is sent before it has passed."""
    options = WebhookOptions(("127.0.0.1",), SECRET, waits=(600.0,))
    with receiving(500) as receiver:
        with place.opened() as store:
            with delivering(store, options, place.clock):
                accepted(store, callback=receiver.url)
                finish_all(store)
                receiver.awaited(1)
            assert states(store) == [("waiting", 1, "500")]
        with place.opened() as store:
            assert store.claim_callback() is None
            assert store.next_callback() == 600.0
            place.clock.now += 600
            with delivering(store, options, place.clock):
                receiver.awaited(2)
            assert states(store) == [("delivered", 2, None)]
        first, second = receiver.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert int(second[0]["webhook-timestamp"]) - int(first[0]["webhook-timestamp"]) == 600
    verified(*second)


def test_a_call_whose_maker_died_is_made_by_another(place: Place) -> None:
    """One who waits for calls hears that there is one, when it is taken back."""
    dying = place.open()
    with place.opened() as store, receiving() as receiver:
        accepted(dying, callback=receiver.url)
        finish_all(dying)
        assert dying.claim_callback() is not None
        idle = threading.Event()
        next_callback = store.next_callback

        def told() -> float | None:
            idle.set()
            return next_callback()

        store.next_callback = told  # type: ignore[method-assign]
        with delivering(store, LOCAL, place.clock):
            assert idle.wait(60)
            cut_off(place, dying)
            store.recover()
            receiver.awaited(1)
        assert states(store) == [("delivered", 1, None)]
    dying.close()
    dying._database.close()


def test_a_receiver_nobody_listens_at_holds_nothing_up(store: JobStore, place: Place) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with receiving() as receiver, delivering(store, LOCAL, place.clock):
            accepted(store, callback=nobody)
            accepted(store, callback=receiver.url)
            assert finish_all(store) == 2
            assert settled(store, "given_up", "delivered")[0] == ("given_up", 4, "ConnectError")


def test_a_redirect_is_not_followed(store: JobStore, place: Place) -> None:
    with receiving() as secret, receiving(*[302] * 9, redirect=secret.url) as receiver:
        with delivering(store, LOCAL, place.clock):
            accepted(store, callback=receiver.url)
            finish_all(store)
            receiver.awaited(4)
        assert states(store) == [("given_up", 4, "302")]
        assert secret.got == []


@pytest.mark.parametrize(("state", "end"), [("cancelled", "cancel"), ("failed", "fail")])
def test_other_ends_are_told_too(store: JobStore, state: str, end: str) -> None:
    job = accepted(store, callback="https://hooks.example.com/")
    if end == "cancel":
        store.cancel("me", job.id)
    else:
        claim = store.claim()
        assert claim is not None
        from emotape.store.jobs import Outcome

        store.finish([Outcome(claim, error=BadRequest("unreadable", path="x", reason="y"))])
    call = store.claim_callback()
    assert call is not None
    assert json.loads(call.body)["type"] == f"job.{state}"
    store.delete("me", job.id)
    assert store.claim_callback() is None


def test_through_the_whole_service(recognizer: Recognizer, tmp_path: Path) -> None:
    from tests.jobs.conftest import SPEECH

    with (
        receiving(500) as receiver,
        serving(recognizer, tmp_path, webhook=WebhookOptions(("127.0.0.0/8",), SECRET, (0.0,))) as service,
        visiting(service) as client,
    ):
        query = {"callback_url": receiver.url}
        job = client.post("/v1/jobs", files=form(SPEECH.read_bytes()), params=query).json()
        _, second = receiver.awaited(2)
        assert verified(*second)["data"]["id"] == job["id"]
        assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done"


# Where a message must not go


def resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> None:
    """Let names resolve as the test says, at the socket module's seam."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        name = host.replace(".", "_")
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[name]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("url", "hosts", "code"),
    [
        ("https://other.example.com/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://hooks.example.com.evil.net/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://example.com/", ("*.example.com",), "callback_not_allowed"),
        ("https://evilexample.com/", ("*.example.com",), "callback_not_allowed"),
        ("https://127.0.0.1/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://[::1]/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://[::ffff:127.0.0.1]/", ("10.0.0.0/8",), "callback_not_allowed"),
        ("https://2130706433/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://0x7f.1/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://8.8.8.8/", ("hooks.example.com",), "callback_not_allowed"),
        ("https://hooks.example.com@127.0.0.1/", ("hooks.example.com",), "callback_malformed"),
        ("https://user:pass@hooks.example.com/", ("hooks.example.com",), "callback_malformed"),
        ("ftp://hooks.example.com/", ("hooks.example.com",), "callback_malformed"),
        ("file:///etc/passwd", ("hooks.example.com",), "callback_malformed"),
        ("https:///nothing", ("hooks.example.com",), "callback_malformed"),
        ("https://hooks.example.com:99999/", ("hooks.example.com",), "callback_malformed"),
        ("//hooks.example.com/", ("hooks.example.com",), "callback_malformed"),
        ("https://hooks.example.com/\r\nx: y", ("hooks.example.com",), "callback_malformed"),
        ("http://hooks.example.com/", ("hooks.example.com",), "callback_plain"),
        ("https://inside.example.com/", ("*.example.com",), "callback_private"),
        ("https://loop.example.com/", ("*.example.com",), "callback_private"),
        ("https://metadata.example.com/", ("*.example.com",), "callback_private"),
        ("https://mapped.example.com/", ("*.example.com",), "callback_private"),
        ("https://mixed.example.com/", ("*.example.com",), "callback_private"),
        ("https://zero.example.com/", ("*.example.com",), "callback_private"),
        ("https://many.example.com/", ("*.example.com",), "callback_private"),
        ("https://gone.example.com/", ("*.example.com",), "callback_unresolved"),
    ],
)
def test_ways_around_the_list_are_closed(
    monkeypatch: pytest.MonkeyPatch, url: str, hosts: tuple[str, ...], code: str
) -> None:
    resolving(
        monkeypatch,
        hooks_example_com=["93.184.216.34"],
        inside_example_com=["10.1.2.3"],
        loop_example_com=["127.0.0.1"],
        metadata_example_com=["169.254.169.254"],
        mapped_example_com=["::ffff:192.168.0.1"],
        mixed_example_com=["93.184.216.34", "192.168.0.1"],
        zero_example_com=["0.0.0.0"],  # noqa: S104
        many_example_com=["224.0.0.1"],
    )
    with pytest.raises(BadRequest) as refused:
        checked_target(url, hosts)
    assert refused.value.code == code
    assert refused.value.text("zh").cure


@pytest.mark.parametrize(
    ("url", "hosts", "address"),
    [
        ("https://hooks.example.com/a?b=c", ("hooks.example.com",), "93.184.216.34"),
        ("https://HOOKS.example.com:8443/", ("Hooks.Example.com",), "93.184.216.34"),
        ("https://hooks.example.com/", ("*.example.com",), "93.184.216.34"),
        ("https://inside.example.com/", ("inside.example.com", "10.0.0.0/8"), "10.1.2.3"),
        ("http://inside.example.com/", ("inside.example.com", "10.0.0.0/8"), "10.1.2.3"),
        ("http://10.9.8.7:9000/", ("10.0.0.0/8",), "10.9.8.7"),
        ("http://[::1]:9000/", ("::1",), "::1"),
        ("https://xn--bcher-kva.example.com/", ("*.example.com",), "93.184.216.34"),
        ("https://bücher.example.com/", ("*.example.com",), "93.184.216.34"),
    ],
)
def test_what_is_on_the_list_is_called_at_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, url: str, hosts: tuple[str, ...], address: str
) -> None:
    books = {"xn--bcher-kva_example_com": ["93.184.216.34"]}
    resolving(monkeypatch, hooks_example_com=["93.184.216.34"], inside_example_com=["10.1.2.3"], **books)
    assert checked_target(url, hosts).address == address


def test_a_name_that_is_made_to_point_inside_later_is_not_called(
    store: JobStore, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address was public when the job was accepted."""
    options = WebhookOptions(("hooks.example.com",), SECRET, waits=())
    resolving(monkeypatch, hooks_example_com=["93.184.216.34"])
    url = "https://hooks.example.com/"
    check_callback(url, options)
    store.accept(Submission("me", callback=url), uploads(b"1"))
    resolving(monkeypatch, hooks_example_com=["127.0.0.1"])
    finish_all(store)
    with delivering(store, options, place.clock):
        assert settled(store, "given_up") == [("given_up", 1, "callback_private")]


@pytest.mark.parametrize("options", [WebhookOptions(), WebhookOptions(("a.com",)), WebhookOptions((), SECRET)])
def test_without_hosts_or_a_secret_there_are_no_callbacks(options: WebhookOptions) -> None:
    with pytest.raises(BadRequest) as refused:
        check_callback("https://a.com/", options)
    assert refused.value.code == "callbacks_off"


@pytest.mark.parametrize("secret", ["short", "whsec_c2hvcnQ=", "whsec_!" + "A" * 40, ""])
def test_a_secret_that_is_none_is_refused_at_the_start(secret: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_options(WebhookOptions(("a.com",), secret))
    assert refused.value.code == "webhook_secret"
