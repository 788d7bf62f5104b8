"""`emotape.evaluate`: the command's options as a function's arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emotape.delivery.counting import counting
from emotape.delivery.evaluation.assessment import assess, keep
from emotape.delivery.evaluation.calibration import BINS
from emotape.delivery.evaluation.manifest import Choice
from emotape.delivery.evaluation.options import EvaluateOptions
from emotape.delivery.evaluation.protocol import Rules
from emotape.recognizer import RecognizerOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from emotape.delivery.counting import Progress
    from emotape.delivery.evaluation.record import Evaluation


def evaluate(
    recordings: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    options: RecognizerOptions | None = None,
    restrict: bool = True,
    include_other: bool = False,
    speakers: str | Iterable[str] = (),
    label_map: str | os.PathLike[str] | None = None,
    bins: int = BINS,
    seed: int = 0,
    robustness: bool = False,
    fit_temperature: bool = False,
    coverage: float | None = None,
    save: bool = False,
    save_as: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a model's emotions with those of labelled recordings, as the command `emotape evaluate` does.

        found = emotape.evaluate("calls", model="calls-model")
        print(found.figures.uar, found.whole.part.intervals["uar"])
        found.write("evaluation")

    recordings       a CSV with the columns file and label, and optionally corpus, speaker, and fold or split, paths
                     relative to it; or a folder of LABEL/FILE or LABEL/SPEAKER/FILE
    model            a name, a directory, or None for the best on this machine
    options          how the recognizer works
    restrict         whether only the classes that the recordings have compete, or all labels
    include_other    whether recordings labelled other or unknown count, too
    speakers         count only these: names, or "A,B"; none: all
    label_map        the path of a TOML file that says what a corpus's own labels mean
    bins             of equal width, of the calibration error (ECE)
    seed             of all that is drawn: intervals, noise, rooms
    robustness       whether every recording is heard under each of 16 harder conditions, too
    fit_temperature  fit the temperature of the confidence to these recordings (Guo et al., 2017, arXiv:1706.04599)
    coverage         choose the threshold that leaves this share certain; None: 0.8 with `fit_temperature`, else none
    save             save what was fitted in the model's own folder
    save_as          save a copy of the model with what was fitted in this folder, which is new or empty
    progress         called in this thread with how many recordings are done and how many there are

    Figures and their definitions follow EmoBox (Ma et al., 2024, arXiv:2406.07162): UAR is the mean of the classes'
    recalls. All are shares from 0 to 1, but for the Brier score (0 to 2) and nll (nats). Nothing is printed; a
    recording that cannot be answered is in `failures` and does not count.

    Raises BadRequest (a manifest or an argument that makes no sense, nothing that could be answered, a place that
    cannot be written to: "manifest_…", "folder_unlabelled", "evaluate_numbers" …; the texts name the command's
    options, which are called like the arguments), ModelFault and EngineFault.
    """
    asked = EvaluateOptions(
        recordings=Path(recordings),
        choice=Choice.of(speakers, leftovers=include_other),
        rules=Rules(restrict, bins, seed),
        label_map=None if label_map is None else Path(label_map),
        robustness=robustness,
        fit_temperature=fit_temperature,
        coverage=coverage,
        save=save,
        save_as=None if save_as is None else Path(save_as),
    )
    chosen = model if model is None or isinstance(model, str) else Path(model)
    how = options or RecognizerOptions()
    found = assess(asked, chosen, how, counting(progress))
    keep(found, asked, chosen, how)
    return found
