"""The states of jobs, whatever happens in whatever order: held against a plain model of what a caller may expect."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from emotape.errors import BadAudio, NotFound
from emotape.store.jobs import FINAL, Outcome, StoreOptions, Submission
from tests.jobs.conftest import Place, uploads
from tests.jobs.postgres_server import PostgresServer, needs_postgres

if TYPE_CHECKING:
    from emotape.store.jobs import Claim, State

DEADLY = 3
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - thousands of transactions need no real disk


@dataclass
class Expected:
    """What should be true of a job."""

    files: list[State]
    attempts: list[int]
    state: State = "queued"
    answers: dict[int, bytes | None] = field(default_factory=dict)

    def enter(self, place: int, state: State, answer: bytes | None = None) -> None:
        self.files[place] = state
        if state in ("done", "failed"):
            self.answers[place] = answer
        if self.state not in FINAL and not {"queued", "running"} & set(self.files):
            self.state = "done" if "done" in self.files else "failed"


class Store(RuleBasedStateMachine):
    """Two processes share a store: they accept, claim, finish, fail, release, cancel, delete and die."""

    jobs: Bundle[str] = Bundle("jobs")
    claims: Bundle[tuple[int, Claim]] = Bundle("claims")

    def made(self) -> Place:
        return Place(Path(tempfile.mkdtemp(dir=MEMORY)), options=StoreOptions(attempts=DEADLY))

    @initialize()
    def begin(self) -> None:
        self.place = self.made()
        self.stores = [self.place.open(), self.place.open()]
        self.expected: dict[str, Expected] = {}
        self.holders: dict[tuple[str, int], tuple[int, int]] = {}  # (job, place) → (process, attempt)
        self.keys: dict[tuple[str, int], str] = {}

    def teardown(self) -> None:
        for store in getattr(self, "stores", []):
            store.close()
            store._database.close()
        if hasattr(self, "place"):
            shutil.rmtree(self.place.folder)

    @rule(target=jobs, process=st.sampled_from((0, 1)), count=st.integers(1, 3))
    def accept(self, process: int, count: int) -> str:
        job, is_new = self.stores[process].accept(Submission("me"), uploads(*[b"x"] * count))
        assert is_new
        self.expected[job.id] = Expected(["queued"] * count, [0] * count)
        return job.id

    @rule(process=st.sampled_from((0, 1)), key=st.sampled_from("ab"), count=st.integers(1, 2))
    def accept_with_key(self, process: int, key: str, count: int) -> None:
        """The same key and content give the same job as long as it is there."""
        name = f"{key}{count}"
        job, is_new = self.stores[process].accept(Submission("me", key=name), uploads(*[b"x"] * count))
        known = self.keys.get((key, count))
        assert is_new == (known is None or known not in self.expected)
        assert is_new or job.id == known
        if is_new:
            self.expected[job.id] = Expected(["queued"] * count, [0] * count)
            self.keys[key, count] = job.id

    @rule(target=claims, process=st.sampled_from((0, 1)))
    def claim(self, process: int) -> tuple[int, Claim] | MultipleResults[tuple[int, Claim]]:
        claim = self.stores[process].claim()
        waiting = any("queued" in job.files for job in self.expected.values())
        assert (claim is not None) == waiting
        if claim is None:
            return multiple()
        job = self.expected[claim.job]
        assert job.files[claim.place] == "queued"
        job.files[claim.place] = job.state = "running"
        job.attempts[claim.place] += 1
        assert claim.attempt == job.attempts[claim.place]
        self.holders[claim.job, claim.place] = (process, claim.attempt)
        return (process, claim)

    def holds(self, process: int, claim: Claim) -> bool:
        return self.holders.get((claim.job, claim.place)) == (process, claim.attempt)

    @rule(held=claims, is_good=st.booleans())
    def finish(self, held: tuple[int, Claim], is_good: bool) -> None:
        """The first outcome of a claim that still holds counts; all others change nothing."""
        process, claim = held
        answer = b"%d %d" % (claim.place, claim.attempt)
        outcome = Outcome(claim, answer) if is_good else Outcome(claim, error=BadAudio("empty_file"))
        self.stores[process].finish([outcome, outcome])
        if self.holds(process, claim):
            del self.holders[claim.job, claim.place]
            state: State = "done" if is_good else "failed"
            self.expected[claim.job].enter(claim.place, state, answer if is_good else None)

    @rule(held=consumes(claims), were_run=st.booleans())
    def release(self, held: tuple[int, Claim], were_run: bool) -> None:
        process, claim = held
        self.stores[process].release([claim], were_run=were_run)
        if self.holds(process, claim):
            del self.holders[claim.job, claim.place]
            self.expected[claim.job].files[claim.place] = "queued"
            self.expected[claim.job].attempts[claim.place] -= not were_run

    @rule(process=st.sampled_from((0, 1)), name=jobs)
    def cancel(self, process: int, name: str) -> None:
        job = self.expected.get(name)
        if job is None:
            return
        self.stores[process].cancel("me", name)
        if job.state not in FINAL:
            for place, state in enumerate(job.files):
                if state in ("queued", "running"):
                    job.files[place] = "cancelled"
                    self.holders.pop((name, place), None)
            job.state = "cancelled"

    @rule(process=st.sampled_from((0, 1)), name=consumes(jobs))
    def delete(self, process: int, name: str) -> None:
        if self.expected.pop(name, None) is not None:
            self.stores[process].delete("me", name)
            self.holders = {held: who for held, who in self.holders.items() if held[0] != name}

    @rule(process=st.sampled_from((0, 1)))
    def die_and_come_back(self, process: int) -> None:
        """What a dead process held is queued again, or given up after so many deaths; the other's stays."""
        self.stores[process].close()
        self.stores[process]._database.close()
        self.stores[process] = self.place.open()
        self.stores[process].recover()
        for (name, place), (holder, attempt) in list(self.holders.items()):
            if holder == process:
                del self.holders[name, place]
                job = self.expected[name]
                if attempt >= DEADLY:
                    job.enter(place, "failed")
                else:
                    job.files[place] = "queued"

    @invariant()
    def every_job_is_as_expected(self) -> None:
        store = self.stores[0]
        assert {job.id for job in store.jobs("me", 1000)} == set(self.expected)
        for name, expected in self.expected.items():
            job = store.job("me", name)
            assert job.state == expected.state
            assert {state: count for state, count in job.counts.items() if count} == Counter(expected.files)
            results = {result.place: result for result in store.results("me", name)}
            assert set(results) == {place for place, state in enumerate(expected.files) if state in FINAL}
            for place, answer in expected.answers.items():
                assert results[place].answer == answer
                assert (results[place].error is None) == (answer is not None)

    @invariant()
    def every_end_is_told_once(self) -> None:
        for name, expected in self.expected.items():
            events = self.stores[1].events(name)
            ends = [event.facts["file"] for event in events if event.kind == "file" and event.facts["state"] in FINAL]
            assert sorted(ends) == sorted(expected.answers)
            states = [event.facts["state"] for event in events if event.kind == "job"]
            assert states == list(dict.fromkeys(states))
            assert states[-1] == expected.state

    @invariant()
    def recordings_are_there_exactly_while_they_are_needed(self) -> None:
        there = Counter(folder.rpartition("-")[2] for folder in self.place.uploads())
        assert set(there) == {name for name, job in self.expected.items() if job.state not in FINAL}

    @invariant()
    def what_is_deleted_is_gone(self) -> None:
        assert set(self.keys.values()) - set(self.expected) == {
            name for name in self.keys.values() if not self._is_there(name)
        }

    def _is_there(self, name: str) -> bool:
        try:
            self.stores[0].job("me", name)
        except NotFound:
            return False
        return True


class SharedStore(Store):
    """The same in PostgreSQL."""

    server: ClassVar[PostgresServer]

    def made(self) -> Place:
        self.server.clear()
        return Place(Path(tempfile.mkdtemp(dir=MEMORY)), options=StoreOptions(attempts=DEADLY), server=self.server)


@needs_postgres
def test_a_shared_store_keeps_to_the_model_too(postgres_server: PostgresServer) -> None:
    SharedStore.server = postgres_server
    run_state_machine_as_test(
        SharedStore,
        settings=settings(
            max_examples=4,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
