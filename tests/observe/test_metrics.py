"""Figures for Prometheus: each is what happened, labels are few, and nothing is told of content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from emotape.delivery.metrics import Meter, metrics_table
from emotape.errors import as_fault
from emotape.events import Event, MemoryShort, Settled

if TYPE_CHECKING:
    from emotape.wording import Language
    from tests.observe.conftest import Observed


ROOT = Path(__file__).parents[2]


def test_a_recording_is_counted_once_by_everything_it_went_through(desk: Observed, unheard: bytes) -> None:
    names = (
        "emotape_requests_total",
        "emotape_cache_misses_total",
        "emotape_cache_hits_total",
        "emotape_run_seconds_total",
    )
    before = [desk.figure("emotape_audio_seconds_total"), desk.figure("emotape_tape_fill_ratio_count")]
    labels: tuple[dict[str, str], ...] = (
        {"outcome": "answered", "code": ""},
        {},
        {"kind": "stored"},
        {"device": "cpu"},
    )
    counted = [desk.figure(name, **label) for name, label in zip(names, labels, strict=True)]
    assert [desk.send(unheard) for _ in range(2)] == [200, 200]
    requests, misses, hits, run = (desk.figure(name, **label) for name, label in zip(names, labels, strict=True))
    assert (requests - counted[0], misses - counted[1], hits - counted[2]) == (2, 1, 1)
    assert run > counted[3]
    assert desk.figure("emotape_audio_seconds_total") - before[0] == pytest.approx(2.0)
    assert desk.figure("emotape_tape_fill_ratio_count") - before[1] == 1
    assert desk.figure("emotape_stage_seconds_count", stage="run") >= 1
    assert desk.figure("emotape_model_load_seconds") > 0


def test_what_is_refused_is_counted_by_its_code(desk: Observed) -> None:
    assert desk.send(b"words, and no audio at all") == 415
    assert desk.figure("emotape_requests_total", outcome="rejected", code="text_not_audio") >= 1
    assert desk.figure("emotape_http_requests_total", method="POST", route="/v1/recognize", status="415") >= 1


@pytest.mark.parametrize(
    ("code", "fault", "outcome", "refusals"),
    [
        ("overloaded", "load", "refused", 1),
        ("cancelled", "load", "withdrawn", 0),
        ("run_failed", "engine", "failed", 0),
        ("not_audio", "caller", "rejected", 0),
    ],
)
def test_errors_are_sorted_by_whose_fault_they_are(code: str, fault: str, outcome: str, refusals: int) -> None:
    meter = Meter()
    meter(Settled(0.1, {"wait": 0.1}, code=code, fault=fault))
    assert meter.registry.get_sample_value("emotape_requests_total", {"outcome": outcome, "code": code}) == 1
    assert (meter.registry.get_sample_value("emotape_refusals_total", {"code": code}) or 0) == refusals


def test_two_meters_share_nothing() -> None:
    """Nothing is registered globally."""
    one, other = Meter(), Meter()
    one(MemoryShort("cuda:0", 100))
    assert one.registry.get_sample_value("emotape_memory_short_total", {"device": "cuda:0"}) == 1
    assert other.registry.get_sample_value("emotape_memory_short_total", {"device": "cuda:0"}) is None


def test_facts_that_nobody_counts_are_no_error() -> None:
    event: Event = Settled(0.0, {}, code=as_fault(ValueError()).code, fault="engine")
    Meter()(event)


def test_the_route_tells_everything_in_prometheus_own_format(desk: Observed, speech: bytes) -> None:
    desk.send(speech)
    answer = desk.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["emotape_ready"].samples[0].value == 1
    assert families["emotape_queue_limit_seconds"].samples[0].value == desk.service.recognizer.plan.queue_seconds
    assert families["emotape_memory_used_bytes"].samples[0].value > 0
    assert not any(name.endswith("_created") for name in families)


def test_addresses_that_somebody_makes_up_add_no_series(desk: Observed) -> None:
    """Scanners ask for thousands; labels are templates of routes, known methods and statuses."""
    for number in range(20):
        desk.client.get(f"/wp-admin/{number}")
        desk.client.request(f"ODD{number}", f"/v1/jobs/{number}")
        desk.client.get("/livez", headers={"x-request-id": f"id-{number}"})
    text = desk.client.get("/metrics").text
    assert "wp-admin" not in text
    assert "ODD" not in text
    assert desk.figure("emotape_http_requests_total", method="GET", route="unmatched", status="404") >= 20
    seen = {line for line in text.splitlines() if line.startswith("emotape_http_requests_total")}
    assert len(seen) < 15


def test_a_service_that_is_not_ready_says_so(desk: Observed) -> None:
    meter = Meter()
    assert meter.registry.get_sample_value("emotape_ready") == 0
    assert meter.registry.get_sample_value("emotape_queue_limit_seconds") is None
    meter.watch(desk.service)
    assert meter.registry.get_sample_value("emotape_ready") == 1


@pytest.mark.parametrize(("document", "language"), [("operations.md", "en"), ("operations.zh.md", "zh")])
def test_the_documents_have_the_table_of_the_registry(document: str, language: Language) -> None:
    """All of it, and no metric beside it."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `emotape_")]
    assert "\n".join(rows) == metrics_table(language), f"write metrics_table({language!r}) to docs/{document}"
