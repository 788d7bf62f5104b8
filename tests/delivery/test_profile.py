"""`emotape profile` on real recordings: nothing is missing or counted twice, and it does what recognizing does."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from emotape.audio.decode import DecodeLimits, decode
from emotape.delivery.cli import app
from emotape.delivery.profiling import answer
from emotape.delivery.profiling.document import document
from emotape.delivery.profiling.measure import Asked, Profile, Recognized, Run
from emotape.delivery.profiling.stopwatch import Lap, Look, Stopwatch
from emotape.delivery.profiling.summary import STAGES, summarise
from emotape.delivery.profiling.text import show
from emotape.engine.wanted import Wanted
from emotape.events import ModelLoaded, TapeRan
from emotape.recognizer import Recognizer
from emotape.settings import read_settings
from emotape.wording import Language, interface_text
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

    from emotape.engine.result import Granularity

FILES = [AUDIO / "jfk.flac", AUDIO / "thorsten_angry.mp3"]
WARM = STAGES[2:]


@pytest.fixture(scope="module", autouse=True)
def _plain_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run without the settings and the models of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTAPE_MODELS_FOLDER", str(folder / "models"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("EMOTAPE_LANGUAGE", "en")
        patch.chdir(folder)
        yield folder


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


@dataclass(frozen=True)
class Profiled:
    """What one run printed and wrote."""

    found: dict[str, Any]
    events: list[dict[str, Any]]
    plot: Path

    def breakdowns(self) -> list[dict[str, Any]]:
        """Return every table of stages."""
        files = [part for file in self.found["files"] for name, part in file.items() if name != "file"]
        return [self.found["cold"], *self.found["warm"].values(), *files]


@pytest.fixture(scope="module")
def profiled(_plain_surroundings: Path) -> Profiled:
    trace, plot = _plain_surroundings / "new" / "trace.json", _plain_surroundings / "new" / "plot.png"
    done = run(*FILES, "--repeat", "2", "--json", "--trace", trace, "--plot", plot)
    assert done.exit_code == 0, done.output
    return Profiled(json.loads(done.stdout), json.loads(trace.read_text("utf-8"))["traceEvents"], plot)


def test_the_stages_add_up_to_the_whole_which_a_clock_of_its_own_measures(profiled: Profiled) -> None:
    for part in profiled.breakdowns():
        assert part["stages_seconds"] == pytest.approx(part["seconds"], rel=0.05)
        assert sum(cost["seconds"] for cost in part["stages"].values()) == pytest.approx(
            part["stages_seconds"], abs=1e-4
        )
        assert sum(cost["share"] for cost in part["stages"].values()) == pytest.approx(1, abs=0.05)


def test_the_bottleneck_is_the_stage_with_the_largest_share(profiled: Profiled) -> None:
    for part in profiled.breakdowns():
        assert part["bottleneck"] == max(part["stages"], key=lambda stage: part["stages"][stage]["share"])
    named = profiled.found["bottleneck"]
    assert named["stage"] == profiled.found["warm"]["utterance"]["bottleneck"]
    assert named["cold"]["stage"] == profiled.found["cold"]["bottleneck"]
    assert all(f"{100 * each['share']:.0f} %" in each["advice"] for each in (named, named["cold"]))


def test_the_json_has_every_stage_of_cold_and_warm_answers_with_its_figures(profiled: Profiled) -> None:
    found = profiled.found
    assert list(found["cold"]["stages"]) == list(STAGES)
    assert [list(part["stages"]) for part in profiled.breakdowns()[1:]] == [list(WARM)] * 6
    assert list(found["warm"]) == ["utterance", "frame"]
    assert [Path(file["file"]).name for file in found["files"]] == [file.name for file in FILES]
    for part in profiled.breakdowns():
        for cost in part["stages"].values():
            assert cost["seconds"] >= 0 <= cost["cpu_percent"]
            assert isinstance(cost["memory_growth"], int)
            assert cost["gpu_percent"] is cost["gpu_memory_growth"] is None
    assert found["model"]["device"] == "cpu"
    assert found["cold"]["recognizer_seconds"] is None
    assert all(part["recognizer_seconds"] > 0 for part in found["warm"].values())
    seconds = sum(file["utterance"]["audio_seconds"] for file in found["files"])
    assert seconds == pytest.approx(sum(soundfile.info(file).duration for file in FILES), abs=0.1)


def test_the_trace_holds_every_lap_inside_its_run_and_every_tape(profiled: Profiled) -> None:
    slices = [event for event in profiled.events if event["ph"] == "X"]
    assert all(event["ts"] >= 0 <= event["dur"] and event["pid"] == 1 for event in slices)
    runs = [event for event in slices if event["name"].startswith(("cold", "warm"))]
    assert [event["name"].split()[0] for event in runs] == ["cold"] + ["warm"] * 8
    laps = [event for event in slices if event["name"] in WARM]
    inside = [
        sum(run["ts"] - 1 <= lap["ts"] and lap["ts"] + lap["dur"] <= run["ts"] + run["dur"] + 1 for run in runs)
        for lap in laps
    ]
    assert set(inside) == {1}
    assert len([event for event in slices if event["name"] == "tape"]) >= len(runs)
    assert {event["name"] for event in profiled.events if event["ph"] == "M"} == {"process_name", "thread_name"}
    memory = [event for event in profiled.events if event["ph"] == "C"]
    assert len(memory) == len(laps) + 2  # after every lap, those of importing and loading too


def test_the_timeline_is_a_picture(profiled: Profiled) -> None:
    assert profiled.plot.read_bytes().startswith(b"\x89PNG\r\n")


def test_what_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("not a sound")
    some = run(broken, FILES[1], "--repeat", "1", "--granularity", "segment", "--embedding", "--language", "zh")
    assert some.exit_code == 1
    assert f"{broken}：" in some.stderr
    assert "thorsten_angry.mp3" in some.stdout
    assert "后续识别的瓶颈" in some.stdout
    none = run(broken, tmp_path / "gone.wav", "--repeat", "1")
    assert none.exit_code == 3
    assert "no_such_file" in none.stderr
    assert not none.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--repeat", "0"), 2),
        (("--granularity", "word"), 2),
        (("--plot", "/dev/null/p.png"), 2),
        (("--model", "./x"), 3),
    ],
)
def test_wrong_usage_is_told_without_a_traceback(arguments: tuple[str, ...], code: int) -> None:
    done = run(FILES[1], "--repeat", "1", "--granularity", "utterance", *arguments)
    assert done.exit_code == code
    assert "Traceback" not in done.output


@pytest.fixture(scope="module")
def long(_plain_surroundings: Path) -> Path:
    """Write a recording of two windows, at 44.1 kHz with two channels."""
    sound, rate = soundfile.read(FILES[0])
    path = _plain_surroundings / "long.wav"
    soundfile.write(path, np.tile(sound, (7, 1)), rate)
    return path


def test_stage_after_stage_gives_what_the_recognizer_gives(long: Path, tmp_path: Path) -> None:
    """Otherwise the stages would be of something else: same sound, same scores, segments, windows and warnings."""
    settings, watch = read_settings(), Stopwatch()
    bench = answer.load(settings, tmp_path, (watch,))
    wishes: tuple[tuple[Path, Granularity], ...] = (
        (FILES[0], "utterance"),
        (FILES[1], "frame"),
        (long, "segment"),
    )
    with Recognizer(settings.model) as recognizer:
        for file, granularity in wishes:
            made = answer.answer(bench, file, Wanted(granularity, embedding=True, quality=False), watch)
            expected = recognizer.recognize(file, granularity=granularity, embedding=True)
            assert made.provenance == expected.provenance
            assert made.scores == pytest.approx(expected.scores, abs=1e-5)
            assert (made.windows, made.warnings) == (expected.windows, expected.warnings)
            assert made.speech_seconds == expected.speech_seconds
            assert len(made.segments) == len(expected.segments)
            assert made.embedding is not None
            assert made.embedding == pytest.approx(expected.embedding, abs=1e-4)
    bench.resident.close()
    assert len(list(tmp_path.glob("outputs_*/result.json"))) == 3
    assert made.provenance.audio_sha256 == decode(long, DecodeLimits()).waveforms[0].digest()


def test_laps_leave_no_gap_and_count_each_tape_once() -> None:
    """The end of one lap is the beginning of the next, whatever happens in between."""
    clock = count()
    watch = Stopwatch(lambda: Look(float(next(clock)), 0.5 * next(clock), 10 * next(clock), 100 * next(clock)))
    watch(TapeRan(1, 10, 20, 1.0, 7.0, "cpu"))  # before the run
    watch.start()
    watch.lap("decode")
    watch(TapeRan(1, 10, 20, 1.0, 0.25, "cpu"))
    watch.lap("inference")
    watch.lap("output")
    laps = watch.taken()
    assert [lap.stage for lap in laps] == ["decode", "inference", "output"]
    assert all(lap.after is after.before for lap, after in pairwise(laps))
    assert sum(lap.seconds for lap in laps) == laps[-1].after.at - laps[0].before.at
    assert [lap.running for lap in laps] == [0.0, 0.25, 0.0]
    assert {lap.resident_growth for lap in laps} == {40}
    assert {lap.card_growth for lap in laps} == {400}
    assert len(watch.tapes) == 2


def on_a_card(granularity: Granularity = "utterance") -> Profile:
    """Return a profile as a machine with a graphics card would give it: decoding takes most of warm answers."""

    def laps(**seconds: float) -> tuple[Lap, ...]:
        made, at = [], 0.0
        for stage, taken in seconds.items():
            running = 0.9 * taken if stage == "inference" else 0.0
            before, after = Look(at, 2 * at, None, 0), Look(at + taken, 2 * (at + taken), None, 10**9)
            made.append(Lap(stage, before, after, running))
            at += taken
        return tuple(made)

    once = laps(validate=0.1, decode=3.0, resample=0.3, window=0.1, inference=0.5, prediction=0.1, output=0.4)
    runs = [Run(Path("a.mp3"), granularity, cold, 60.0, once, 4.5) for cold in (True, False)]
    model = ModelLoaded("plus-large", "0" * 64, "cuda:0", "float16", 9.0)
    recognized = (Recognized(Path("a.mp3"), granularity, (4.1,)),)
    prelude = laps(**{"import": 1.0}, load=9.0)
    return Profile(Asked((Path("a.mp3"),), (granularity,)), model, 0.0, prelude, 10.0, tuple(runs), recognized, (), ())


def test_a_graphics_card_has_its_columns_and_its_own_advice() -> None:
    profile = on_a_card()
    summary = summarise(profile)
    found = document(profile, summary, "en")
    assert found["warm"]["utterance"]["stages"]["inference"]["gpu_percent"] == 90
    assert found["warm"]["utterance"]["stages"]["inference"]["cpu_percent"] == 200
    assert found["warm"]["utterance"]["stages"]["inference"]["gpu_memory_growth"] == 10**9
    assert (found["bottleneck"]["stage"], found["bottleneck"]["cold"]["stage"]) == ("decode", "load")
    console = Console(width=100, record=True, file=io.StringIO())
    show(profile, summary, console, "zh")
    text = console.export_text()
    assert "GPU %" in text
    assert "显存" in text
    assert "+1,000.0 MB" in text


@pytest.mark.parametrize("language", get_args(Language))
def test_every_stage_has_a_name_and_advice(language: Language) -> None:
    for stage in STAGES:
        assert interface_text(f"profile_stage_{stage}", language)
        for where in ("_card", "_processor") if stage == "inference" else ("",):
            text = interface_text(f"profile_advice_{stage}{where}", language, percent=12.4, dtype="float32")
            assert re.search(r"12 ?%", text)
