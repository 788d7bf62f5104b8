"""One measurement in a process of its own: `python -m emotape.delivery.bench.child ROLE JSON`.

A process is asked what it does from its very start: `began` is the parent's monotonic clock, which is the system's.
It prints one JSON object. Nothing heavy is imported here: what an import costs is part of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from emotape.delivery.bench import claims_child, memory

if TYPE_CHECKING:
    from collections.abc import Callable

Facts = dict[str, Any]


def emotape_load(asked: Facts) -> Facts:
    """Import, load and answer one recording with emotape."""

    def prepare() -> None:
        import torch  # noqa: F401 - what the recognizer needs, before memory is looked at

        import emotape.recognizer  # noqa: F401
        from emotape.model import weights  # noqa: F401

    return _phases(asked, prepare, lambda: _emotape(asked))


def funasr_load(asked: Facts) -> Facts:
    """Import, build, load and answer one recording with the reference."""

    def prepare() -> None:
        from emotape.delivery.bench.reference import quiet

        with quiet():
            import funasr  # noqa: F401

    def load() -> Callable[[], object]:
        from pathlib import Path

        from emotape.delivery.bench.reference import Reference

        reference = Reference(Path(asked["official"]), asked["threads"])
        return lambda: reference.generate(Path(asked["recording"]))

    return _phases(asked, prepare, load)


def emotape_requests(asked: Facts) -> Facts:
    """Answer a recording several times with a resident emotape."""
    state: dict[str, Callable[[], object]] = {}

    def answer() -> object:
        if not state:
            state["hear"] = _emotape(asked)
        return state["hear"]()

    return _requests(asked, answer)


def tutorial_requests(asked: Facts) -> Facts:
    """Answer a recording several times the way that the tutorial found it: librosa, and the model anew each time."""
    return _requests(asked, lambda: _tutorial_answer(asked))


def _tutorial_answer(asked: Facts) -> None:
    from emotape.delivery.bench.reference import quiet

    with quiet():
        import librosa
        import torch
        import yaml
        from funasr.models.emotion2vec.model import Emotion2vec
        from funasr.tokenizer.char_tokenizer import CharTokenizer

        torch.set_num_threads(asked["threads"])
        samples, _ = librosa.load(asked["recording"], sr=16_000, mono=True)
        official = asked["official"]
        with open(f"{official}/config.yaml", encoding="utf-8") as file:  # noqa: PTH123 - as such scripts do
            settings = yaml.safe_load(file)
        tokenizer = CharTokenizer(token_list=f"{official}/tokens.txt", **settings["tokenizer_conf"])
        model = Emotion2vec(**settings, vocab_size=len(tokenizer.token_list)).eval()
        model.load_state_dict(torch.load(f"{official}/model.pt", map_location="cpu")["model"])
        with torch.no_grad():
            model.inference(
                [torch.from_numpy(samples)],
                key=["clip"],
                tokenizer=tokenizer,
                device="cpu",
                granularity="utterance",
                data_type="sound",
            )


def _emotape(asked: Facts) -> Callable[[], object]:
    from pathlib import Path

    from emotape.delivery.bench.peers import recognizer_of

    recognizer = recognizer_of(Path(asked["directory"]), asked["dtype"], asked["threads"]).open()
    return lambda: recognizer.recognize(asked["recording"])


def _phases(asked: Facts, prepare: Callable[[], None], load: Callable[[], Callable[[], object]]) -> Facts:
    """Time import, load and first answer; memory grows from after the import to the highest point of the rest."""
    started = time.perf_counter()
    prepare()
    imported = time.perf_counter()
    memory.forget_peak()
    before, before_anonymous = memory.resident_bytes(), memory.anonymous_bytes()
    answer = load()
    loaded = time.perf_counter()
    found = answer()
    answered = time.perf_counter()
    return {
        "arithmetic": _arithmetic(found),
        "import": imported - started,
        "load": loaded - imported,
        "answer": answered - loaded,
        "from_start": time.monotonic() - asked["began"],
        "resident_before": before,
        "growth": _growth(memory.peak_bytes(), before),
        "growth_anonymous": _growth(memory.anonymous_bytes(), before_anonymous),
    }


def _requests(asked: Facts, answer: Callable[[], object]) -> Facts:
    """Time the first answer from the start of the process, then the later ones and the processor time they took."""
    found = answer()
    first = time.monotonic() - asked["began"]
    busy, wall, later = time.process_time(), time.perf_counter(), []
    for _ in range(asked["requests"]):
        began = time.perf_counter()
        answer()
        later.append(time.perf_counter() - began)
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    return {
        "arithmetic": _arithmetic(found),
        "first": first,
        "later": later,
        "peak": memory.peak_bytes(),
        "busy": busy / (wall * asked["threads"]),
    }


def _arithmetic(answer: object) -> str:
    """Return what a prediction was calculated in; the reference has float32 alone."""
    from emotape.engine.result import Prediction

    return answer.provenance.dtype if isinstance(answer, Prediction) else "float32"


def _growth(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


ROLES: dict[str, Callable[[Facts], Facts]] = {
    "emotape_load": emotape_load,
    "funasr_load": funasr_load,
    "emotape_requests": emotape_requests,
    "tutorial_requests": tutorial_requests,
    **claims_child.ROLES,
}


def main(arguments: list[str]) -> int:
    """Play one role. What other packages print goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        role, asked = arguments
        answers.write(json.dumps(ROLES[role](json.loads(asked))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
