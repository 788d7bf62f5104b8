"""Measurements in fresh processes: only they know what a first answer costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from emotape.errors import EngineFault


def play(role: str, **asked: object) -> dict[str, Any]:
    """Let a new process play a role of `child.py`; return its answer. Raises EngineFault `bench_process`."""
    began = time.monotonic()
    given = json.dumps({"began": began, **{name: _plain(value) for name, value in asked.items()}})
    found: dict[str, Any] = json.loads(_run(["-m", "emotape.delivery.bench.child", role, given], role))
    return found


def import_seconds(package: str) -> float:
    """Return how long a new interpreter takes to import a package."""
    code = (
        "import sys, time, warnings; warnings.simplefilter('ignore'); began = time.perf_counter(); "
        f"import {package}; sys.stdout.write('\\n' + repr(time.perf_counter() - began))"
    )
    return float(_run(["-c", code], package).splitlines()[-1])


def _run(arguments: list[str], what: str) -> str:
    done = subprocess.run(  # noqa: S603 - this interpreter, with our own code
        [sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineFault("bench_process", what=what, status=done.returncode, reason=last)
    return done.stdout


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
