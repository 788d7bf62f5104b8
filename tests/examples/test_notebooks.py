"""The notebooks run from top to bottom in a fresh kernel, and what is stored with them is what they give.

After a change to a notebook or to the bundled model, EMOTAPE_NOTEBOOKS=1 stores what they give now.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.examples.conftest import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

nbformat: Any = import_module("nbformat")  # parts of it have no types

NOTEBOOKS: Final = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
LABELS: Final = "angry|bored|disgusted|fearful|happy|neutral|other|sad|surprised|unknown"
LARGEST: Final = 300_000  # bytes

SEEN: Final = {
    "clusters.ipynb": """{
        "lengths": np.linalg.norm(vectors, axis=1).tolist(),
        "places": places.shape,
        "shown": flat.explained_variance_ratio_.tolist(),
        "same_emotion": float(np.mean(emotions[nearest] == emotions)),
        "any_emotion": float(np.mean(emotions[:, None] == emotions)),
        "oneself": int(np.sum(nearest == np.arange(len(paths)))),
        "clusters": len(set(clusters)),
    }""",
    "call_timeline.ipynb": """{
        "acted": acted,
        "seconds": [channel.seconds for channel in channels],
        "segments": [[[part.start, part.stop, part.emotion] for part in channel.segments] for channel in channels],
    }""",
    "own_labels.ipynb": """{
        "labels": labels,
        "folders": sorted({path.parent.name for path in paths}),
        "taught": manifest.read_text("utf-8"),
        "judges": judges,
        "truth": truth,
        "answers": answers,
        "written": sorted(path.name for path in MODEL.iterdir()),
    }""",
}


@dataclass(frozen=True)
class Executed:
    """A notebook as it is stored, as a fresh kernel left it, and some of the values that were left in the kernel."""

    stored: Any
    fresh: Any
    seen: dict[str, Any]


@pytest.fixture(scope="module")
def executed(desk: Path, settings: dict[str, str]) -> Callable[[str], Executed]:
    """Execute all notebooks side by side; return what tells of one, or raises what stopped it."""

    async def everything() -> list[Executed | BaseException]:
        return await asyncio.gather(*(execute(name, desk, settings) for name in NOTEBOOKS), return_exceptions=True)

    done = dict(zip(NOTEBOOKS, asyncio.run(everything()), strict=True))

    def outcome(name: str) -> Executed:
        found = done[name]
        if isinstance(found, BaseException):
            raise found
        return found

    return outcome


async def execute(name: str, desk: Path, settings: dict[str, str]) -> Executed:
    """Run a notebook, and a last cell that looks at what is left in the kernel."""
    from nbclient import NotebookClient

    stored = nbformat.read(EXAMPLES / name, as_version=4)
    fresh = copy.deepcopy(stored)
    fresh.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({SEEN[name]}))"))
    where = {"metadata": {"path": str(desk)}}
    client = NotebookClient(fresh, resources=where, timeout=120, record_timing=False, coalesce_streams=True)
    await client.async_execute(env=settings)
    seen = json.loads(fresh.cells.pop().outputs[0].text)
    fresh.metadata.language_info = {"name": "python"}
    if os.environ.get("EMOTAPE_NOTEBOOKS") == "1":
        nbformat.write(fresh, EXAMPLES / name)
        stored = fresh
    return Executed(stored, fresh, seen)


def traits(notebook: Any) -> list[list[tuple[str, set[str]]]]:
    """Return what kinds of outputs every cell has, and what its texts say but for numbers, labels and repetitions."""
    return [
        [
            (output.output_type, set(output.get("data", {"text/plain"})) | sayings(output.get("text", "")))
            for output in cell.get("outputs", [])
        ]
        for cell in notebook.cells
    ]


def sayings(text: str) -> set[str]:
    """Return the different lines of a text, numbers and labels left out."""
    return {re.sub(rf"{LABELS}|[\d\W]+", " ", line).strip() for line in text.splitlines()}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_stored_outputs_are_of_the_kind_that_the_code_gives(executed: Callable[[str], Executed], name: str) -> None:
    """Numbers may differ a little from machine to machine; tables, pictures and sentences must be the same."""
    done = executed(name)
    assert traits(done.stored) == traits(done.fresh)
    assert any("image/png" in output.get("data", {}) for cell in done.fresh.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_stored_was_run_in_order_in_both_languages_on_no_machine_in_particular(name: str) -> None:
    """No path, no warning, no time; every text in English and in Chinese."""
    path = EXAMPLES / name
    assert path.stat().st_size < LARGEST
    text = path.read_text("utf-8")
    pictureless = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"(?<![\w.])(/(home|root|tmp|work|usr|var|opt|mnt|Users)/|[A-Z]:\\)", pictureless)
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(cell.metadata for cell in notebook.cells)
    assert not any(output.get("name") == "stderr" for cell in code for output in cell.outputs)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert re.search(r"[\u4e00-\u9fff]{4}", cell.source)
            assert re.search(r"[a-z]+ [a-z]+ [a-z]+", cell.source)
            assert all((EXAMPLES / link).exists() for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", cell.source))


def test_what_sounds_alike_shares_its_emotion_more_often_than_by_chance(executed: Callable[[str], Executed]) -> None:
    seen = executed("clusters.ipynb").seen
    assert seen["lengths"] == pytest.approx([1.0] * len(seen["lengths"]), abs=1e-5)
    assert seen["places"] == [len(seen["lengths"]), 2]
    assert seen["shown"] == sorted(seen["shown"], reverse=True)
    assert sum(seen["shown"]) <= 1
    assert seen["oneself"] == 0
    assert seen["clusters"] == 5
    assert seen["same_emotion"] > 1.5 * seen["any_emotion"]


def overlap(segments: list[tuple[float, float, str | None]], start: float, stop: float, emotion: str | None) -> float:
    """Return for how many seconds between `start` and `stop` an emotion was heard (None: silence)."""
    return sum(max(0.0, min(stop, to) - max(start, since)) for since, to, heard in segments if heard == emotion)


def test_every_turn_of_the_call_is_heard_on_its_channel_and_the_other_one_is_silent(
    executed: Callable[[str], Executed],
) -> None:
    """Segments follow one another from the first second to the last; anger is heard where it was acted."""
    seen = executed("call_timeline.ipynb").seen
    for segments, seconds in zip(seen["segments"], seen["seconds"], strict=True):
        assert segments[0][0] == 0
        assert segments[-1][1] == pytest.approx(seconds)
        assert [since for since, *_ in segments[1:]] == [to for _, to, _ in segments[:-1]]
    channels = dict(zip(("agent", "customer"), seen["segments"], strict=True))
    for person, _, start, stop in seen["acted"]:
        other = next(channel for name, channel in channels.items() if name != person)
        assert overlap(channels[person], start, stop, None) < 0.5 * (stop - start)
        assert overlap(other, start, stop, None) > 0.8 * (stop - start)
    meant = [
        (start, stop) for person, emotion, start, stop in seen["acted"] if (person, emotion) == ("customer", "angry")
    ]
    found = sum(overlap(channels["customer"], start, stop, "angry") for start, stop in meant)
    whole = overlap(channels["customer"], 0, seen["seconds"][1], "angry")
    assert found > 0.5 * whole > 0


def test_a_model_of_five_own_labels_knows_them_and_is_judged_by_voices_that_did_not_teach_it(
    executed: Callable[[str], Executed],
) -> None:
    seen = executed("own_labels.ipynb").seen
    assert sorted(seen["labels"]) == seen["folders"]
    assert len(seen["labels"]) == 5
    assert {"model.safetensors", "config.yaml", "tokens.txt", "README.md"} <= set(seen["written"])
    assert not any(line.endswith(f",{judge}") for line in seen["taught"].splitlines() for judge in seen["judges"])
    assert set(seen["answers"]) <= set(seen["labels"])
    right = sum(answer == truth for answer, truth in zip(seen["answers"], seen["truth"], strict=True))
    assert right / len(seen["truth"]) > 1.5 / len(seen["labels"])
