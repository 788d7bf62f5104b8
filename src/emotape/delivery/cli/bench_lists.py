"""Lists as `emotape bench` takes them: parts between commas."""

from __future__ import annotations

from typing import get_args

from emotape.errors import BadRequest


def names(option: str, value: str) -> tuple[str, ...]:
    """Return the parts of a list. Raises BadRequest `bench_list` for an empty one."""
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found:
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} a,b")
    return tuple(dict.fromkeys(found))


def arithmetics(value: str) -> tuple[str, ...]:
    """Return the arithmetics of a list. Raises BadRequest `bench_list` and `bench_unknown`."""
    from emotape.engine.resident import Precision

    known, found = get_args(Precision), names("--dtype", value)
    for name in found:
        if name not in known:
            raise BadRequest("bench_unknown", name=name, known=", ".join(known))
    return found


def one_arithmetic(value: str) -> str:
    """Return the arithmetic of a list of one. Raises BadRequest `bench_list` and `bench_unknown`."""
    found = arithmetics(value)
    if len(found) > 1:
        raise BadRequest("bench_list", option="--dtype", value=repr(value), example="--dtype bfloat16")
    return found[0]


def numbers(option: str, value: str) -> tuple[float, ...]:
    """Return the positive numbers of a list. Raises BadRequest `bench_list`."""
    try:
        found = tuple(float(part) for part in names(option, value))
    except ValueError as error:
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} 3,10") from error
    if not all(0 < number < float("inf") for number in found):
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} 3,10")
    return found


def whole(option: str, value: str) -> tuple[int, ...]:
    """Return the positive whole numbers of a list. Raises BadRequest `bench_list`."""
    found = numbers(option, value)
    if not all(number.is_integer() for number in found):
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} 1,2")
    return tuple(int(number) for number in found)
