"""Two ingresses at a real PostgreSQL and a real Redis: whichever is asked, jobs, history and limits are the same."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from emotape.client.synchronous import Client
from emotape.delivery.api.keys import KeyRing
from tests.cluster.conftest import AUDIO, deployed, eventually, recording
from tests.jobs.postgres_server import PostgresServer, needs_postgres
from tests.store.redis_server import RedisServer, needs_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.conftest import Served

pytestmark = [pytest.mark.slow, needs_postgres, needs_redis]
SPEECH = "thorsten_neutral.opus"
LIMIT = 6  # requests a minute


@dataclass(frozen=True)
class Pair:
    """Two ingresses, what they share, and the keys of a caller without limits and of one with them."""

    postgres: PostgresServer
    key: str
    limited_key: str


@pytest.fixture(scope="module")
def pair(served: Served) -> Iterator[Pair]:
    """Deploy the ingress anew, as two; addresses come from their environment, as secrets do."""
    with TemporaryDirectory(prefix="emotape-pair-") as name, RedisServer(folder := Path(name)) as redis:
        (folder / "postgres").mkdir()
        folder.chmod(0o755)  # PostgreSQL runs as another user
        with closing(PostgresServer(folder / "postgres")) as postgres:
            postgres.start()
            keys = KeyRing(folder / "keys.json")
            found = Pair(postgres, keys.create("ben"), keys.create("anna", requests=LIMIT))
            _deploy(served, postgres, redis, keys)
            yield found


def _deploy(served: Served, postgres: PostgresServer, redis: RedisServer, keys: KeyRing) -> None:
    document = deepcopy(served.document)
    ingress, _, engine = document["applications"][0]["deployments"]
    ingress |= {"num_replicas": 2, "rolling_update_percentage": 1.0}
    ingress["ray_actor_options"]["runtime_env"] = {
        "env_vars": {
            "EMOTAPE_DATABASE_URL": postgres.url,
            "EMOTAPE_REDIS_URL": redis.url,
            "EMOTAPE_API_KEYS_FILE": str(keys.path),
        }
    }
    engine["autoscaling_config"] |= {"min_replicas": 1, "max_replicas": 1}
    deployed(document)
    served.await_running("Ingress", 2)


@pytest.fixture
def asker(served: Served, pair: Pair) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {pair.key}"}
    with httpx.Client(base_url=served.url, timeout=60, headers=headers) as opened:
        yield opened


def by_both(
    asker: httpx.Client, ask: Callable[[], httpx.Response], method: str, route: str, status: int = 200
) -> list[httpx.Response]:
    """Ask again and again until each ingress has given an answer with this status, and return all answers.

    Nobody else has asked this way before: whichever tells its figures, what it does not count the other one answered.
    """
    answers = []
    while True:
        answers.append(ask())
        told = _counted(asker.get("/metrics").text, {"method": method, "route": route, "status": str(status)})
        if 0 < told < sum(answer.status_code == status for answer in answers):
            return answers


def _counted(figures: str, labels: dict[str, str]) -> float:
    samples = [sample for family in text_string_to_metric_families(figures) for sample in family.samples]
    wanted = [each for each in samples if each.name == "emotape_http_requests_total" and each.labels == labels]
    return sum(each.value for each in wanted)


def test_jobs_and_history_are_the_same_at_both(asker: httpx.Client, pair: Pair) -> None:
    """Each accepts jobs, and each tells all of them, their results and their lines in the history."""
    files = [("file", ("speech.opus", recording(SPEECH)))]
    accepted = by_both(asker, lambda: asker.post("/v1/jobs", files=files), "POST", "/v1/jobs", 202)
    jobs = [each.json()["id"] for each in accepted]
    for job in jobs:
        with asker.stream("GET", f"/v1/jobs/{job}/events") as events:
            assert '"done"' in "".join(events.iter_text())
    for listed in by_both(asker, lambda: asker.get("/v1/jobs"), "GET", "/v1/jobs"):
        assert {each["id"]: each["state"] for each in listed.json()["jobs"]} == dict.fromkeys(jobs, "done")
    path = f"/v1/jobs/{jobs[0]}/results"
    results = by_both(asker, lambda: asker.get(path), "GET", "/v1/jobs/{job}/results")
    assert len({each.text for each in results}) == 1
    eventually(lambda: pair.postgres.ask("SELECT count(*) FROM history") == [(len(jobs),)], 30)
    lines = by_both(asker, lambda: asker.get("/v1/history"), "GET", "/v1/history")
    assert len({each.text for each in lines}) == 1
    assert sorted(line["id"] for line in lines[0].json()["lines"]) == sorted(jobs)


def test_a_limit_holds_for_both_together(asker: httpx.Client, pair: Pair) -> None:
    """Each refuses the caller, before it has let through itself what the caller may ask a minute."""
    headers = {"authorization": f"Bearer {pair.limited_key}"}
    answers = by_both(asker, lambda: asker.get("/v1/labels", headers=headers), "GET", "unmatched", 429)
    told = {answer.status_code: answer.json() for answer in answers}
    assert told[429]["error"]["code"] == "too_many_requests"
    assert LIMIT <= sum(answer.status_code == 200 for answer in answers) < 2 * LIMIT


def test_an_ingress_that_is_killed_while_both_work_loses_no_job(served: Served, pair: Pair) -> None:
    """What it had accepted and what it worked on is done by the others, each recording once; no job is there twice."""
    sources: list[Any] = [AUDIO / SPEECH, AUDIO / "jfk.flac"] * 2
    before = {name for (name,) in pair.postgres.ask("SELECT id FROM jobs")}
    with Client(served.url, pair.key) as client, ThreadPoolExecutor(4) as pool:
        coming = [pool.submit(client.submit_job, sources) for _ in range(12)]
        eventually(lambda: _owners(pair.postgres) == 2, 60)
        os.kill(served.processes("Ingress")[0].pid, signal.SIGKILL)
        jobs = [each.result(60) for each in coming]
        ends = [client.wait(job.id, seconds=60) for job in jobs]
        results = [client.results(job.id) for job in jobs]
    assert {end.state for end in ends} == {"done"}
    assert [[each.error for each in result] for result in results] == [[None] * len(sources)] * len(jobs)
    assert {name for (name,) in pair.postgres.ask("SELECT id FROM jobs")} - before == {job.id for job in jobs}
    told = "SELECT count(*) - count(DISTINCT (job, facts::json ->> 'file')) FROM events"
    assert pair.postgres.ask(f"{told} WHERE kind = 'file' AND facts::json ->> 'state' = 'done'") == [(0,)]
    served.await_running("Ingress", 2)


def _owners(postgres: PostgresServer) -> int:
    """Return how many processes work on recordings."""
    return int(postgres.ask("SELECT count(DISTINCT owner) FROM files")[0][0])
