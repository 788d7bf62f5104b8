"""A real Ray cluster of two nodes on this machine, for all tests: the bundled model, an ingress, decoding, engines."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import yaml

from emotape.delivery.clock import local_now
from emotape.delivery.cluster.config import checked, config_text
from emotape.delivery.cluster.running import connected, deploy, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotape.recognizer import Recognizer

OCTETS = {"content-type": "application/octet-stream"}
AUDIO = Path(__file__).parents[1] / "data" / "audio"
STORE_BYTES = 100 * 1024**2
WORKER = {"worker": 1}
MARK = "TEST_CLUSTER"
ENVIRONMENT = {
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_health_check_period_ms": "1500",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}


SCALING = {
    "upscale_delay_s": 0,
    "downscale_delay_s": 0.5,
    "look_back_period_s": 1.0,
    "metrics_interval_s": 0.5,
    "policy": {
        "policy_function": "emotape.delivery.cluster.scaling:QueuedSeconds",
        "policy_kwargs": {"queued_seconds": 1.0},
    },
}


@dataclass
class Served:
    """The application on its cluster, and what kills parts of it."""

    cluster: Any
    worker: Any
    url: str
    document: dict[str, Any]
    folder: Path

    def processes(self, deployment: str) -> list[psutil.Process]:
        """Return the processes of a deployment's replicas, on both nodes."""
        title = f"ray::ServeReplica:emotape:{deployment}"
        found = []
        for process in psutil.process_iter():
            try:
                if " ".join(process.cmdline()).startswith(title) and self.is_own(process):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def is_own(self, process: psutil.Process) -> bool:
        """Say whether a process belongs to this cluster and not to another one on this machine."""
        return process.environ().get(MARK) == os.environ[MARK]

    def await_running(self, deployment: str, count: int, seconds: float = 180.0) -> None:
        """Wait until so many replicas of a deployment run."""
        from emotape.delivery.cluster.running import seen

        def there() -> bool:
            found = seen("emotape")
            parts = {} if found is None else {part.name: part for part in found.parts}
            return deployment in parts and parts[deployment].replicas == {"RUNNING": count}

        eventually(there, seconds)


def eventually(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds, and fail when it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.1)


def document_for(port: int, folder: Path) -> dict[str, Any]:
    """Return a configuration as the command prints it, for two small nodes: two engines, two decoders, one ingress.

    Another policy of scaling would have every process start anew, so that it is here from the beginning.
    """
    found: dict[str, Any] = yaml.safe_load(config_text(2, 0, "127.0.0.1", port))
    found["proxy_location"] = "HeadOnly"  # both nodes are this machine, which has the port once
    application = found["applications"][0]
    application["args"]["settings"] |= {"jobs_folder": str(folder), "adapt": False, "cache_megabytes": 0}
    application["args"] |= {"page": False, "models": [str(other) for other in others_in(folder)]}
    ingress, decoding, engine = application["deployments"]
    ingress["ray_actor_options"]["resources"] = {"head": 0.01}
    decoding["num_replicas"] = 2
    decoding["ray_actor_options"]["resources"] = {"worker": 0.01}  # so that a node's death may take all of them
    del engine["num_replicas"]
    engine["autoscaling_config"] = SCALING | {"min_replicas": 2, "max_replicas": 2}
    for part in (ingress, decoding, engine):
        part |= {"graceful_shutdown_wait_loop_s": 0.2, "health_check_period_s": 0.5}  # what is lost is soon missed
    return found


def deployed(document: dict[str, Any]) -> None:
    """Deploy a configuration, for the first time or as it has become, and wait until it runs."""
    name = deploy(checked(document))
    wait_until_ready(name, tell)


def tell(words: str) -> None:
    """Show what Ray Serve says, when a test fails."""
    sys.stdout.write(f"{local_now():%X} {words}\n")


def others_in(folder: Path) -> list[Path]:
    """Return two more models: the bundled one under other names."""
    from emotape.model.note import NOTE
    from emotape.store.catalogue import resolve

    found = [folder / "joy", folder / "calm"]
    for each in found:
        if not each.exists():
            shutil.copytree(resolve(None).path, each, ignore=shutil.ignore_patterns(NOTE))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Ray Serve deprecate `metrics_interval_s`: the variables that are to take its place have no effect yet."""
    told = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(told)


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """Import what warns when it is imported: pydantic's deprecations, in packages that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray.cluster_utils
        import ray.serve.schema  # noqa: F401


@pytest.fixture(scope="package")
def recognizer() -> Iterator[Recognizer]:
    """The same model in this process, as the measure."""
    from emotape.recognizer import Recognizer

    with Recognizer() as opened:
        yield opened


@pytest.fixture(scope="package")  # not the session: its processes would work beside all tests that follow
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as short:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        with _cluster(short, patch) as (cluster, worker):
            document = document_for(free_port(), folder := tmp_path_factory.mktemp("jobs"))
            with connected(cluster.address):
                deployed(document)
                port = document["http_options"]["port"]
                yield Served(cluster, worker, f"http://127.0.0.1:{port}", document, folder)


@contextmanager
def _cluster(folder: str, patch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    patch.setenv(MARK, folder)
    cluster = Cluster()
    cluster.add_node(num_cpus=2, resources={"head": 1}, temp_dir=folder, **node)
    worker = cluster.add_node(num_cpus=2, resources=WORKER, **node)
    try:
        yield cluster, worker
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@dataclass
class Senders:
    """Threads that send one recording after another, and keep every answer.

    `pause` seconds after each leave the processors to what starts meanwhile.
    """

    url: str
    content: bytes
    pause: float = 0.0
    answers: list[tuple[int, str]] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def send(self) -> None:
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while not self.leaving.wait(self.pause):
                told = client.post("/v1/recognize", content=self.content, headers=OCTETS)
                self.answers.append((told.status_code, told.text))
                self.heard.release()

    def await_answers(self, count: int) -> None:
        for _ in range(count):
            assert self.heard.acquire(timeout=60)

    @property
    def failures(self) -> list[tuple[int, str]]:
        return [each for each in self.answers if each[0] != 200]


@contextmanager
def sending(served: Served, content: bytes, threads: int = 6, pause: float = 0.0) -> Iterator[Senders]:
    senders = Senders(served.url, content, pause)
    with ThreadPoolExecutor(threads) as pool:
        ends = [pool.submit(senders.send) for _ in range(threads)]
        try:
            yield senders
        finally:
            senders.leaving.set()
        for end in ends:
            end.result()


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=120) as opened:
        yield opened


def recording(name: str) -> bytes:
    return (AUDIO / name).read_bytes()
