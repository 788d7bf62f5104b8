"""The simulated fleet: waiting times of the textbook, nothing lost, more of it never worse, the same seed the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.delivery.cluster.scaling import Seen
from emotape.delivery.planning.simulation import Log, simulate
from emotape.delivery.planning.simulation_outcome import Outcome, first_replicas, sum_up, times
from emotape.delivery.planning.simulation_policy import Policy, Scale, decide, read_policy
from emotape.delivery.planning.simulation_replica import Served
from emotape.delivery.planning.simulation_traffic import MOST, Traffic, clip_lengths, poisson, recorded, traffic
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLIPS = 30_000
ONE = Policy(least=1, most=1, look=1e5)
PLAIN = Served(lanes=1, tape_tokens=1, queue=1e12, per_tape=0.0, per_clip=0.0, pace=1.0)
"""A queue of the textbook: one clip after another, each as long as it takes."""
ENGINE = Served(lanes=2, tape_tokens=1_620, queue=600.0, per_tape=0.003, per_clip=0.004, pace=0.05, start=2.0)


def ones(count: int) -> NDArray[np.float64]:
    return np.ones(count)


def memoryless(count: int) -> NDArray[np.float64]:
    return np.random.default_rng(5).exponential(1.0, count)


def outcome(coming: Traffic, served: Served, policy: Policy, initial: int = 1, seed: int = 0) -> Outcome:
    return sum_up(simulate(coming, served, policy, initial=initial, seed=seed), coming, served)


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_equal_clips_wait_as_long_as_the_textbook_says(busy: float) -> None:
    """M/D/1: rho / 2(1 - rho) of the time that one takes."""
    found = outcome(poisson(busy, CLIPS / busy, ones, seed=2), PLAIN, ONE)
    assert found.queued.mean == pytest.approx(busy / (2 * (1 - busy)), rel=0.08)
    assert found.busy == pytest.approx(busy, rel=0.03)


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_clips_of_any_length_wait_as_long_as_the_textbook_says(busy: float) -> None:
    """M/M/1: rho / (1 - rho), and e^-(1 - rho)t of those that wait do so longer than t."""
    coming = poisson(busy, CLIPS / busy, memoryless, seed=3)
    log = simulate(coming, PLAIN, ONE)
    waits = np.asarray([clip.started - clip.arrived for clip in log.clips if clip.started is not None])
    assert waits.mean() == pytest.approx(busy / (1 - busy), rel=0.12)
    assert (waits > 1e-9).mean() == pytest.approx(busy, rel=0.05)
    assert (waits > 2.0).mean() == pytest.approx(busy * np.exp(-2 * (1 - busy)), rel=0.12)


def test_two_lanes_wait_as_long_as_the_textbook_says() -> None:
    """M/M/2 (Erlang's C): both lanes share one queue."""
    each = 0.7
    waiting = 2 * each**2 / (1 + each)  # the chance that both are taken
    coming = poisson(2 * each, CLIPS / (2 * each), memoryless, seed=4)
    assert outcome(coming, replace(PLAIN, lanes=2), ONE).queued.mean == pytest.approx(
        waiting / (2 * (1 - each)), rel=0.12
    )


def checked(log: Log, coming: Traffic) -> None:
    """Hold a log to what is true of any: each clip has one end, in order of time, and replicas are paid once."""
    assert [clip.arrived for clip in log.clips] == coming.arrivals.tolist()
    for clip in log.clips:
        assert not (clip.refused and (clip.answered is not None or clip.moved))
        if clip.answered is not None:
            assert clip.started is not None
            assert clip.arrived <= clip.started <= clip.answered <= coming.span


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.5, 30.0),
    queue=st.floats(1.0, 300.0),
    most=st.integers(1, 6),
    lost=st.none() | st.floats(1.0, 290.0),
    seed=st.integers(0, 1_000),
)
def test_every_clip_is_answered_refused_or_waiting(
    rate: float, queue: float, most: int, lost: float | None, seed: int
) -> None:
    """Under any load, with replicas coming, going and being lost; and there are never more than allowed."""
    coming = replace(poisson(rate, 300.0, lambda n: clip_lengths(n, 4.0, np.random.default_rng(seed)), seed), lost=lost)
    policy = Policy(most=most, target=10.0, down=20.0, boot=5.0, node=2)
    log = simulate(coming, replace(ENGINE, queue=queue), policy, initial=min(2, most), seed=seed)
    found = sum_up(log, coming, ENGINE)
    checked(log, coming)
    assert found.arrived == found.answered + found.refused + found.waiting == len(coming.arrivals)
    assert all(policy.least <= moment.wanted <= most for moment in log.moments)
    assert log.replica_seconds <= (most + 2) * coming.span


def test_a_fleet_that_has_time_answers_what_it_took_although_a_node_is_lost() -> None:
    coming = traffic("loss", 1.0, 3.0, seed=1)
    quiet = replace(coming, span=coming.span + 600)
    found = outcome(quiet, replace(ENGINE, pace=0.2), Policy(least=2, most=4, boot=30.0), initial=2)
    assert found.lost == 1
    assert found.waiting == found.refused == 0
    assert found.scale_ups >= 1


