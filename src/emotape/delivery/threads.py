"""The variables by which other programs count threads: what the user gave, and what the plan makes of it.

They are read by OpenMP, MKL and OpenBLAS when torch and numpy are imported, so they are settled before that, and in
processes of our own alone: as a library, emotape leaves them as they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    import typer

    from emotape.settings import Settings

COUNTING: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""The network's products heed these; the first one given decides."""
UNUSED: Final = "NUMEXPR_NUM_THREADS"
_ALONE: Final = "OPENBLAS_NUM_THREADS"


@dataclass(frozen=True)
class Remark:
    """What became of one variable: the code of its text in wording/plan.toml, and the facts that fill it."""

    code: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Wish:
    """How many threads the network gets because of the variables, None where they do not say, and what to tell."""

    threads: int | None
    remarks: tuple[Remark, ...] = ()


def settle(environment: MutableMapping[str, str]) -> dict[str, str]:
    """Fill in what the user left open, before torch and numpy are imported; return what the user gave."""
    from emotape.engine.machine import look_at_machine

    given = {name: environment[name] for name in (*COUNTING, UNUSED) if environment.get(name)}
    for name in COUNTING:
        environment.setdefault(name, str(look_at_machine().multiplying))
    environment.setdefault(_ALONE, "1")  # numpy multiplies nothing here; its team would only take memory
    return given


def heed(given: Mapping[str, str], running: int, setting: int | None) -> Wish:
    """Say what the variables that were given mean, where `running` threads can run at once.

    `setting` is the number that a flag or a setting names; it counts before them.
    """
    threads, remarks = None, []
    for name in COUNTING:
        if not given.get(name):
            continue
        count, code = _count(given[name]), "plan_variable_taken"
        if count is None:
            code = "plan_variable_unreadable"
        elif setting is not None or threads is not None:
            code = "plan_variable_second" if setting is None else "plan_variable_overruled"
        else:
            threads = min(count, running)
            code = code if count <= running else "plan_variable_capped"
        facts = {"name": name, "value": given[name], "threads": setting or threads, "running": running}
        remarks.append(Remark(code, facts))
    if given.get(UNUSED):
        remarks.append(Remark("plan_variable_unused", {"name": UNUSED, "value": given[UNUSED]}))
    return Wish(threads, tuple(remarks))


def heeded(context: typer.Context, settings: Settings) -> tuple[Settings, tuple[Remark, ...]]:
    """Return the settings with the threads that the variables ask for, and what to tell of it."""
    from emotape.engine.machine import look_at_machine

    settled = context.find_root().obj
    given = settled if isinstance(settled, dict) else os.environ
    wish = heed(given, look_at_machine().running, settings.threads)
    changed = settings if wish.threads is None else settings.model_copy(update={"threads": wish.threads})
    return changed, wish.remarks


def _count(value: str) -> int | None:
    """Return the number of threads that a value asks for; OpenMP takes a list, one number for each level."""
    first = value.split(",", maxsplit=1)[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None
