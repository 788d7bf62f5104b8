"""A run of `recognize` with a recognizer that needs no network: what is shown, written, resumed and counted."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from emotape.audio.decode import DecodeLimits
from emotape.delivery.cli.answering import Tally, answer_all
from emotape.delivery.cli.errors import ExitCode, outcome_code
from emotape.delivery.cli.inputs import Clip
from emotape.delivery.cli.recognize import Request
from emotape.delivery.cli.screen import Screen
from emotape.delivery.cli.show import Pretty, bar, clock
from emotape.delivery.cli.streams import printable
from emotape.delivery.export import document
from emotape.delivery.ledger import NAME
from emotape.model.labels import OFFICIAL_KEYS
from tests.delivery.fakes import PROVENANCE, FakeRecognizer, make_prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from datetime import datetime
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.engine.result import Prediction


@dataclass
class Run:
    """One run and what it printed."""

    tally: Tally
    out: str
    err: str

    def documents(self) -> list[dict[str, Any]]:
        """Read what `--json` printed."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    def go(recognizer: Any, *clips: Clip, arithmetic: str = "abc float32", **asked: Any) -> Run:
        request = Request(**asked)
        screen = Screen(request)
        tally = answer_all(clips, recognizer, request, screen, limits=DecodeLimits(), arithmetic=arithmetic)
        out, err = capsys.readouterr()
        return Run(tally, out, err)

    return go