@pytest.mark.parametrize("name", ["day", "flash", "loss"])
def test_the_same_seed_gives_the_same_and_another_another(name: str) -> None:
    def played(seed: int) -> Outcome:
        return outcome(traffic(name, 0.05, 3.0, seed=seed), ENGINE, Policy(look=60.0), seed=seed)  # type: ignore[arg-type]

    assert played(1) == played(1)
    assert played(1) != played(2)


def test_more_replicas_never_make_clips_wait_longer_nor_a_longer_queue_refuse_more() -> None:
    coming = poisson(12.0, 200.0, lambda n: clip_lengths(n, 4.0, np.random.default_rng(6)), 6)
    fixed = [Policy(least=count, most=count) for count in (1, 2, 3, 4)]
    waits = [outcome(coming, replace(ENGINE, queue=1e9), policy, policy.least).queued.mean for policy in fixed]
    refused = [outcome(coming, replace(ENGINE, queue=queue), fixed[0]).refused for queue in (10.0, 40.0, 160.0)]
    assert waits == sorted(waits, reverse=True)
    assert refused == sorted(refused, reverse=True)
    assert refused[0] > refused[-1] > 0


def test_a_faster_start_makes_a_flash_crowd_wait_less() -> None:
    coming = traffic("flash", 2.0, 4.0, peak=6.0, seed=3)
    slow, fast = (
        outcome(coming, ENGINE, Policy(boot=boot), first_replicas(2.0, 4.0, ENGINE, Policy())) for boot in (240.0, 5.0)
    )
    assert fast.scale_ups > 0
    assert fast.scale_downs > 0, "the crowd has left"
    assert fast.queued.p99 < slow.queued.p99
    assert fast.refused <= slow.refused


def test_more_is_wanted_for_a_while_before_it_happens_and_bounds_hold() -> None:
    policy = Policy(least=1, most=5, target=10.0, up=20.0, down=60.0)
    much, nothing = Seen(500.0, 500.0, 1.0), Seen(0.0, 0.0, 0.0)
    scale = decide(much, Scale(2), 0.0, policy)
    assert scale.target == 2
    assert decide(nothing, scale, 10.0, policy).direction == -1, "and the other way it begins anew"
    scale = decide(much, decide(much, scale, 10.0, policy), 20.0, policy)
    assert scale == Scale(5)
    scale = decide(nothing, scale, 30.0, policy)
    assert decide(nothing, scale, 89.0, policy).target == 5
    assert decide(nothing, scale, 90.0, policy).target == 4
    assert decide(nothing, Scale(1), 1e6, policy).target == 1


def test_the_simulation_begins_with_the_clusters_own_settings() -> None:
    """What `emotape cluster config` prints."""
    from emotape.delivery.cluster.scaling import Aim

    assert Aim(Policy().target, Policy().busy) == Aim()


def test_clips_have_the_mean_that_was_asked_for_and_a_day_its_wave() -> None:
    coming = traffic("day", 2.0, 7.0)
    night, noon = (((coming.arrivals // 3600) == hour).sum() for hour in (3, 15))
    assert coming.lengths.mean() == pytest.approx(7.0, rel=0.02)
    assert len(coming.arrivals) == pytest.approx(2.0 * 86_400, rel=0.03)
    assert noon > 4 * night
    assert (np.diff(coming.arrivals) >= 0).all()
    assert 0 <= coming.arrivals[0] <= coming.arrivals[-1] < coming.span


def test_a_busy_day_is_played_faster_and_says_so() -> None:
    coming = traffic("day", 100.0, 7.0)
    assert len(coming.arrivals) == pytest.approx(MOST, rel=0.05)
    assert coming.span * coming.faster == pytest.approx(86_400)


@pytest.mark.parametrize("name", ["flash", "loss"])
def test_more_than_can_be_played_is_refused_before_it_is_drawn(name: str) -> None:
    with pytest.raises(BadRequest, match="fleet_too_much"):
        traffic(name, 1e9, 5.0)  # type: ignore[arg-type]


def test_recorded_arrivals_are_read_in_order_with_their_lengths(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text("30,2\n10,4\n20,3\n")
    coming = recorded(path, 9.0)
    assert coming.arrivals.tolist() == [0.0, 10.0, 20.0]
    assert coming.lengths.tolist() == [4.0, 3.0, 2.0]
    path.write_text("1\n2\n")
    assert len(recorded(path, 9.0).lengths) == 2


@pytest.mark.parametrize("text", ["", "when\n1\n", "1,0\n", "nan,1\n"])
def test_what_is_no_list_of_arrivals_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text(text)
    with pytest.raises(BadRequest, match="fleet_traffic_unreadable"):
        recorded(path, 9.0)


def test_a_policy_is_read_by_name_and_nonsense_is_refused() -> None:
    assert read_policy("min=2, max=8,target=45") == Policy(least=2, most=8, target=45.0)
    assert read_policy("") == Policy()
    for wrong in ("min=9,max=8", "tempo=3", "target", "look=0", "down=-1", "busy=1.5", "max=inf", "min=1.5"):
        with pytest.raises(BadRequest, match="fleet_policy"):
            read_policy(wrong)


def test_no_times_at_all_are_zeros() -> None:
    assert times([]).p99 == 0.0
