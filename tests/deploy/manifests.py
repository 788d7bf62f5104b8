"""The manifests as Kubernetes would get them: kustomizations put together from resources, components and patches."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonpatch
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest = dict[str, Any]
KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
ENTRANCES = ("overlays/cpu", "overlays/gpu", "ray/base", "ray/gpu")
"""What a user applies."""
COMPONENTS = ("components/hpa", "components/keda", "components/models")


def documents(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def kustomization(folder: Path) -> Manifest:
    (found,) = documents(folder / "kustomization.yaml")
    return found


def built(entrance: str) -> list[Manifest]:
    """Return what `kubectl kustomize` prints, but for the namespace, labels and images that it sets."""
    return _built((KUBERNETES / entrance).resolve())


def _built(folder: Path, *, into: list[Manifest] | None = None) -> list[Manifest]:
    about = kustomization(folder)
    found = [] if into is None else into
    for name in about.get("resources", ()):
        path = (folder / name).resolve()
        found += _built(path) if path.is_dir() else documents(path)
    for name in about.get("components", ()):
        found = _built((folder / name).resolve(), into=found)
    for patch in about.get("patches", ()):
        found = [_patched(each, patch["target"], folder / patch["path"]) for each in found]
    return found


def _patched(manifest: Manifest, target: dict[str, str], path: Path) -> Manifest:
    if (manifest["kind"], manifest["metadata"]["name"]) != (target["kind"], target["name"]):
        return manifest
    operations = yaml.safe_load(path.read_text("utf-8"))
    changed: Manifest = jsonpatch.apply_patch(deepcopy(manifest), operations)
    return changed


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def pod_templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Give the templates of a manifest's pods, by a name for each."""
    name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
    if manifest["kind"] == "RayService":
        cluster = spec["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            yield f"{name}/{group.get('groupName', 'head')}", group["template"]
    elif manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
        yield f"{manifest['kind']}/{name}", spec["template"]


def all_pods() -> list[tuple[str, Manifest]]:
    return [
        (f"{entrance}/{name}", template)
        for entrance in ENTRANCES
        for manifest in built(entrance)
        for name, template in pod_templates(manifest)
    ]


def runs_emotape(template: Manifest) -> bool:
    return any(each["image"].startswith("emotape:") for each in template["spec"]["containers"])
