"""Pulling a model, against a local server that speaks each hub's protocol."""

from __future__ import annotations

import errno
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.store.checkpoint import CLASSES, WIDTH, saved
from tests.store.hub_server import COMMIT, LocalHub, Trouble, sha256

from emotape.errors import BadRequest, EmotapeError, HubFault, ModelFault
from emotape.model.weights import load, verify
from emotape.store.catalogue import resolve
from emotape.store.hubs import HUB_ORDER, TITLES, HuggingFace, ModelScope
from emotape.store.pull import (
    AlreadyThere,
    Converting,
    Found,
    HubFailed,
    PullEvent,
    PullOptions,
    Received,
    Waiting,
    pull,
)

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.store.catalogue import HubName, ModelEntry

both_hubs = pytest.mark.parametrize("name", HUB_ORDER)


def pulled(hub: LocalHub, name: HubName, folder: Path, **options: bool | str) -> ModelEntry:
    return pull("plus-large", folder, PullOptions(hub=name, endpoint=hub.url, **options))  # type: ignore[arg-type]


def fault_of(hub: LocalHub, name: HubName, folder: Path) -> EmotapeError:
    with pytest.raises(EmotapeError) as caught:
        pulled(hub, name, folder)
    for language in ("en", "zh"):
        assert "{" not in caught.value.text(language).cure
    return caught.value