def test_json_is_one_array_with_an_object_per_file_in_order(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    clips = [Clip("a", tone("a.wav"), key="utt1"), Clip("b", tmp_path / "gone.wav"), Clip("c", tone("c.wav", 440))]
    done = run(recognizer, *clips, form="json")
    first, second, third = done.documents()
    assert list(first) == ["file", "emotion", "confidence", "scores", "granularity", "timestamp", "details"]
    assert first["details"]["key"] == "utt1"
    assert first["details"]["source"]["sample_rate"] == 16_000
    assert list(second) == ["file", "error"]
    assert list(second["error"]) == ["code", "message", "cause", "cure"]
    assert third["file"] == "c"
    assert (done.tally.done, done.tally.failed) == (2, 1)


def test_json_of_nothing_answered_is_still_an_array(run: Callable[..., Run], recognizer: FakeRecognizer) -> None:
    assert run(recognizer, form="json").documents() == []


def test_json_lines_are_the_same_objects_one_a_line(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer
) -> None:
    clips = [Clip("a", tone("a.wav")), Clip("b", tone("b.wav", 440))]
    array = run(recognizer, *clips, form="json").documents()
    lines = [json.loads(line) for line in run(recognizer, *clips, form="jsonl").out.splitlines()]
    for found in (*array, *lines):
        del found["timestamp"], found["details"]["stages"]
    assert lines == array


def test_csv_has_a_row_per_file_and_per_channel_when_split(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    clips = [Clip("a", tone("a.wav", channels=2)), Clip("b", tmp_path / "gone.wav")]
    rows = list(csv.DictReader(io.StringIO(run(recognizer, *clips, form="csv").out)))
    assert list(rows[0]) == ["file", "emotion", "confidence", *OFFICIAL_KEYS, "seconds", "uncertain", "error"]
    assert [row["file"] for row in rows] == ["a", "b"]
    assert sum(float(rows[0][key]) for key in OFFICIAL_KEYS) == pytest.approx(1, abs=1e-5)
    assert rows[1]["error"]
    split = list(csv.DictReader(io.StringIO(run(recognizer, *clips, form="csv", channels="split").out)))
    assert [(row["file"], row["channel"]) for row in split] == [("a", "1"), ("a", "2"), ("b", "")]


def test_piped_text_is_tab_separated_keys_and_errors_go_to_stderr(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    done = run(recognizer, Clip("a", tone("a.wav")), Clip("b", tmp_path / "gone.wav"))
    ((file, emotion, confidence),) = (line.split("\t") for line in done.out.splitlines())
    assert (file, emotion in OFFICIAL_KEYS) == ("a", True)
    assert 0 < float(confidence) <= 1
    assert done.err.startswith("b: ")


def test_piped_segments_have_their_times_and_names_in_the_language_asked_for(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer
) -> None:
    clip = Clip("a", tone("a.wav", seconds=2.0))
    ((*_, emotion, _),) = (line.split("\t") for line in run(recognizer, clip, granularity="segment").out.splitlines())
    done = run(recognizer, clip, granularity="segment", names="zh")
    ((file, start, stop, name, _),) = (line.split("\t") for line in done.out.splitlines())
    assert (file, float(start), float(stop)) == ("a", 0.0, 1.0)
    assert emotion in OFFICIAL_KEYS
    assert not name.isascii()


@dataclass
class Experimental:
    """The same, of a model that is experimental."""

    labels: Any = FakeRecognizer().labels

    def submit(self, source: Waveform, **wanted: Any) -> Future[Prediction]:
        future = FakeRecognizer().submit(source, **wanted)
        answered: Future[Prediction] = type(future)()
        made = future.result()
        answered.set_result(replace(made, provenance=replace(PROVENANCE, experimental=True)))
        return answered


@pytest.mark.parametrize("form", ["text", "csv"])
def test_an_experimental_model_is_announced_once_a_run(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, form: str
) -> None:
    clips = [Clip(name, tone(f"{name}.wav")) for name in "abc"]
    assert run(Experimental(), *clips, form=form).err.count("emotape models pull plus-large") == 1
    assert "plus-large" not in run(recognizer, *clips, form=form).err


def test_json_of_an_experimental_model_says_so_in_every_object(
    run: Callable[..., Run], tone: Callable[..., Path]
) -> None:
    done = run(Experimental(), Clip("a", tone("a.wav")), Clip("b", tone("b.wav")), form="json")
    assert [found["details"]["experimental"] for found in done.documents()] == [True, True]
    assert done.err == ""


def test_texts_are_in_the_language_of_the_run(
    run: Callable[..., Run], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    clips = [Clip("a", tmp_path / "gone.wav"), Clip("b", tmp_path / "gone.wav")]
    assert "成功 0 个，失败 2 个" in run(recognizer, *clips, language="zh").err
    assert "0 recognised, 2 failed" in run(recognizer, *clips).err


def test_output_folders_are_named_in_the_results_and_hold_what_was_asked(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    clips = [Clip("a", tone("a.wav", channels=2)), Clip("b", tone("b.wav"))]
    done = run(
        recognizer,
        *clips,
        form="json",
        output=tmp_path / "out",
        channels="split",
        granularity="segment",
        embedding=True,
        quality=True,
        exports=("srt", "textgrid"),
    )
    folders = [tmp_path / found["details"]["folder"] for found in done.documents()]
    assert len(set(folders)) == 3
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {
            "details.json",
            "embedding.npy",
            "frames.csv",
            "processed_audio.wav",
            "result.json",
            "segments.TextGrid",
            "segments.srt",
        }
    first = done.documents()[0]["details"]
    assert first["embedding"] == {"file": "embedding.npy", "shape": list(np.load(folders[0] / "embedding.npy").shape)}
    assert first["channel"] == 1
    assert set(recognizer.qualities) == {True}


def test_a_second_run_resumes_what_is_done_and_only_that(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    clips = [Clip("a", tone("a.wav")), Clip("b", tone("b.wav", 330))]
    first = run(recognizer, clips[0], form="json", output=output)
    second = run(recognizer, *clips, form="json", output=output, resume=True)
    assert second.documents()[0] == first.documents()[0]
    assert (second.tally.done, second.tally.resumed) == (2, 1)
    assert len(recognizer.asked) == 2
    third = run(recognizer, *clips, form="json", output=output, resume=True)
    assert third.documents() == second.documents()
    assert len(recognizer.asked) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"granularity": "frame"},
        {"embedding": True},
        {"channels": "split"},
        {"quality": True},
        {"granularity": "segment", "exports": ("srt",)},
        {"arithmetic": "abd float32"},
    ],
)
def test_other_options_or_weights_are_not_resumed(
    run: Callable[..., Run],
    tone: Callable[..., Path],
    recognizer: FakeRecognizer,
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    clip = Clip("a", tone("a.wav"))
    run(recognizer, clip, output=tmp_path / "out")
    assert run(recognizer, clip, output=tmp_path / "out", resume=True, **change).tally.resumed == 0


def test_without_resume_everything_is_answered_again(
    run: Callable[..., Run], tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    clip = Clip("a", tone("a.wav"))
    for _ in range(2):
        assert run(recognizer, clip, output=tmp_path / "out").tally.resumed == 0
    assert len(list((tmp_path / "out").glob("outputs_*"))) == 2


def test_an_interruption_leaves_a_whole_array_and_whole_folders(
    tone: Callable[..., Path], recognizer: FakeRecognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient(Screen):
        """A user who presses Ctrl-C after the second result."""

        shown = 0

        def advance(self) -> None:
            self.shown += 1
            if self.shown == 2:
                raise KeyboardInterrupt

    request = Request(form="json", output=tmp_path / "out")
    clips = tuple(Clip(str(number), tone(f"{number}.wav", 200 + number)) for number in range(5))
    with pytest.raises(KeyboardInterrupt):
        answer_all(clips, recognizer, request, Impatient(request), limits=DecodeLimits(), arithmetic="")
    assert [found["file"] for found in json.loads(capsys.readouterr().out)] == ["0", "1"]
    assert len((tmp_path / "out" / NAME).read_bytes().splitlines()) == 2
    assert len(list((tmp_path / "out").glob("outputs_*/result.json"))) == 2


@pytest.mark.parametrize(
    ("done", "failed", "code"),
    [(3, 0, ExitCode.FINE), (2, 1, ExitCode.SOME_FAILED), (0, 3, ExitCode.ALL_FAILED), (0, 0, ExitCode.FINE)],
)
def test_the_exit_code_tells_how_it_went(done: int, failed: int, code: ExitCode) -> None:
    assert outcome_code(done, failed) == code


def pretty(found: dict[str, Any], encoding: str = "utf-8", **kind: Any) -> str:
    """Show one document on a terminal of 80 columns and return the text."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    console = Console(
        file=stream, width=80, force_terminal=True, no_color=True, markup=False, emoji=False, highlight=False
    )
    Pretty(console, kind.pop("language", "en"), kind.pop("names", "en"), single=kind.pop("single", True)).show(found)
    stream.seek(0)
    return stream.read()


def test_one_recording_at_a_terminal_shows_every_score_with_a_bar(noon: datetime) -> None:
    text = pretty(document("a.wav", make_prediction(), noon, {}))
    assert text.count("%") == 10
    assert text.index("Happy") < text.index("Angry")
    assert "█" in text
    assert "😊" in text


def test_names_are_shown_in_the_language_asked_for(noon: datetime) -> None:
    text = pretty(document("a.wav", make_prediction(), noon, {}), names="zh", language="zh")
    assert "快乐" in text
    assert "Happy" not in text


def test_a_terminal_that_knows_only_ascii_gets_ascii(noon: datetime) -> None:
    text = pretty(document("a.wav", make_prediction(), noon, {}), encoding="ascii")
    assert "Happy" in text
    assert "####" in text
    assert text.isascii()


def test_a_name_cannot_colour_or_clear_the_terminal(noon: datetime) -> None:
    text = pretty(document("[bold]\x1b[2J:smile:\n\udcff.wav", make_prediction(), noon, {}), single=False)
    assert "[bold]\\x1b[2J:smile:\\n\\udcff.wav" in text
    assert printable(os.fsdecode(b"\xff")) == "\\udcff"


def test_bars_grow_with_the_share_and_keep_their_width() -> None:
    for rich in (True, False):
        bars = [bar(share / 100, rich=rich) for share in range(101)]
        assert {len(text) for text in bars} == {20}
        lengths = [len(text.rstrip()) for text in bars]
        assert lengths == sorted(lengths)
        assert (bars[0].strip(), bars[100].strip(bars[100][0])) == ("", "")


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "00:00.00"), (75.5, "01:15.50"), (7265.25, "2:01:05.25")])
def test_times_are_shown_as_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
