"""SIGKILL under load: a replica or a node goes, and every accepted request is answered all the same."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from emotape.client.synchronous import Client
from tests.cluster.conftest import STORE_BYTES, WORKER, recording, sending

if TYPE_CHECKING:
    from tests.cluster.conftest import Served

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("deployment", ["Engine", "Decoding"])
def test_a_replica_that_is_killed_loses_no_request(served: Served, deployment: str) -> None:
    served.await_running(deployment, 2)
    with sending(served, recording("thorsten_neutral.opus")) as senders:
        senders.await_answers(6)
        os.kill(served.processes(deployment)[0].pid, signal.SIGKILL)
        senders.await_answers(30)
    assert senders.failures == []
    served.await_running(deployment, 2)


def test_a_node_that_is_killed_loses_no_request(served: Served) -> None:
    """With it go all that decode, and an engine; another node takes its place."""
    served.await_running("Engine", 2)
    with sending(served, recording("thorsten_neutral.opus")) as senders:
        senders.await_answers(6)
        served.cluster.remove_node(served.worker, allow_graceful=False)
        node = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        served.worker = served.cluster.add_node(num_cpus=2, resources=WORKER, **node)
        senders.await_answers(30)
    assert senders.failures == []
    served.await_running("Engine", 2)


def test_a_client_survives_an_ingress_that_is_killed(served: Served) -> None:
    """The proxy answers with an error that is not ours, or hangs up; the client asks again."""
    content = recording("thorsten_neutral.opus")
    ingress, *others = served.processes("Ingress")
    with Client(served.url) as client:
        expected = client.recognize(content).confidence
        answers = [client.submit(content) for _ in range(20)]
        os.kill(ingress.pid, signal.SIGKILL)
        found = [answer.result(120).confidence for answer in answers]
    assert found == pytest.approx([expected] * 20, abs=1e-6)
    served.await_running("Ingress", 1 + len(others))
