"""The manifests are valid, as safe as Kubernetes can ask for, and fit the service: settings, addresses and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from emotape.delivery.metrics import Meter
from emotape.delivery.server import FAREWELL_SECONDS
from emotape.settings import PREFIX, Settings
from tests.deploy.manifests import (
    COMPONENTS,
    ENTRANCES,
    KUBERNETES,
    all_pods,
    built,
    documents,
    kustomization,
    of_kind,
    pod_templates,
    runs_emotape,
)

if TYPE_CHECKING:
    from tests.deploy.manifests import Manifest

_CUSTOM = {"RayService", "ScaledObject"}
_TRACES_SECONDS = 10  # what a stopping server may wait for a collector of traces
_SECRETS = KUBERNETES / "examples" / "secret.yaml"


def deployment(entrance: str) -> Manifest:
    (found,) = of_kind(built(entrance), "Deployment")
    return found


def container(entrance: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = deployment(entrance)["spec"]["template"]["spec"]["containers"]
    return found


def given_settings() -> set[str]:
    """Return the variables of every container, configuration and secret that begin like emotape's."""
    names = {name for each in (*built("overlays/gpu"), *documents(_SECRETS)) for name in each.get("data", {})}
    names |= {name for each in documents(_SECRETS) for name in each["stringData"]}
    for _, template in all_pods():
        for each in template["spec"]["containers"]:
            names |= {variable["name"] for variable in each.get("env", ())}
    return {name for name in names if name.startswith(PREFIX)}


@pytest.mark.parametrize("entrance", [*ENTRANCES, "components/keda"])
def test_everything_is_valid_for_kubernetes_and_nothing_is_mistyped(entrance: str) -> None:
    manifests = [each for each in built(entrance) if each["kind"] not in _CUSTOM]
    for manifest in manifests:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    for _, template in [pod for each in built(entrance) for pod in pod_templates(each)]:
        wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "checked"}, "template": template}
        kubernetes_validate.validate(wrapped, kubernetes_validate.latest_version(), strict=True)


def test_the_check_finds_what_is_mistyped() -> None:
    broken = deployment("overlays/cpu")
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 90
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_secrets_are_valid_and_hold_no_secret() -> None:
    for secret in documents(_SECRETS):
        kubernetes_validate.validate(secret, kubernetes_validate.latest_version(), strict=True)
    text = _SECRETS.read_text("utf-8")
    assert text.count("PASSWORD") >= 3
    assert "emo_" not in text


