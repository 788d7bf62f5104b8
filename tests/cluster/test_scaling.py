"""How many engines there should be, from what they say; and what they say."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.delivery.cluster.busy import Busy
from emotape.delivery.cluster.loads import Loads
from emotape.delivery.cluster.messages import Load
from emotape.delivery.cluster.scaling import Aim, QueuedSeconds, Seen, seen_by, wanted_engines
from emotape.events import TapeRan

AIM = Aim(queued_seconds=30, busy=0.7)
SECONDS = st.floats(0, 1e6)
ENGINES = st.integers(1, 500)
SHARE = st.floats(0, 1)


@given(SECONDS, SHARE, ENGINES)
def test_up_goes_at_once_to_as_many_as_the_queue_needs(queued: float, busy: float, engines: int) -> None:
    wanted = wanted_engines(Seen(queued, queued, busy), engines, AIM)
    if queued > 30 * engines:
        assert wanted == math.ceil(queued / 30) > engines
    else:
        assert wanted <= engines


@given(SECONDS, SECONDS, SHARE, ENGINES)
def test_down_goes_by_one_and_never_below_one(queued: float, peak: float, busy: float, engines: int) -> None:
    wanted = wanted_engines(Seen(queued, max(queued, peak), busy), engines, AIM)
    assert wanted >= max(1, engines - 1)


@given(SECONDS, SHARE, st.integers(2, 500))
def test_one_fewer_is_not_followed_by_one_more(peak: float, busy: float, engines: int) -> None:
    """What makes it go down would not make it go up again."""
    seen = Seen(peak, peak, busy)
    if wanted_engines(seen, engines, AIM) == engines - 1:
        assert wanted_engines(seen, engines - 1, AIM) <= engines - 1
        assert busy * engines <= 0.7 * (engines - 1)


@given(SECONDS, SECONDS, SHARE, ENGINES)
def test_more_in_the_queue_never_means_fewer_engines(queued: float, more: float, busy: float, engines: int) -> None:
    fewer = wanted_engines(Seen(queued, queued, busy), engines, AIM)
    assert wanted_engines(Seen(queued + more, queued + more, busy), engines, AIM) >= fewer


def points(*values: float) -> list[SimpleNamespace]:
    return [SimpleNamespace(timestamp=float(place), value=value) for place, value in enumerate(values)]


def test_the_policy_reads_what_ray_serve_brings() -> None:
    metrics = {
        "queued_seconds": {"a": points(0, 90, 40), "b": points(10, 5), "c": points()},
        "busy": {"a": points(1.0, 0.5), "b": points(0.0, 0.5)},
    }
    assert seen_by(metrics) == Seen(queued=45, peak=100, busy=0.5)
    context = SimpleNamespace(raw_metrics=metrics, target_num_replicas=1)
    assert QueuedSeconds(queued_seconds=10)(context) == (5, {})


def test_engines_that_have_not_told_anything_are_not_taken_away() -> None:
    assert QueuedSeconds()(SimpleNamespace(raw_metrics=None, target_num_replicas=3)) == (3, {})


def test_ray_serve_takes_the_policy_as_the_configuration_names_it() -> None:
    from ray.serve.config import AutoscalingPolicy

    named = AutoscalingPolicy.model_validate({"policy_function": "emotape.delivery.cluster.scaling:QueuedSeconds"})
    policy = named.get_policy()(queued_seconds=10)
    context = SimpleNamespace(raw_metrics={"queued_seconds": {"a": points(25)}}, target_num_replicas=1)
    assert policy(context) == (3, {})


def test_busy_is_the_share_of_the_time_in_which_the_busiest_device_ran() -> None:
    now = [0.0]
    busy = Busy(lambda: now[0])
    for device, seconds in (("cuda:0", 2.0), ("cuda:1", 1.0), ("cuda:0", 1.0)):
        busy(TapeRan(clips=1, tokens=1, capacity=1, audio_seconds=1.0, seconds=seconds, device=device))
    now[0] = 4.0
    assert busy.share() == pytest.approx(0.75)
    now[0] = 8.0
    assert busy.share() == 0.0
    assert busy.share() == 0.0


def test_loads_are_the_latest_word_of_every_engine_for_a_while() -> None:
    now = [0.0]
    loads = Loads(lambda: now[0])
    assert (loads.waiting(), loads.bound()) == (0.0, None)
    for load in (Load("a", 5.0, 100.0), Load("b", 1.0, 100.0), Load("a", 2.0, 100.0)):
        loads.note(load)
    assert (loads.waiting(), loads.bound()) == (3.0, 200.0)
    now[0] = 20.0
    assert loads.waiting() == 0.0
