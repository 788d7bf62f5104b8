"""Who comes when: a daily wave, a flash crowd, a steady stream in which a node is lost, or a recorded list.

Arrivals are a Poisson process whose rate changes, and no smoother than life: each minute's rate is drawn around its
mean. The same seed gives the same arrivals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

TrafficName = Literal["day", "flash", "loss"]
MOST: Final = 400_000
"""Arrivals that are simulated at most; a day with more of them is played faster."""
LIMIT: Final = 1_000_000
"""Arrivals of any other traffic; more are refused."""
_DAY: Final = 86_400.0
_HOUR: Final = 3_600.0
_NIGHT: Final = 0.75  # the rate swings by so much of its mean: 0.25 at 3 in the morning, 1.75 at 3 in the afternoon
_BUSIEST: Final = 15 * 3_600.0
_FLASH: Final = (1_200.0, 600.0, 300.0)  # it begins, lasts, and halves every so many seconds after
_RISE: Final = 60.0
_LOST: Final = 1_200.0
_MINUTE: Final = 60.0
_UNSTEADY: Final = 0.2  # standard deviation of a minute's rate over its mean
_SPREAD: Final = 15.0  # the longest clip over the shortest, as in the throughput benchmark


@dataclass(frozen=True, eq=False)
class Traffic:
    """Arrivals in order, seconds from the beginning [n]; each clip's length in seconds [n]; how long it is watched.

    lost   when a node goes down; None: never
    faster how many times faster than in life the wave is played
    """

    arrivals: NDArray[np.float64]
    lengths: NDArray[np.float64]
    span: float
    lost: float | None = None
    faster: float = 1.0

    @property
    def audio(self) -> float:
        """Seconds of audio in all."""
        return float(self.lengths.sum())


def traffic(name: TrafficName, rate: float, seconds: float, *, peak: float = 5.0, seed: int = 0) -> Traffic:
    """Return clips of `seconds` on average, `rate` a second on average ("flash": before and after).

    `peak` is how many times the rate a flash crowd reaches. Raises BadRequest `fleet_too_much`.
    """
    most = rate * _HOUR * (1 if name == "loss" else 1 + (peak - 1) * (_FLASH[1] + _FLASH[2] / math.log(2)) / _HOUR)
    if name != "day" and most > LIMIT:
        raise BadRequest("fleet_too_much", arrivals=most, most=LIMIT)
    random = np.random.default_rng(seed)
    if name == "day":
        faster = max(1.0, rate * _DAY / MOST)
        span = _DAY / faster
        return _drawn(lambda when: rate * _wave(when * faster), span, seconds, random, faster=faster)
    if name == "flash":
        return _drawn(lambda when: rate * _crowd(when, peak), _HOUR, seconds, random)
    return _drawn(lambda when: np.full_like(when, rate), _HOUR, seconds, random, lost=_LOST)


def recorded(path: Path, seconds: float, *, seed: int = 0) -> Traffic:
    """Read a list of arrivals: lines of "second" or "second,length". Raises BadRequest `fleet_traffic_unreadable`."""
    try:
        rows = _rows(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest("fleet_traffic_unreadable", path=path, reason=str(error)) from error
    if not np.isfinite(rows).all() or (rows[:, 1:2] <= 0).any():
        raise BadRequest("fleet_traffic_unreadable", path=path, reason="a number is missing or makes no sense")
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    arrivals = rows[:, 0] - rows[0, 0]
    drawn = clip_lengths(len(rows), seconds, np.random.default_rng(seed))
    lengths = rows[:, 1] if rows.shape[1] > 1 else drawn
    return Traffic(arrivals, lengths, float(arrivals[-1]) + _MINUTE)


def _rows(text: str) -> NDArray[np.float64]:
    """Return the numbers of a list, [n, 1 or more]. Raises ValueError."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not 0 < len(lines) <= LIMIT:
        raise ValueError(f"{len(lines)} lines")
    return np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)


def poisson(rate: float, span: float, lengths: Callable[[int], NDArray[np.float64]], seed: int = 0) -> Traffic:
    """Return a plain Poisson stream; `lengths` gives the lengths of so many clips."""
    random = np.random.default_rng(seed)
    arrivals = np.sort(random.uniform(0, span, random.poisson(rate * span)))
    return Traffic(arrivals, lengths(len(arrivals)), span)


def clip_lengths(count: int, mean: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return lengths that spread evenly on a logarithmic scale, the longest 15 times the shortest."""
    shortest = mean * math.log(_SPREAD) / (_SPREAD - 1)
    lengths: NDArray[np.float64] = shortest * _SPREAD ** random.random(count)
    return lengths


def _drawn(
    rate: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    span: float,
    seconds: float,
    random: np.random.Generator,
    *,
    lost: float | None = None,
    faster: float = 1.0,
) -> Traffic:
    """Draw each minute's clips, and where in the minute each falls."""
    begins = np.arange(0.0, span, _MINUTE)
    long = np.minimum(_MINUTE, span - begins)
    shape = 1 / _UNSTEADY**2
    means = rate(begins + long / 2) * random.gamma(shape, 1 / shape, len(begins))
    counts = random.poisson(means * long)
    arrivals = np.repeat(begins, counts) + np.repeat(long, counts) * random.random(counts.sum())
    arrivals.sort()
    return Traffic(arrivals, clip_lengths(len(arrivals), seconds, random), span, lost, faster)


def _wave(when: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many times the mean rate there is, by the second of a day that begins at midnight."""
    wave: NDArray[np.float64] = 1 + _NIGHT * np.cos(2 * np.pi * (when - _BUSIEST) / _DAY)
    return wave


def _crowd(when: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """Return 1, then up to `peak` within a minute, ten minutes of it, and a tail that halves every five."""
    begins, lasts, halves = _FLASH
    rising = np.clip((when - begins) / _RISE, 0, 1)
    falling = 0.5 ** (np.maximum(0, when - begins - lasts) / halves)
    crowd: NDArray[np.float64] = 1 + (peak - 1) * rising * falling
    return crowd
