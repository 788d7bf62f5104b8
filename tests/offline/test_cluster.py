"""The same batch on a Ray cluster of two workers: the same rows, once each, also when a worker is killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import emotape
from emotape.delivery.offline.item import Item
from emotape.delivery.offline.rows import Asked, score_keys
from tests.conftest import AUDIO
from tests.offline.conftest import Results
from tests.offline.test_command import batch as run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotape.recognizer import Recognizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    # Advice on throughput, which Ray gives or not as two of its threads happen to meet.
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """Start a cluster of this process's own, whose workers run the code that is tested."""
    import logging

    import ray

    places = (Path(__file__).parents[2], Path(emotape.__file__).parents[1])
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 * 10**6,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()


@pytest.mark.usefixtures("_ray")
def test_rows_equal_those_of_one_machine_and_a_killed_worker_costs_none(
    speech: Callable[[int], Path], tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first answers a worker's process is killed; Ray starts another and gives it the same chunks."""
    from emotape.delivery.offline import cluster, feed

    folder = speech(40)
    killed: list[int] = []
    results = cluster._results

    def watched(pipeline: Any) -> Iterator[tuple[int, Any]]:
        for number, answers in results(pipeline):
            yield number, answers
            if not killed:
                killed.append(_worker())
                os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(cluster, "_results", watched)
    monkeypatch.setattr(feed, "CHUNK", 4)
    done = run(folder, "--output", "out", "--ray", "auto", "--worker-cpus", "1")
    assert done.exit_code == 1, done.output
    assert killed
    found = Results(tmp_path / "out").by_path()
    assert len(found) == 41
    for path in folder.rglob("[0-9]*.wav"):
        expected = recognizer.recognize(path)
        assert found[str(path)]["emotion"] == expected.emotion
        assert [found[str(path)][f"score_{key}"] for key in expected.scores] == pytest.approx(
            list(expected.scores.values()), abs=1e-6
        )
    assert found[str(folder / "text.wav")]["error_code"] == "text_not_audio"
    again = run(folder, "--output", "out", "--ray", "auto", "--worker-cpus", "1")
    assert "41 of the input's recordings were there before" in again.stderr
    local = run(folder, "--output", "out")
    assert local.exit_code == 1, "one machine goes on with what a cluster began"


def _worker() -> int:
    """Return the process of one of the workers."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes().startswith(b"ray::MapWorker") and _is_ours(int(process.parent.name)):
                return int(process.parent.name)
        except OSError:
            continue
    raise AssertionError("no worker is running")


def _is_ours(process: int) -> bool:
    """Return whether this very process started the cluster that a process belongs to."""
    import ray

    node: Any = ray._private.worker.global_worker.node
    session: str = node.session_name
    return session.encode() in Path(f"/proc/{process}/environ").read_bytes() or _session_of(process) == session


def _session_of(process: int) -> str:
    parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
    command = Path(f"/proc/{parent}/cmdline").read_bytes().decode(errors="replace")
    return next((part for part in command.split("/") if part.startswith("session_")), "")


class _Meeting:
    """In a worker's place: each of its calls ends once another has begun."""

    def __init__(self, *_: Any) -> None:
        self._both = threading.Barrier(2)

    def __call__(self, chunks: pa.Table) -> pa.Table:
        self._both.wait(60)
        return pa.table({"number": chunks.column("number"), "answers": [pickle.dumps("met")] * len(chunks)})


@pytest.mark.usefixtures("_ray")
def test_a_worker_has_the_next_chunk_in_work_before_one_is_done(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its tapes run empty between them."""
    from emotape.delivery.offline import cluster, feed
    from emotape.delivery.offline.placement import Workers
    from emotape.recognizer import RecognizerOptions

    monkeypatch.setattr(cluster, "Worker", _Meeting)
    monkeypatch.setattr(feed, "CHUNK", 1)
    asked = Asked(scores=score_keys(recognizer.labels))
    order = cluster.Order(None, RecognizerOptions(), asked, "en", as_json=True)
    items = [Item(name, b"") for name in ("a", "b")]
    answers: list[Any] = list(cluster.Cluster(order, Workers(1, 1, 0)).answers(items))
    assert answers == ["met", "met"]


@pytest.mark.usefixtures("_ray")
def test_a_worker_larger_than_every_machine_is_refused(speech: Callable[[int], Path]) -> None:
    done = run(speech(1), "--output", "out", "--ray", "auto", "--worker-cpus", "64")
    assert done.exit_code == 2
    assert "batch_ray_no_room" in done.stderr


def test_the_feed_gives_the_same_chunk_until_it_is_written_and_counts_deaths() -> None:
    from emotape.delivery.offline.feed import Feed

    feed = Feed()
    feed.put(0, b"zero")
    feed.put(1, b"one")
    assert [feed.get(0), feed.get(0), feed.get(1)] == [b"zero", b"zero", b"one"]
    assert feed.begin(1) == (1, [])
    feed.note(1, 5)
    assert feed.begin(1) == (2, [5])
    assert feed.begin(1) == (3, [5]), "a try that died over no recording in particular blames none"
    feed.drop(0)
    feed.finish(2)
    assert [feed.get(0), feed.get(1), feed.get(2)] == [b"", b"one", None]


@pytest.mark.usefixtures("_ray")
def test_a_recording_over_which_workers_die_is_given_up_and_its_neighbours_are_not(recognizer: Recognizer) -> None:
    """The fourth try of a chunk, whose second recording took two workers along."""
    import ray

    from emotape.delivery.offline.cluster import Order, Worker
    from emotape.delivery.offline.feed import Feed
    from emotape.recognizer import RecognizerOptions

    feed: Any = ray.remote(Feed).remote()
    ray.get(feed.begin.remote(0))
    for _ in range(2):
        ray.get(feed.note.remote(0, 1))
        ray.get(feed.begin.remote(0))
    asked = Asked(scores=score_keys(recognizer.labels))
    worker = Worker(Order(None, RecognizerOptions(), asked, "en", as_json=True), feed)
    sound = (AUDIO / "thorsten_neutral.wav").read_bytes()
    chunk = pickle.dumps([Item(name, sound) for name in ("a", "b", "c")])
    (answers,) = worker(pa.table({"number": [0], "chunk": [chunk]})).column("answers").to_pylist()
    payload = pickle.loads(answers).payload  # noqa: S301 - of our own making
    found = {row["path"]: row["error_code"] for row in map(json.loads, payload.splitlines())}
    assert found == {"a": None, "b": "batch_worker_died", "c": None}
