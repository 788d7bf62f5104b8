"""What may be asked of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emotape.delivery.evaluation.fitting import COVERAGE, Wish
from emotape.delivery.evaluation.manifest import Choice
from emotape.delivery.evaluation.protocol import Rules
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, how, and what to fit.

    `recordings`: a manifest or a folder. `save`: in the model's own folder; `save_as`: as a copy in another.
    """

    recordings: Path
    choice: Choice = field(default_factory=Choice)
    rules: Rules = field(default_factory=Rules)
    label_map: Path | None = None
    robustness: bool = False
    fit_temperature: bool = False
    coverage: float | None = None
    save: bool = False
    save_as: Path | None = None

    @property
    def wish(self) -> Wish | None:
        """What is to be fitted; None for nothing."""
        if not self.fit_temperature and self.coverage is None:
            return None
        return Wish(self.fit_temperature, COVERAGE if self.coverage is None else self.coverage)

    def target(self, model: Path) -> Path | None:
        """Return where a model that lies in `model` is saved; None for nowhere."""
        return self.save_as or (model if self.save else None)

    def require_sense(self) -> None:
        """Raise BadRequest for what cannot be done: "evaluate_numbers", "option_needs" where nothing is to be saved."""
        wrong = {
            "--bins": not 2 <= self.rules.bins <= 1000,
            "--seed": self.rules.seed < 0,
            "--coverage": self.coverage is not None and not 0.01 <= self.coverage <= 1,
        }
        if any(wrong.values()):
            raise BadRequest("evaluate_numbers", option=next(name for name, is_wrong in wrong.items() if is_wrong))
        if self.wish is None and (self.save or self.save_as):
            option = "--save-as" if self.save_as else "--save"
            raise BadRequest("option_needs", option=option, needed="--fit-temperature / --coverage")
