"""What stands in deploy/ fits the service: every figure that a board or an alert asks for is one that there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from emotape.delivery.metrics import Meter, metrics_table

DEPLOY = Path(__file__).parents[2] / "deploy"
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


def known() -> set[str]:
    """Return every name that an expression may use."""
    return {
        f"{metric.name}{suffix}" for metric in Meter().registry.collect() for suffix in _SUFFIXES[metric.type]
    }  # fmt: skip


def names(expression: str) -> set[str]:
    return set(re.findall(r"\bemotape_\w+", expression))


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "emotape.json").read_text("utf-8"))
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    assert set(group) == {"name", "rules"}
    return list(group["rules"])


def expressions() -> list[str]:
    drawn = [target["expr"] for panel in board()["panels"] for target in panel["targets"]]
    return drawn + [rule["expr"] for rule in rules()]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_of_the_board_and_the_alerts_exists(expression: str) -> None:
    assert names(expression) <= known()
    assert names(expression) or expression.startswith("up{")
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_labels_that_are_asked_for_are_labels_that_there_are() -> None:
    """In selectors, in `by` and in legends."""
    labels = {"instance", "job", "le"}
    for metric in (*Meter()._listeners, Meter()):
        labels |= {name for value in vars(metric).values() for name in getattr(value, "_labelnames", ())}
    labels |= {"gpu", "name"}
    legends = [target["legendFormat"] for panel in board()["panels"] for target in panel["targets"]]
    asked = {label for legend in legends for label in re.findall(r"{{(\w+)}}", legend)}
    for expression in expressions():
        asked |= {
            label.strip() for inner in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for label in inner.split(",")
        }
        asked |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]", expression))
    assert asked <= labels


def test_the_board_shows_almost_everything() -> None:
    """What it leaves out can be looked up, and is named here."""
    shown = {name for expression in expressions() for name in names(expression)}
    missing = {name for name in known() - shown if not name.endswith(("_bucket", "_sum", "_count"))}
    assert missing == {
        "emotape_adaptations_total", "emotape_model_resident",
        "emotape_memory_short_total", "emotape_model_load_seconds", "emotape_process_cpu_seconds_total",
        "emotape_realtime_factor", "emotape_requests_under_way", "emotape_swap_used_bytes",
    }  # fmt: skip


def test_the_panels_lie_beside_one_another() -> None:
    places: set[tuple[int, int]] = set()
    for panel in board()["panels"]:
        at = panel["gridPos"]
        taken = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not places & taken
        places |= taken
    identities = [panel["id"] for panel in board()["panels"]]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_it_means_and_how_urgent_it_is(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert {"summary", "description"} == set(rule["annotations"])
    assert "$labels.instance" in rule["annotations"]["summary"]
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))


def test_the_examples_are_yaml_and_find_the_service() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (job,) = prometheus["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("emotape", "/metrics")
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:7860"]
    assert prometheus["rule_files"] == ["alerts.yml"]
    collector = yaml.safe_load((DEPLOY / "opentelemetry" / "collector.yaml").read_text("utf-8"))
    pipeline = collector["service"]["pipelines"]["traces"]
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) <= set(collector[part])


def test_the_readme_names_every_file_in_both_languages() -> None:
    text = (DEPLOY / "README.md").read_text("utf-8")
    for file in DEPLOY.rglob("*"):
        if file.is_file() and file.name != "README.md":
            assert text.count(f"`{file.relative_to(DEPLOY)}`") == 2
    assert metrics_table("en")
