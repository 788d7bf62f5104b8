"""Threads that share the work on a tape."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.engine.runner import Clip, TorchRunner
from emotape.model import packed
from emotape.model.team import ALONE, Team
from emotape.model.weights import load
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform

PATIENCE = 30.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=40), st.integers(1, 4))
def test_every_part_is_worked_on_once_and_comes_back_in_its_place(parts: list[int], threads: int) -> None:
    done: list[int] = []

    def work(part: int) -> int:
        done.append(part)
        return part + 1

    assert Team(threads).share(work, parts) == [part + 1 for part in parts]
    assert sorted(done) == sorted(parts)


def test_parts_are_worked_on_at_the_same_time() -> None:
    """Each of three threads has a part in hand before any of them is through."""
    together = threading.Barrier(3, timeout=PATIENCE)
    assert sorted(Team(3).share(lambda _: together.wait(), range(3))) == [0, 1, 2]


def test_a_thread_that_is_held_up_leaves_its_share_to_the_others() -> None:
    """One of two threads gets stuck in its first part until all others are done."""
    others = threading.Semaphore(0)

    def work(part: int) -> str:
        if part == 0:
            assert all(others.acquire(timeout=PATIENCE) for _ in range(9))
        else:
            others.release()
        return threading.current_thread().name

    stuck, *rest = Team(2).share(work, range(10))
    assert set(rest) != {stuck}
    assert len(set(rest)) == 1


def test_what_a_part_raises_is_raised_when_nobody_works_any_more() -> None:
    at_work = 0

    def work(part: int) -> None:
        nonlocal at_work
        at_work += 1
        try:
            if part == 3:
                raise RuntimeError("this part breaks")
        finally:
            at_work -= 1

    team = Team(3)
    for _ in range(20):
        with pytest.raises(RuntimeError, match="this part breaks"):
            team.share(work, range(50))
        assert at_work == 0
    assert team.share(str, range(2)) == ["0", "1"]


def test_threads_of_a_team_multiply_alone_and_learn_nothing() -> None:
    """Each keeps to its core, and no part is recorded for gradients."""
    together = threading.Barrier(2, timeout=PATIENCE)

    def state(_: int) -> tuple[int, bool, str]:
        together.wait()
        return torch.get_num_threads(), torch.is_inference_mode_enabled(), threading.current_thread().name

    found = Team(2).share(state, range(2))
    own = threading.current_thread().name
    assert [inference for _, inference, _ in found] == [True, True]
    assert [threads for threads, _, name in found if name != own] == [1]


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
@pytest.mark.parametrize("seconds", [0.3, 1.7, 9.0])
def test_a_tape_sounds_the_same_however_many_share_it(
    arithmetic: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows do not see each other, so pieces change nothing beyond the order of sums."""
    monkeypatch.setattr(packed, "LARGE", 0)
    from emotape.audio.waveform import SAMPLE_RATE, Waveform

    samples = 0.1 * torch.randn(int(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(3))
    clips = [Clip(Waveform(samples.numpy()), frame_embeddings=True), Clip(Waveform(samples.numpy()[: 16_000 // 4]))]
    found = [
        TorchRunner(load(GOLDEN / "large_like", None), arithmetic=arithmetic, threads=threads).run(clips)  # type: ignore[arg-type]
        for threads in (1, 2, 3)
    ]
    tolerance = 1e-5 if arithmetic == "float32" else 2e-2
    for shared in found[1:]:
        for one, other in zip(found[0], shared, strict=True):
            torch.testing.assert_close(
                torch.from_numpy(other.embedding), torch.from_numpy(one.embedding), atol=tolerance, rtol=tolerance
            )


def test_alone_is_the_callers_thread() -> None:
    assert set(ALONE.share(lambda _: threading.current_thread().name, range(5))) == {threading.current_thread().name}


def test_a_callers_own_products_keep_their_threads(noise: Waveform) -> None:
    """A model is loaded and judged in its user's thread, whose other work with torch is none of emotape's business."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        TorchRunner(load(GOLDEN / "large_like"), arithmetic="float32", threads=2).run([Clip(noise)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