def leftovers(folder: Path) -> list[str]:
    """Everything below the models folder but locks."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    )


@both_hubs
def test_a_pulled_model_loads_and_verifies(name: HubName, hub: LocalHub, folder: Path) -> None:
    entry = pulled(hub, name, folder)
    model = load(entry.path)
    assert entry == resolve(None, folder) == resolve("plus-large", folder)
    assert (model.dims.embed_dim, len(model.labels)) == (WIDTH, CLASSES)
    assert verify(entry.path).ok
    assert entry.digest == model.digest == verify(entry.path).expected
    assert not entry.experimental


@both_hubs
def test_only_what_inference_needs_is_fetched_and_kept(name: HubName, hub: LocalHub, folder: Path) -> None:
    entry = pulled(hub, name, folder)
    assert not hub.asked("README")
    assert sorted(path.name for path in entry.path.iterdir()) == [
        "config.yaml",
        "emotape.json",
        "model.safetensors",
        "tokens.txt",
    ]
    assert (entry.path / "model.safetensors").stat().st_size < len(hub.files["model.pt"]) / 3
    assert leftovers(folder / ".partial") == []


@both_hubs
def test_the_note_says_where_the_model_came_from(name: HubName, hub: LocalHub, folder: Path) -> None:
    entry = pulled(hub, name, folder)
    note = json.loads((entry.path / "emotape.json").read_text(encoding="utf-8"))
    revision = COMMIT if name == "huggingface" else "master"
    organisation = "emotion2vec" if name == "huggingface" else "iic"
    assert note["origin"] == entry.origin == f"{name}:{organisation}/emotion2vec_plus_large@{revision}"
    assert note["files"]["model.pt"] == f"sha256:{sha256(hub.files['model.pt'])}"
    assert note["pulled"].endswith("+00:00")


@both_hubs
def test_the_original_checkpoint_is_kept_on_request(name: HubName, hub: LocalHub, folder: Path) -> None:
    pulled(hub, name, folder)
    entry = pulled(hub, name, folder, keep_original=True)
    assert (entry.path / "model.pt").read_bytes() == hub.files["model.pt"]
    assert verify(entry.path).ok


@both_hubs
def test_an_interrupted_pull_continues_where_it_stopped(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.trouble = Trouble(cut_after=1_000_000)
    assert fault_of(hub, name, folder).code in ("hub_failed", "hub_unreachable")
    (partial,) = (path for path in folder.rglob("model.pt.incomplete"))
    arrived = partial.stat().st_size
    assert 0 < arrived <= 1_000_000
    assert not (folder / "plus-large").exists()

    hub.trouble = Trouble()
    hub.requests.clear()
    entry = pulled(hub, name, folder)
    assert [request.headers.get("range") for request in hub.asked("/cdn/")] == [f"bytes={arrived}-"]
    assert verify(entry.path).ok


@both_hubs
def test_a_server_that_cannot_resume_sends_the_whole_file(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.trouble = Trouble(cut_after=1_000_000)
    fault_of(hub, name, folder)
    hub.trouble = Trouble(ranges=False)
    events: list[PullEvent] = []
    pull("plus-large", folder, PullOptions(hub=name, endpoint=hub.url), events.append)
    received = [event for event in events if isinstance(event, Received)]
    assert received[-1].bytes == received[-1].total
    assert verify(folder / "plus-large").ok


def test_one_hub_continues_what_the_other_began(hub: LocalHub, folder: Path) -> None:
    hub.trouble = Trouble(cut_after=1_000_000)
    fault_of(hub, "huggingface", folder)
    (partial,) = (path for path in folder.rglob("model.pt.incomplete"))
    arrived = partial.stat().st_size
    hub.trouble = Trouble()
    hub.requests.clear()
    pulled(hub, "modelscope", folder)
    assert [request.headers.get("range") for request in hub.asked("/cdn/")] == [f"bytes={arrived}-"]


@both_hubs
def test_a_wrong_digest_installs_nothing(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.trouble = Trouble(announced="ab" * 32)
    fault = fault_of(hub, name, folder)
    assert isinstance(fault, HubFault)
    assert fault.code == "hub_digest_mismatch"
    assert fault.facts["found"] == sha256(hub.files["model.pt"])
    assert leftovers(folder) == []


@both_hubs
def test_what_arrived_is_not_trusted_when_the_rest_comes(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.trouble = Trouble(cut_after=1_000_000)
    fault_of(hub, name, folder)
    (partial,) = (path for path in folder.rglob("model.pt.incomplete"))
    partial.write_bytes(bytes(partial.stat().st_size))
    hub.trouble = Trouble()
    assert fault_of(hub, name, folder).code == "hub_digest_mismatch"
    assert verify(pulled(hub, name, folder).path).ok


@both_hubs
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "hub_forbidden"),
        (403, "hub_forbidden"),
        (404, "hub_not_found"),
        (429, "hub_busy"),
        (500, "hub_failed"),
        (503, "hub_failed"),
    ],
)
def test_every_refusal_of_a_hub_has_its_own_error(
    name: HubName, status: int, code: str, hub: LocalHub, folder: Path
) -> None:
    hub.trouble = Trouble(status=status)
    fault = fault_of(hub, name, folder)
    assert isinstance(fault, HubFault)
    assert fault.code == code
    assert TITLES[name] in fault.text().message
    assert leftovers(folder) == []


@both_hubs
def test_a_repository_that_does_not_exist_is_not_found(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.repositories = ()
    assert fault_of(hub, name, folder).code == "hub_not_found"


@both_hubs
def test_a_repository_without_weights_is_refused(name: HubName, hub: LocalHub, folder: Path) -> None:
    del hub.files["model.pt"]
    fault = fault_of(hub, name, folder)
    assert (fault.code, fault.facts["missing"]) == ("hub_incomplete", "model.pt")


@both_hubs
def test_an_unreachable_hub_is_said_to_be_unreachable(name: HubName, folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(HubFault) as caught:
            pull("plus-large", folder, PullOptions(hub=name, endpoint=endpoint))
    assert caught.value.code == "hub_unreachable"
    assert endpoint in caught.value.text().cause
    assert f"--from {HUB_ORDER[1 - HUB_ORDER.index(name)]}" in caught.value.text().cure


@both_hubs
def test_a_hostile_checkpoint_is_refused_and_does_not_run(
    name: HubName, hub: LocalHub, folder: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    hub.files["model.pt"] = saved({"model": _Hostile(str(ran))})
    fault = fault_of(hub, name, folder)
    assert isinstance(fault, ModelFault)
    assert fault.code == "weights_hostile"
    assert not ran.exists()
    assert leftovers(folder) == []


class _Hostile:
    """Unpickling it creates a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.mkdir, (self.path,)


@both_hubs
def test_a_second_pull_asks_nobody(name: HubName, hub: LocalHub, folder: Path) -> None:
    first = pulled(hub, name, folder)
    hub.requests.clear()
    events: list[PullEvent] = []
    again = pull("plus-large", folder, PullOptions(hub=name, endpoint=hub.url), events.append)
    assert again == first
    assert events == [AlreadyThere("plus-large")]
    assert hub.requests == []


@both_hubs
def test_a_damaged_model_is_pulled_anew(name: HubName, hub: LocalHub, folder: Path) -> None:
    entry = pulled(hub, name, folder)
    weights = entry.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert not verify(entry.path).ok
    assert verify(pulled(hub, name, folder).path).ok
    (entry.path / "emotape.json").write_text("{")
    assert verify(pulled(hub, name, folder).path).ok


@both_hubs
def test_of_two_pulls_at_once_one_waits_and_fetches_nothing(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.gate = threading.Event()
    waiting = threading.Event()
    options = PullOptions(hub=name, endpoint=hub.url)

    def observe(event: PullEvent) -> None:
        if isinstance(event, Waiting):
            waiting.set()
            assert hub.gate is not None
            hub.gate.set()

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(pull, "plus-large", folder, options, observe) for _ in range(2)]
        first, second = (future.result() for future in both)
    assert waiting.is_set()
    assert first == second
    assert len(hub.asked("/cdn/")) == 1


