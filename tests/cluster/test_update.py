"""A changed configuration is deployed under load: no request fails. Then engines come with the queue, and go again."""

from __future__ import annotations

import sys
from copy import deepcopy
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.clock import local_now
from emotape.delivery.cluster.config import checked
from emotape.delivery.cluster.running import deploy, wait_until_ready
from tests.cluster.conftest import recording, sending

if TYPE_CHECKING:
    from tests.cluster.conftest import Served


def tell(words: str) -> None:
    """Show what Ray Serve says, when the test fails."""
    sys.stdout.write(f"{local_now():%X} {words}\n")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`look_back_period_s`:FutureWarning"),  # the test has little time to look back
]


def test_an_update_and_scaling_lose_no_request(served: Served) -> None:
    document = deepcopy(served.document)
    _, decoding, engine = document["applications"][0]["deployments"]
    decoding["ray_actor_options"]["num_cpus"] = 0.2  # these replicas are replaced
    engine["ray_actor_options"]["num_cpus"] = 0.9
    del engine["num_replicas"]
    engine["autoscaling_config"] = {
        "min_replicas": 1,
        "max_replicas": 2,
        "initial_replicas": 1,
        "upscale_delay_s": 0,
        "downscale_delay_s": 1,
        "look_back_period_s": 1.5,
        "policy": {
            "policy_function": "emotape.delivery.cluster.scaling:QueuedSeconds",
            "policy_kwargs": {"queued_seconds": 1.0},
        },
    }
    before = {process.pid for process in served.processes("Engine")}
    with sending(served, recording("thorsten_neutral.opus"), threads=2) as senders:
        deploy(checked(document))
        wait_until_ready("emotape", tell)
        served.await_running("Engine", 1)
        assert before.isdisjoint(process.pid for process in served.processes("Engine"))
        with sending(served, recording("jfk.flac"), threads=8) as more:
            served.await_running("Engine", 2)
        served.await_running("Engine", 1)
        senders.await_answers(4)
    assert senders.failures == more.failures == []
