"""What became of the engine is said in words: one line for each fact that its owner should know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.engine_log import EngineLog, told
from emotape.delivery.logs import LogOptions, written
from emotape.events import (
    Admitted,
    DeviceFailed,
    DeviceRefused,
    Event,
    MemoryShort,
    NotCompiled,
    NotFinite,
    PrecisionRefused,
    WeightsOffloaded,
)

if TYPE_CHECKING:
    from emotape.wording import Language

FACTS: list[tuple[Event, str]] = [
    (PrecisionRefused("int8", 0.21, same_labels=False), "int8"),
    (PrecisionRefused("bfloat16", float("inf"), same_labels=True), "inf"),
    (DeviceRefused("cuda:0", 0.5), "cuda:0"),
    (NotCompiled("cuda:1", "no Triton"), "no Triton"),
    (MemoryShort("cuda:0", 512), "512"),
    (DeviceFailed("cuda:0", "an illegal memory access"), "illegal memory access"),
    (NotFinite("cuda:0", 3), "3"),
    (WeightsOffloaded("cuda:0", 4, 1, None), "4"),
]


@pytest.mark.parametrize(("event", "part"), FACTS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_fact_is_a_sentence_with_what_it_is_about(event: Event, part: str, language: Language) -> None:
    found = told(event, language)
    assert found is not None
    assert part in found[0]


def test_the_log_has_a_warning_and_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    with written(LogOptions("json")):
        log = EngineLog("en")
        log(Admitted(1.0, 0.0))
        log(MemoryShort("cuda:0", 512))
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["level"], line["event"], line["device"], line["tape_tokens"]) == (
        "warning", "memory_short", "cuda:0", 512,
    )  # fmt: skip


def test_a_server_tells_of_its_engine(capsys: pytest.CaptureFixture[str]) -> None:
    from emotape.delivery.observation import Observation

    with written(LogOptions()):
        Observation(language="zh").observer(PrecisionRefused("int8", 0.2, same_labels=True))
    assert "不使用 int8" in capsys.readouterr().err
