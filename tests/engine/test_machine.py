"""Looking at the machine: recorded trees of /proc and /sys are read as the machines that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from emotape.engine.machine import accelerators, instruction_sets, look_at_machine, processor_name
from emotape.engine.plan import Accelerator, alike
from emotape.errors import EngineFault

if TYPE_CHECKING:
    from pathlib import Path

GB = 10**9
FLAGS = "fpu avx2 fma avx512f avx512_bf16 amx_bf16"
CPUINFO = f"processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: {FLAGS}\n\nprocessor\t: 1\n"
MEMINFO = "MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\nSwapTotal: 2000000 kB\nSwapFree: 1000000 kB\n"


def recorded(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Eight processors of four cores, of which this process may use six."""
    siblings = {
        f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list": f"{number % 4},{number % 4 + 4}\n"
        for number in range(8)
    }
    status = {"proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-3,5,7\n", "proc/self/cgroup": "0::/\n"}
    return recorded(tmp_path, siblings | status | {"proc/cpuinfo": CPUINFO, "proc/meminfo": MEMINFO})


def test_a_machine_without_limits(bare: Path) -> None:
    """Affinity counts, threads of one core are told apart, memory and swap are bytes."""
    found = look_at_machine(bfloat16=True, root=bare)
    assert (found.cores, found.physical, found.quota, found.bfloat16) == (6, 4, None, True)
    assert (found.memory, found.memory_free, found.swap) == (16_384_000_000, 9_216_000_000, 2_048_000_000)
    assert (found.running, found.multiplying) == (6, 4)
    assert instruction_sets(bare) == found.instruction_sets == ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
    assert processor_name(bare) == "Example 9000"


def test_a_container_of_version_two(bare: Path) -> None:
    """The tighter of its own limits and its parent's counts; pages of idle files are free."""
    group = "sys/fs/cgroup/pod/box"
    recorded(
        bare,
        {
            "proc/self/cgroup": "0::/pod/box\n",
            f"{group}/memory.current": str(GB),
            f"{group}/memory.max": "max",
            f"{group}/memory.stat": f"inactive_file {GB // 2}\n",
            f"{group}/cpu.max": "max 100000",
            "sys/fs/cgroup/pod/memory.current": str(GB),
            "sys/fs/cgroup/pod/memory.max": str(4 * GB),
            "sys/fs/cgroup/pod/cpu.max": "150000 100000",
        },
    )
    found = look_at_machine(root=bare)
    assert (found.quota, found.running) == (1.5, 2)
    assert (found.memory, found.memory_free) == (4 * GB, 3 * GB)


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
def test_a_container_of_version_one(bare: Path, folder: str) -> None:
    """Memory and processor have groups of their own, in a folder with either name."""
    recorded(
        bare,
        {
            "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/\n",
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": str(2 * GB),
            "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": str(GB),
            "sys/fs/cgroup/memory/docker/x/memory.stat": "total_inactive_file 0\n",
            f"sys/fs/cgroup/{folder}/docker/x/cpu.cfs_quota_us": "50000",
            f"sys/fs/cgroup/{folder}/docker/x/cpu.cfs_period_us": "100000",
            f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": "-1",
            f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000",
        },
    )
    found = look_at_machine(root=bare)
    assert (found.quota, found.running) == (0.5, 1)
    assert (found.memory, found.memory_free) == (2 * GB, GB)


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    """What is not known is None, and there is at least one core."""
    found = look_at_machine(root=tmp_path)
    assert found.cores >= 1
    assert (found.physical, found.quota, found.memory, found.memory_free, found.swap) == (None,) * 5
    assert found.instruction_sets == ()


def test_this_machine_is_read_without_an_error() -> None:
    found = look_at_machine()
    assert 1 <= found.multiplying <= found.running <= found.cores
    assert found.memory is None or found.memory > 0


def test_cards_that_are_full_or_small_are_left_out() -> None:
    """A card with less than half of the freest one's room would hold up what goes on it."""
    cards = [Accelerator(f"cuda:{place}", free * GB, 24 * GB) for place, free in enumerate((22, 12, 3))]
    assert [card.name for card in alike(tuple(cards))] == ["cuda:0", "cuda:1"]
    assert alike(()) == ()


def test_a_device_that_is_not_there_is_named() -> None:
    assert accelerators("cpu") == ()
    with pytest.raises(EngineFault) as caught:
        accelerators("cuda:63")
    assert caught.value.code == "device_unavailable"


@pytest.mark.parametrize("name", ["npu", "gpu", "cuda:x"])
def test_a_name_that_is_none_is_answered_with_the_devices_here(name: str) -> None:
    """Torch would list all that it was ever built for."""
    with pytest.raises(EngineFault) as caught:
        accelerators(name)
    here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
    assert caught.value.text("en").cause == f"There is no device of that name; this machine has: {here}."
    assert caught.value.text("zh").cause == f"没有这个名称的设备；本机的设备有：{here}。"


@pytest.mark.parametrize(("title", "part"), [("NVIDIA H200 MIG 1g.18gb", True), ("NVIDIA H200", False), ("", False)])
def test_a_part_of_a_card_says_so_in_its_name(title: str, part: bool) -> None:
    assert Accelerator("cuda:0", title=title).is_slice is part
