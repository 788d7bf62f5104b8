"""What the machine says of itself: groups, cards, swap, and sums over the last seconds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from emotape.delivery.cards import NvidiaCards
from emotape.delivery.readings import FRESH_SECONDS, Gpu, MachineReader
from emotape.delivery.recent import SPAN, Recent
from emotape.engine.control_group import ControlGroup

if TYPE_CHECKING:
    from pathlib import Path


def files(folder: Path, **contents: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def group(tmp_path: Path, membership: str) -> ControlGroup:
    file = tmp_path / "cgroup"
    file.write_text(membership)
    return ControlGroup.of_this_process(tmp_path / "fs", file)


def test_the_tightest_limit_of_a_group_and_those_above_it_counts(tmp_path: Path) -> None:
    """Pages of files that the system may drop are not in use."""
    root = tmp_path / "fs"
    files(root, memory__current="9000", memory__stat="inactive_file 0\n")
    files(root / "a", memory__max="5000\n", memory__current="4000\n", memory__stat="anon 1\ninactive_file 1500\n")
    files(root / "a" / "b", memory__max="max\n", memory__current="3000\n")
    assert group(tmp_path, "0::/a/b\n").memory() == (2500, 5000)


def test_the_older_groups_are_read_as_well(tmp_path: Path) -> None:
    deep = tmp_path / "fs" / "memory" / "docker" / "x"
    statistics = "inactive_file 1\ntotal_inactive_file 300\n"
    files(deep, memory__limit_in_bytes="2000", memory__usage_in_bytes="1500", memory__stat=statistics)
    files(tmp_path / "fs" / "memory", memory__limit_in_bytes=str(2**63 - 4096), memory__usage_in_bytes="1")
    assert group(tmp_path, "4:cpu:/x\n3:memory:/docker/x\n0::/\n").memory() == (1200, 2000)


@pytest.mark.parametrize("membership", ["", "0::/\n", "0::/a\n", "nonsense\n"])
def test_without_groups_or_limits_there_is_none(tmp_path: Path, membership: str) -> None:
    found = group(tmp_path, membership)
    assert (found.memory(), found.cores(), found.cpu_seconds()) == (None, None, None)


def test_a_quota_is_in_cores_and_what_was_used_in_seconds(tmp_path: Path) -> None:
    root = files(tmp_path / "fs", memory__current="1", cpu__max="max 100000")
    files(root / "a", memory__current="1", cpu__max="150000 100000", cpu__stat="usage_usec 2500000\nuser_usec 1\n")
    found = group(tmp_path, "0::/a\n")
    assert (found.cores(), found.cpu_seconds()) == (1.5, 2.5)


def test_a_reading_is_plausible_and_shared_for_a_while() -> None:
    now = 50.0
    reader = MachineReader(NvidiaCards(), lambda: now)
    first = reader.read(())
    assert 0 <= first.cpu_percent <= 100
    assert 0 < first.process_memory < first.memory_total <= psutil.virtual_memory().total
    assert 0 < first.memory_used <= first.memory_total
    assert first.process_cpu > 0
    assert reader.read(()) is first
    now += FRESH_SECONDS
    assert reader.read(()) is not first


def test_sums_are_of_whole_seconds_within_the_span() -> None:
    now = 1000.2
    recent = Recent(lambda: now)
    recent.add({"audio": 5.0, "requests": 1})
    assert recent.total(10) == {}, "the present second is not over"
    now = 1001.9
    recent.add({"audio": 7.0})
    assert recent.total(10) == {"audio": 5.0, "requests": 1}
    now = 1002.0
    assert recent.total(10)["audio"] == 12.0
    assert recent.rate(10)["audio"] == 6.0, "it has run for two seconds only"
    now = 1010.5
    assert recent.total(10)["audio"] == 12.0
    now = 1011.0
    assert recent.total(10)["audio"] == 7.0
    assert recent.rate(10) == {"audio": 0.7}
    now = 1000.2 + 3 * SPAN
    assert recent.total(SPAN) == {}


@dataclass
class _Memory:
    used: int = 5
    total: int = 10


def library(**functions: Any) -> ModuleType:
    """Return NVIDIA's library as a machine with one card would have it, but for `functions`."""
    fake = ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def found(uuid: str) -> str:
        assert uuid == "GPU-1234"
        return "handle"

    def missing(*_: object) -> None:
        raise NVMLError

    fake.NVMLError = NVMLError  # type: ignore[attr-defined]
    fake.nvmlInit = lambda: None  # type: ignore[attr-defined]
    fake.nvmlDeviceGetHandleByUUID = found  # type: ignore[attr-defined]
    fake.nvmlDeviceGetName = lambda handle: "Card"  # type: ignore[attr-defined]
    fake.nvmlDeviceGetMemoryInfo = lambda handle: _Memory()  # type: ignore[attr-defined]
    fake.nvmlDeviceGetUtilizationRates = lambda handle: ModuleType("rates")  # type: ignore[attr-defined]
    for name, function in functions.items():
        setattr(fake, name, missing if function == "missing" else function)
    return fake


@dataclass
class _Rates:
    gpu: int = 37


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ({"nvmlDeviceGetUtilizationRates": lambda handle: _Rates()}, (Gpu("Card", 37.0, 5, 10),)),
        ({"nvmlDeviceGetUtilizationRates": "missing"}, (Gpu("Card", None, 5, 10),)),
        ({"nvmlDeviceGetMemoryInfo": "missing"}, ()),
        ({"nvmlInit": "missing"}, ()),
    ],
)
def test_cards_are_read_and_never_raise(
    monkeypatch: pytest.MonkeyPatch, functions: dict[str, Any], expected: tuple[Gpu, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(**functions))
    cards = NvidiaCards(lambda device: "GPU-1234")
    assert cards.read(("cpu", "cuda:0")) == expected


def test_without_the_library_or_a_card_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NvidiaCards().read(("cuda:0", "cpu")) == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert NvidiaCards().read(("cuda:0",)) == ()
