"""KEDA's and KubeRay's objects: by the operators' own fields, and by what Ray Serve and emotape make of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from emotape.delivery.cluster.config import checked, config_text
from emotape.delivery.metrics import Meter
from tests.deploy.manifests import KUBERNETES, built, documents, of_kind

if TYPE_CHECKING:
    from tests.deploy.manifests import Manifest

ROOT = Path(__file__).parents[2]
RAY = ("ray/base", "ray/gpu")

# Ray's own schemas, when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")


def ray_service(entrance: str) -> Manifest:
    (found,) = of_kind(built(entrance), "RayService")
    return found


def serve_config(entrance: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ray_service(entrance)["spec"]["serveConfigV2"])
    return found


def deployments(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (application,) = document["applications"]
    return {each["name"]: each for each in application["deployments"]}


def ray_schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "schemas" / "ray-service.json").read_text("utf-8"))
    return found


def scaled_object() -> Manifest:
    (found,) = documents(KUBERNETES / "components" / "keda" / "scaled-object.yaml")
    return found


def test_the_scaled_object_has_only_fields_that_keda_knows() -> None:
    """The models are made from KEDA's own definition; what they do not know they drop."""
    from cloudcoil.models.keda.v1alpha1 import ScaledObject

    given = scaled_object()
    assert ScaledObject.model_validate(given).model_dump(by_alias=True, exclude_unset=True, mode="json") == given


def test_keda_scales_on_a_figure_that_exists() -> None:
    queue = next(each for each in scaled_object()["spec"]["triggers"] if each["type"] == "prometheus")["metadata"]
    assert {"serverAddress", "query", "threshold"} <= set(queue)
    names = {metric.name for metric in Meter().registry.collect()}
    assert set(re.findall(r"\bemotape_\w+", queue["query"])) <= names
    assert all(isinstance(value, str) for value in queue.values())
    (target,) = of_kind(documents(KUBERNETES / "base" / "deployment.yaml"), "Deployment")
    assert scaled_object()["spec"]["scaleTargetRef"]["name"] == target["metadata"]["name"]


@pytest.mark.parametrize("entrance", RAY)
def test_the_ray_service_has_only_fields_that_kuberay_knows(entrance: str) -> None:
    jsonschema.validate(ray_service(entrance), ray_schema())


def test_a_field_that_kuberay_does_not_know_is_found() -> None:
    broken = ray_service("ray/base")
    broken["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, ray_schema())


@pytest.mark.parametrize("entrance", RAY)
def test_ray_serve_and_emotape_take_the_configuration(entrance: str) -> None:
    """`checked` hands it to Ray's own ServeDeploySchema, then looks at what is emotape's."""
    document = serve_config(entrance)
    assert checked(document) == document


@pytest.mark.parametrize("entrance", RAY)
def test_the_configuration_is_made_of_what_emotape_prints(entrance: str) -> None:
    printed = yaml.safe_load(config_text(cpus=64, gpus=2, host="0.0.0.0", port=8000))  # noqa: S104
    ours = serve_config(entrance)
    assert list(deployments(ours)) == list(deployments(printed))
    for name, deployment in deployments(ours).items():
        known = deployments(printed)[name]
        assert set(deployment) - {"num_replicas", "autoscaling_config"} <= set(known)
        assert (deployment.get("autoscaling_config") or {}).get("policy", {}).get("policy_function") == (
            known.get("autoscaling_config") or {}
        ).get("policy", {}).get("policy_function")


@pytest.mark.parametrize("entrance", RAY)
def test_ray_is_the_version_of_the_lock(entrance: str) -> None:
    (pinned,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    assert ray_service(entrance)["spec"]["rayClusterConfig"]["rayVersion"] == pinned


@pytest.mark.parametrize("entrance", RAY)
def test_the_pods_that_there_may_be_have_room_for_the_fewest_replicas(entrance: str) -> None:
    """In cores and cards; more replicas bring more pods, as far as maxReplicas goes."""
    (group,) = ray_service(entrance)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    (container,) = group["template"]["spec"]["containers"]
    for resource, option in (("cpu", "num_cpus"), ("nvidia.com/gpu", "num_gpus")):
        room = float(container["resources"]["limits"].get(resource, 0)) * group["replicas"]
        assert room >= sum(
            _fewest(each) * each["ray_actor_options"].get(option, 0)
            for each in deployments(serve_config(entrance)).values()
        )


@pytest.mark.parametrize("entrance", RAY)
def test_requests_and_probes_reach_the_port_at_which_ray_serve_listens(entrance: str) -> None:
    port = serve_config(entrance)["http_options"]["port"]
    (group,) = ray_service(entrance)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports[container["readinessProbe"]["httpGet"]["port"]] == port
    policy = next(
        each for each in of_kind(built(entrance), "NetworkPolicy") if each["metadata"]["name"] == "emotape-ray"
    )
    assert all(port in {at["port"] for at in rule["ports"]} for rule in policy["spec"]["ingress"] if "ports" in rule)


@pytest.mark.parametrize("entrance", RAY)
def test_the_head_keeps_its_state_in_the_redis_beside_it(entrance: str) -> None:
    options = ray_service(entrance)["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    manifests = built(entrance)
    redis = next(each for each in of_kind(manifests, "Service") if each["metadata"]["name"] == "redis")
    assert options["redisAddress"] == f"redis:{redis['spec']['ports'][0]['port']}"
    secrets = {
        each["metadata"]["name"]: each["stringData"] for each in documents(KUBERNETES / "examples" / "secret.yaml")
    }
    named = options["redisPassword"]["valueFrom"]["secretKeyRef"]
    assert named["key"] in secrets[named["name"]]


def _fewest(deployment: dict[str, Any]) -> int:
    scaling = deployment.get("autoscaling_config")
    return int(scaling["min_replicas"] if scaling else deployment["num_replicas"])
