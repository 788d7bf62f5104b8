"""An evaluation as one value: what became of every row, and the figures over those that were answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emotape.delivery.evaluation.fitting import Confidence, Fit, Wish, fit, seen
from emotape.delivery.evaluation.protocol import Part, Rules, Scored, part
from emotape.delivery.evaluation.robustness import Hardened, hardened
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emotape.delivery.batch import Outcome
    from emotape.delivery.evaluation.figures import Figures
    from emotape.delivery.evaluation.manifest import Row
    from emotape.engine.result import Prediction, Provenance
    from emotape.errors import EmotapeError
    from emotape.wording import Language


@dataclass(frozen=True, eq=False)
class Judgement:
    """A row with its prediction, or with the error that stands in its place."""

    row: Row
    prediction: Prediction | None
    error: EmotapeError | None


@dataclass(frozen=True, eq=False)
class Material:
    """All that is evaluated: every row's judgement, in order, and by label how many rows do not count.

    `left_out` are those that were not to count, `unknown` those whose label the model does not know. `conditions` has
    the judgements of the same rows under harder conditions.
    """

    judged: tuple[Judgement, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    conditions: Mapping[str, Sequence[Judgement]] = field(default_factory=dict)
    missing_conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flagged:
    """How the model's own flag does: the share that it leaves `certain` and how right those are, beside all."""

    below: float
    coverage: float
    accuracy: float | None
    accuracy_of_all: float


@dataclass(frozen=True, eq=False)
class Group:
    """The answered recordings of one corpus, or all: figures, the model's own flag if it has one, harder conditions."""

    part: Part
    flagged: Flagged | None
    hardened: tuple[Hardened, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What became of every row, and the figures over those that were answered: together, and corpus by corpus.

    material    every row with its prediction or its error, and how many rows do not count
    rules       how predictions were compared
    provenance  the model, its digest, arithmetic and device
    whole       all recordings together: `part` has figures, 95 % intervals and folds
    corpora     the same corpus by corpus; one of no name ("") where none is named
    confidence  how good the confidence is that users see, among all labels: nll, brier, ece, risk by coverage
    fit         the temperature and the threshold, if they were wished for
    """

    material: Material
    rules: Rules
    provenance: Provenance
    whole: Group
    corpora: Mapping[str, Group]
    confidence: Confidence
    fit: Fit | None

    @property
    def figures(self) -> Figures:
        """The figures over all recordings."""
        return self.whole.part.figures

    @property
    def failures(self) -> list[tuple[Row, EmotapeError]]:
        """The rows without a prediction, and why."""
        return [(one.row, one.error) for one in self.material.judged if one.error is not None]

    def __repr__(self) -> str:
        found = self.figures
        shown = f"n={found.n}, uar={found.uar:.3f}, accuracy={found.accuracy:.3f}, failures={len(self.failures)}"
        return f"Evaluation(model={self.provenance.model!r}, {shown})"

    def as_dict(self, language: Language = "en") -> dict[str, Any]:
        """Return what `emotape evaluate --json` prints; texts of errors are in `language`."""
        from emotape.delivery.evaluation.report import json_record

        return json_record(self, language)

    def write(self, folder: str | Path, language: Language = "en") -> None:
        """Write evaluation.json, predictions.csv and pictures into a folder. Raises BadRequest "output_unwritable"."""
        from emotape.delivery.evaluation.report import write_record

        write_record(self, folder, language)


def judgement_of(outcome: Outcome[Row]) -> Judgement:
    """Return what counts of an outcome, without its sound, which would fill the memory."""
    prediction = outcome.answers[0].prediction if outcome.answers else None
    return Judgement(outcome.question, prediction, outcome.error)


def evaluated(material: Material, rules: Rules, wish: Wish | None = None) -> Evaluation:
    """Compute the figures. Raises BadRequest ("nothing_answered", "no_classifier", "too_few_to_fit")."""
    answered = [(one.row, one.prediction) for one in material.judged if one.prediction is not None]
    if not answered:
        reason = str(material.judged[0].error)
        raise BadRequest("nothing_answered", rows=len(material.judged), reason=reason)
    provenance = answered[0][1].provenance
    if any(not prediction.scores for _, prediction in answered):
        raise BadRequest("no_classifier", model=provenance.model)
    scored = _scored(material.judged)
    fitted = None if wish is None else fit(scored, wish, rules)
    names = dict.fromkeys(row.corpus for row, _ in answered)
    return Evaluation(
        material,
        rules,
        provenance,
        _group(material, rules, None),
        {name: _group(material, rules, name) for name in names},
        seen(scored, rules) if fitted is None else fitted.before,
        fitted,
    )


def _group(material: Material, rules: Rules, corpus: str | None) -> Group:
    """Measure one corpus for itself; None: all recordings together."""

    def inside(judged: Sequence[Judgement]) -> list[Judgement]:
        return [one for one in judged if corpus is None or one.row.corpus == corpus]

    own = inside(material.judged)
    scored = _scored(own)
    hard = (hardened(name, scored, _scored(inside(judged)), rules) for name, judged in material.conditions.items())
    return Group(part(scored, rules), _flagged(own), tuple(one for one in hard if one is not None))


def _scored(judged: Sequence[Judgement]) -> list[Scored]:
    return [(one.row, one.prediction.scores) for one in judged if one.prediction is not None]


def _flagged(judged: Sequence[Judgement]) -> Flagged | None:
    """Return how the model's own flag does; None where it has no threshold."""
    answered = [(one.row, one.prediction) for one in judged if one.prediction is not None]
    below = answered[0][1].uncertain_below
    if below is None:
        return None
    right = [prediction.emotion == row.label for row, prediction in answered]
    certain = [one for one, (_, prediction) in zip(right, answered, strict=True) if not prediction.uncertain]
    accuracy = sum(certain) / len(certain) if certain else None
    return Flagged(below, len(certain) / len(right), accuracy, sum(right) / len(right))
