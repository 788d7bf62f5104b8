"""A model directory with a fitted temperature and threshold: in its own place, or as a copy in a new one."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.delivery.evaluation.fitting import Fit
    from emotape.model.weights import Conversion

CARD: Final = "MODEL_CARD.md"


def check_target(model: Path, target: Path, *, bundled: bool) -> None:
    """Raise BadRequest where a model cannot be saved: "model_read_only" in its own place, "model_folder_taken" else."""
    if target.resolve() == model.resolve():
        if bundled or not os.access(model, os.W_OK):
            raise BadRequest("model_read_only", path=str(model))
    elif target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadRequest("model_folder_taken", path=str(target))


def save(fit: Fit, model: Path, target: Path) -> Conversion:
    """Write the model with what was fitted into `target`: its directory, or one that is new or empty.

    Without a fitted threshold the saved model has none: the old one was chosen for other confidences.
    Raises ModelFault, and BadRequest "output_unwritable".
    """
    from emotape.model.note import note, read_note
    from emotape.model.weights import Calibration, convert

    told = read_note(model)
    uncertain = None if fit.threshold is None else asdict(fit.threshold)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if target.resolve() != model.resolve():
            inherited = ("experimental", "summary", "license", "origin")
            note(target, **{name: told.get(name) for name in inherited})
            if (model / CARD).is_file():
                (target / CARD).write_bytes((model / CARD).read_bytes())
        return convert(model, target, Calibration(fit.temperature, uncertain))
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(target), reason=error.strerror or str(error)) from error
