"""Ray's exceptions, and what a proxy says in the place of an ingress: all of it becomes ours, or another attempt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from emotape.audio.decode import decode
from emotape.client.synchronous import Client
from emotape.delivery.cli import app
from emotape.delivery.cluster.calls import Lost, translated
from emotape.delivery.cluster.messages import as_value
from emotape.errors import BadAudio, EmotapeError, EngineFault, NotReady, Overloaded
from tests.client.conftest import Flaky, Sleeper

if TYPE_CHECKING:
    from pathlib import Path


def raised() -> list[tuple[Exception, type[Exception]]]:
    from ray import exceptions
    from ray.serve._private.common import DeploymentID
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

    return [
        (exceptions.ActorDiedError(), Lost),
        (exceptions.ActorUnavailableError("gone", None), Lost),
        (exceptions.WorkerCrashedError(), Lost),
        (exceptions.ObjectLostError("00", None, ""), Lost),
        (exceptions.NodeDiedError("gone"), Lost),  # type: ignore[no-untyped-call]
        (ReplicaUnavailableError("r"), Lost),
        (exceptions.ObjectStoreFullError("full"), Overloaded),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
        (DeploymentUnavailableError(DeploymentID("Engine", "emotape")), NotReady),
        (BadAudio("empty_file"), BadAudio),
    ]


def test_every_exception_of_ray_has_a_meaning_here() -> None:
    for error, meaning in raised():
        found = translated(error)
        assert type(found) is meaning
        if isinstance(found, EmotapeError):
            assert found.text("zh").message
        else:
            assert str(found)


def test_errors_become_values_without_what_they_held() -> None:
    with pytest.raises(BadAudio) as caught:
        decode(b"")
    assert as_value(caught.value).__traceback__ is None
    strange = as_value(KeyError("a bug"))
    assert isinstance(strange, EngineFault)
    assert strange.code == "unexpected"


JSON = {"content-type": "application/json"}


def test_a_client_asks_again_where_a_proxy_lost_the_ingress() -> None:
    """Ray Serve's proxy answers 500 in plain text."""
    labels = json.dumps({"model": "m", "labels": []}).encode()
    sleeper = Sleeper()
    lost: Any = (500, {"content-type": "text/plain"}, b"Internal Server Error")
    with Flaky([lost, (200, JSON, labels)]).serving() as server, Client(server.url, sleep=sleeper) as client:
        assert client.labels == ()
    assert len(sleeper.slept) == 1


def test_an_error_of_ours_with_the_same_status_stands() -> None:
    told = {"error": {"code": "run_failed", "message": "m", "cause": "c", "cure": "c", "request_id": "r"}}
    flaky = Flaky([(500, JSON, json.dumps(told).encode())])
    with flaky.serving() as server, Client(server.url, sleep=Sleeper()) as client, pytest.raises(EngineFault):
        _ = client.labels


def test_the_command_prints_a_configuration_and_refuses_a_bad_one(tmp_path: Path) -> None:
    run = CliRunner()
    printed = run.invoke(app, ["cluster", "config", "--cpus", "64", "--gpus", "8", "--port", "9000"])
    assert printed.exit_code == 0
    path = tmp_path / "cluster.yaml"
    path.write_text(printed.output.replace("together: 8 ", "together: 0 "))
    refused = run.invoke(app, ["cluster", "serve", str(path), "--language", "zh"])
    assert refused.exit_code == 2
    assert "args.together" in refused.output
