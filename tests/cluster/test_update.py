"""A changed configuration is deployed under load: no request fails. Then engines come with the queue, and go again."""

from __future__ import annotations

import io
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from tests.cluster.conftest import AUDIO, deployed, recording, sending

if TYPE_CHECKING:
    from tests.cluster.conftest import Served

pytestmark = pytest.mark.slow


def test_an_update_and_scaling_lose_no_request(served: Served) -> None:
    document = deepcopy(served.document)
    parts = document["applications"][0]["deployments"]
    for part in parts:
        part["ray_actor_options"]["num_cpus"] *= 0.9  # its replicas are replaced
    parts[-1]["autoscaling_config"] |= {"min_replicas": 1, "initial_replicas": 1}
    before = {process.pid for part in parts for process in served.processes(part["name"])}
    assert len(before) == 5
    with sending(served, recording("thorsten_neutral.opus"), threads=2, pause=0.1) as senders:
        deployed(document)
        served.document = document
        served.await_running("Engine", 1)
        assert before.isdisjoint(process.pid for part in parts for process in served.processes(part["name"]))
        with sending(served, long_recording(), threads=2) as more:
            served.await_running("Engine", 2)
        served.await_running("Engine", 1)
        senders.await_answers(4)
    assert senders.failures == more.failures == []


def long_recording() -> bytes:
    """Return half a minute of speech: it fills the queue of an engine, and costs little besides."""
    samples, rate = soundfile.read(AUDIO / "jfk.flac", dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, np.resize(samples, 30 * rate), rate, format="WAV")
    return file.getvalue()
