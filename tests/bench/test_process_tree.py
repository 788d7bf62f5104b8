"""What all processes of a benchmark take of the cores."""

from __future__ import annotations

import subprocess
import sys

from emotape.delivery.bench.process_tree import ProcessTree

_WORK = """
import sys, time
while time.process_time() < 0.3:
    pass
print("done", flush=True)
sys.stdin.read()
"""


def test_what_an_ended_process_has_used_still_counts() -> None:
    tree = ProcessTree()
    before = tree.processor_seconds()
    with subprocess.Popen([sys.executable, "-c", _WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        during = tree.processor_seconds()
    assert during > before + 0.2
    assert tree.processor_seconds() >= during
