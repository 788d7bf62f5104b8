"""What may be asked of an adaptation, and how it says what comes about."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from emotape.delivery.adapting.heads import HeadKind
from emotape.delivery.adapting.shelf import default_folder
from emotape.errors import BadRequest
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emotape.delivery.adapting.labels import Labels
    from emotape.delivery.counting import Counting
    from emotape.wording import Language

DEFAULT_OUTPUT: Final = Path("adapted")


@dataclass(frozen=True)
class AdaptOptions:
    """What to learn and how.

    `recordings` and `dev`: a manifest or a folder each. `unfreeze`: how many of the last blocks are trained with the
    head; `lora`: the rank of adapters that are trained instead of weights, in the last `unfreeze` blocks or in all. 0:
    not. `rate` None: by the size of the network. `command`: what the card says it was made by.
    """

    recordings: Path
    output: Path
    dev: Path | None = None
    labels: Labels | None = None
    head: HeadKind = "linear"
    unfreeze: int = 0
    lora: int = 0
    epochs: int = 20
    rate: float | None = None
    batch_seconds: float = 64.0
    seed: int = 0
    force: bool = False
    command: str = ""
    cache: Path = field(default_factory=default_folder)

    @property
    def tunes(self) -> bool:
        """Whether more than the head is trained."""
        return bool(self.unfreeze or self.lora)

    def require_sense(self, blocks: int, arithmetic: str) -> None:
        """Raise BadRequest where a base of so many blocks, in that arithmetic, cannot do what is asked.

        "adapt_numbers", "adapt_blocks", "adapt_base_quantised".
        """
        if arithmetic in ("int8", "float8"):
            raise BadRequest("adapt_base_quantised", dtype=arithmetic)
        wrong = {
            "--head": self.head not in get_args(HeadKind),
            "--lora": self.lora < 0,
            "--epochs": self.epochs < 1,
            "--learning-rate": self.rate is not None and not 0 < self.rate < 1,
            "--batch-seconds": not 1 <= self.batch_seconds <= 10_000,
            "--seed": not 0 <= self.seed < 2**31,
        }
        if any(wrong.values()):
            raise BadRequest("adapt_numbers", option=next(name for name, is_wrong in wrong.items() if is_wrong))
        if not 0 <= self.unfreeze <= blocks:
            raise BadRequest("adapt_blocks", asked=self.unfreeze, blocks=blocks)


@dataclass(frozen=True)
class Step:
    """What has come about: a code of wording/adapting.toml, and the facts that fill it."""

    code: str
    facts: Mapping[str, object]

    def text(self, language: Language = "en") -> str:
        """Return the sentence that the command says."""
        return interface_text(self.code, language, **self.facts)


@dataclass(frozen=True)
class Listener:
    """Who hears of a run: `tell` of what came about, and `counting` of every recording that is done."""

    tell: Callable[[Step], None]
    counting: Counting

    def say(self, code: str, **facts: object) -> None:
        """Tell of a step."""
        self.tell(Step(code, facts))