@pytest.mark.parametrize("folder", [*ENTRANCES, "base", *COMPONENTS])
def test_a_kustomization_names_every_file_beside_it_and_no_other(folder: str) -> None:
    about = kustomization(KUBERNETES / folder)
    named = {name for name in about.get("resources", ()) if name.endswith(".yaml")}
    named |= {patch["path"] for patch in about.get("patches", ())}
    there = {path.name for path in (KUBERNETES / folder).iterdir()} - {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert named == there
    for name in (*about.get("components", ()), *(name for name in about.get("resources", ()) if name not in named)):
        assert (KUBERNETES / folder / name / "kustomization.yaml").exists()


def test_every_setting_that_is_given_exists() -> None:
    assert {name.removeprefix(PREFIX).lower() for name in given_settings()} <= set(Settings.model_fields)


@pytest.mark.parametrize(("name", "template"), all_pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_kubernetes_puts_no_variables_of_its_own_among_the_settings(name: str, template: Manifest) -> None:
    """A service named emotape would become EMOTAPE_PORT in the pods of its namespace, and emotape would not start."""
    assert template["spec"]["enableServiceLinks"] is False, name


@pytest.mark.parametrize(("name", "template"), all_pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_pod_keeps_to_the_restricted_profile_on_a_read_only_root(name: str, template: Manifest) -> None:
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
    for volume in pod.get("volumes", ()):
        assert {"emptyDir", "secret", "configMap", "persistentVolumeClaim"} & set(volume), volume
    for each in pod["containers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= set(each["resources"]["requests"])
        assert "memory" in each["resources"]["limits"]
        assert not any("hostPort" in port for port in each.get("ports", ()))


@pytest.mark.parametrize(("name", "template"), all_pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_emotape_writes_to_is_a_volume(name: str, template: Manifest) -> None:
    if not runs_emotape(template):
        return
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    for each in template["spec"]["containers"]:
        mounts = {mount["mountPath"]: mount for mount in each["volumeMounts"]}
        assert {"/models", "/var/lib/emotape", "/var/cache/emotape", "/tmp"} <= set(mounts), name  # noqa: S108
        assert {mount["name"] for mount in mounts.values()} <= volumes


@pytest.mark.parametrize("entrance", ["overlays/cpu", "overlays/gpu"])
def test_a_pod_is_given_the_time_to_answer_what_it_took_on(entrance: str) -> None:
    pod = deployment(entrance)["spec"]["template"]["spec"]
    (settings,) = of_kind(built(entrance), "ConfigMap")
    pause = container(entrance)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(settings["data"]["EMOTAPE_DRAIN_SECONDS"])
    assert pause >= 5, "a pod that leaves is called for a few seconds more"
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + FAREWELL_SECONDS + _TRACES_SECONDS


@pytest.mark.parametrize("entrance", ["overlays/cpu", "overlays/gpu"])
def test_probes_ask_the_addresses_that_there_are_by_a_name_that_is_let_in(entrance: str) -> None:
    """The kubelet would name the pod's address, which `allowed_hosts` refuses."""
    found = container(entrance)
    asked = {kind: found[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert [probe["path"] for probe in asked.values()] == ["/livez", "/livez", "/readyz"]
    assert all(probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}] for probe in asked.values())
    assert {"name": "http", "containerPort": Settings.model_fields["port"].default} in found["ports"]


@pytest.mark.parametrize("entrance", ["overlays/cpu", "overlays/gpu"])
def test_whatever_selects_pods_selects_ours(entrance: str) -> None:
    manifests = built(entrance)
    labels = deployment(entrance)["spec"]["template"]["metadata"]["labels"].items()
    (service,) = of_kind(manifests, "Service")
    (budget,) = of_kind(manifests, "PodDisruptionBudget")
    (policy,) = of_kind(manifests, "NetworkPolicy")
    assert service["spec"]["selector"].items() <= labels
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_the_policy_lets_out_what_the_secrets_point_to_and_the_download_is_not_held() -> None:
    (policy,) = of_kind(built("overlays/gpu"), "NetworkPolicy")
    open_ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    secrets = documents(_SECRETS)[0]["stringData"]
    assert {int(url.rsplit(":", 1)[1].split("/")[0]) for url in secrets.values()} <= open_ports
    (job,) = of_kind(built("overlays/gpu"), "Job")
    held = policy["spec"]["podSelector"]["matchLabels"].items()
    assert not held <= job["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("entrance", ["overlays/cpu", "overlays/gpu"])
def test_it_is_scaled_on_figures_that_exist_and_that_the_adapter_hands_on(entrance: str) -> None:
    (scaler,) = of_kind(built(entrance), "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment(entrance)["metadata"]["name"])
    assert "replicas" not in deployment(entrance)["spec"], "who scales decides"
    wanted = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if metric["type"] == "Pods"}
    (adapter,) = documents(KUBERNETES / "components" / "hpa" / "prometheus-adapter.yaml")
    handed_on = {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
    assert "emotape_queue_seconds" in wanted
    assert wanted <= handed_on <= {metric.name for metric in Meter().registry.collect()}
    for rule in adapter["rules"]["custom"]:
        assert rule["seriesQuery"].startswith(rule["name"]["as"] + "{")


def test_a_pod_with_a_card_asks_for_it_and_uses_the_model_of_the_volume() -> None:
    found = container("overlays/gpu")
    assert found["resources"]["limits"]["nvidia.com/gpu"] == "1"
    manifests = built("overlays/gpu")
    (claim,), (job,) = of_kind(manifests, "PersistentVolumeClaim"), of_kind(manifests, "Job")
    volumes = deployment("overlays/gpu")["spec"]["template"]["spec"]["volumes"]
    name = claim["metadata"]["name"]
    assert [v["name"] for v in volumes if v.get("persistentVolumeClaim", {}).get("claimName") == name] == ["models"]
    (settings,) = of_kind(manifests, "ConfigMap")
    assert settings["data"]["EMOTAPE_MODEL"] == job["spec"]["template"]["spec"]["containers"][0]["args"][-1]


def test_prometheus_finds_the_pods_and_labels_them_as_the_adapter_asks() -> None:
    (job,) = yaml.safe_load((KUBERNETES.parent / "prometheus" / "kubernetes.yml").read_text("utf-8"))
    steps = {step.get("target_label"): step for step in job["relabel_configs"]}
    assert {"namespace", "pod"} <= set(steps)
    name = deployment("overlays/cpu")["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
    assert steps[None]["regex"] == f"{name};{container('overlays/cpu')['ports'][0]['name']}"
    assert job["job_name"] == "emotape", "the alerts ask for this name"