@both_hubs
def test_progress_tells_every_byte(name: HubName, hub: LocalHub, folder: Path) -> None:
    events: list[PullEvent] = []
    pull("plus-large", folder, PullOptions(hub=name, endpoint=hub.url), events.append)
    total = sum(len(hub.files[file]) for file in ("model.pt", "config.yaml", "tokens.txt", "configuration.json"))
    found, *received, converting = events
    assert isinstance(found, Found)
    assert (found.hub, found.bytes) == (name, total)
    assert converting == Converting("plus-large")
    heres = [event.bytes for event in received if isinstance(event, Received)]
    assert len(heres) == len(received)
    assert heres == sorted(heres)
    assert heres[-1] == total


@both_hubs
def test_a_model_that_does_not_fit_is_refused_before_the_first_byte(name: HubName, hub: LocalHub, folder: Path) -> None:
    hub.trouble = Trouble(sizes=10**16)
    fault = fault_of(hub, name, folder)
    assert fault.code == "disk_too_small"
    assert not hub.asked("/cdn/")


def test_auto_tries_the_next_hub_and_says_so(hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.repositories = ("iic/emotion2vec_plus_large",)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    events: list[PullEvent] = []
    entry = pull("plus-large", folder, observer=events.append)
    failed = events[0]
    assert isinstance(failed, HubFailed)
    assert (failed.hub, failed.next_hub, failed.fault.code) == ("huggingface", "modelscope", "hub_not_found")
    assert entry.origin.startswith("modelscope:")

    hub.repositories = ()
    with pytest.raises(HubFault) as caught:
        pull("plus-base", folder)
    assert caught.value.code == "every_hub_failed"
    for title in TITLES.values():
        assert title in caught.value.text().cause
    assert "does not have" not in caught.value.text("zh").cause
    assert caught.value.text("zh").cause.count("没有该版本") == len(TITLES)


@both_hubs
def test_a_file_that_never_ends_is_given_up(name: HubName, hub: LocalHub, folder: Path) -> None:
    """What comes beyond the size that the hub told would fill the disk, and its digest would never be looked at."""
    hub.trouble.endless = True
    assert fault_of(hub, name, folder).code == "hub_unreachable"
    assert sum((folder / file).stat().st_size for file in leftovers(folder)) < len(hub.files["model.pt"]) + 2**24


@both_hubs
def test_nothing_but_the_model_is_asked_for_or_told(name: HubName, hub: LocalHub, folder: Path) -> None:
    """No detection of the caller, no Xet, no installed frameworks, no identifier that lasts."""
    first: set[str] = set()
    second: set[str] = set()
    for agents, home in ((first, folder / "1"), (second, folder / "2")):
        hub.requests.clear()
        pulled(hub, name, home)
        assert not hub.asked("agent-harnesses")
        assert not hub.asked("xet")
        agents.update(part for request in hub.requests for part in request.headers["user-agent"].split("; "))
    assert not any(part.startswith(("torch/", "agent/")) for part in first)
    assert not any(part.startswith("session_id/") for part in first & second)


def test_a_checkpoint_with_a_name_of_its_own_is_found(hub: LocalHub, folder: Path) -> None:
    hub.files["emotion2vec_base.pt"] = hub.files.pop("model.pt")
    hub.repositories = ("iic/emotion2vec_base",)
    entry = pull("base", folder, PullOptions(hub="modelscope", endpoint=hub.url))
    assert verify(entry.path).ok


def test_an_unknown_name_or_an_endpoint_without_hub_is_refused(folder: Path) -> None:
    with pytest.raises(BadRequest, match="model_not_published"):
        pull("plus-gigantic", folder)
    with pytest.raises(BadRequest, match="endpoint_without_hub"):
        pull("plus-large", folder, PullOptions(endpoint="https://hub.example"))
    assert not folder.exists()


def test_a_models_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HubFault, match="models_folder_unusable"):
        pull("plus-large", tmp_path / "file" / "models")


@pytest.mark.parametrize("client", [HuggingFace, ModelScope])
def test_a_full_disk_is_told_apart_from_a_bad_line(client: type[HuggingFace | ModelScope]) -> None:
    full = client("http://127.0.0.1:9")._fault(OSError(errno.ENOSPC, "No space left on device"), "a/b")
    broken = client("http://127.0.0.1:9")._fault(OSError(errno.ECONNRESET, "Connection reset by peer"), "a/b")
    assert (full.code, broken.code) == ("hub_disk_full", "hub_unreachable")
