"""Exports: each format holds what the prediction holds, and a reader that is not ours can read it."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import srt
import tgt
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.audio.quality import Quality
from emotape.audio.waveform import Waveform
from emotape.delivery import export
from emotape.errors import BadAudio, BadRequest
from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS, Label
from tests.delivery.fakes import answer_for, make_prediction, make_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from emotape.engine.result import Prediction

SILENCE = Waveform(np.zeros(16_000, np.float32))
KEYS = ["emotion", "confidence", "scores", "granularity", "timestamp"]


@st.composite
def segmented(draw: st.DrawFn) -> Prediction:
    """Any prediction with segments: touching, apart, of no length, unsorted or past the end of the recording."""
    edges = sorted(draw(st.lists(st.floats(0, 70), min_size=2, max_size=14)))
    emotions = st.sampled_from([*OFFICIAL_KEYS, None])
    bounds = [(start, stop, draw(emotions)) for start, stop in zip(edges[::2], edges[1::2], strict=False)]
    shuffled = draw(st.permutations(bounds))
    return make_prediction(granularity="segment", segments=make_segments(*shuffled), seconds=draw(st.floats(0.03, 70)))


def test_result_holds_exactly_the_five_known_keys_in_their_known_forms(noon: datetime) -> None:
    assert json.loads(json.dumps(export.result(make_prediction(), noon))) == {
        "emotion": "happy",
        "confidence": 0.84,
        "scores": {key: 0.84 if key == "happy" else 0.02 for key in OFFICIAL_KEYS},
        "granularity": "utterance",
        "timestamp": "2026-01-04 22:30:00",
    }


def test_labels_that_a_model_lacks_score_nothing_and_its_own_follow(noon: datetime) -> None:
    own = Label("bored", "Bored", "无聊", "无聊", "🥱")
    adapted = make_prediction(emotion="bored", scores={"happy": 0.3, "bored": 0.7}, labels=(OFFICIAL[3], own))
    scores = export.result(adapted, noon)["scores"]
    assert list(scores) == [*OFFICIAL_KEYS, "bored"]
    assert scores["bored"] == 0.7
    assert scores["angry"] == 0.0
    assert "Bored" in export.srt(replace(adapted, segments=make_segments((0, 1, "bored"))))


def test_an_embedding_only_model_has_a_result_of_the_same_form(noon: datetime) -> None:
    bare = make_prediction(emotion=None, confidence=0.0, scores={}, labels=())
    found = export.result(bare, noon)
    assert list(found) == KEYS
    assert found["emotion"] is None
    assert set(found["scores"].values()) == {0.0}


def test_details_hold_what_the_five_keys_leave_out_and_are_json() -> None:
    quality = Quality(float("-inf"), float("-inf"), 0.0, 1.0, 0.0)
    frames = np.full((3, 9), 1 / 9, np.float32)
    found = json.loads(
        json.dumps(
            export.details(make_prediction(granularity="frame", frames=frames, quality=quality)), allow_nan=False
        )
    )
    assert found["provenance"]["model_digest"] == "f" * 64
    assert found["quality"]["rms_dbfs"] is None
    assert np.shape(found["frames"]["scores"]) == (3, 9)
    assert found["frames"]["labels"] == list(OFFICIAL_KEYS)
    assert found["experimental"] is False


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_experimental_model_says_so_and_names_the_way_out(language: Any) -> None:
    made = make_prediction()
    found = export.details(replace(made, provenance=replace(made.provenance, experimental=True)), language)
    assert found["experimental"] is True
    assert "emotape models pull plus-large" in found["advice"]


def test_a_failure_is_code_message_cause_and_cure_in_the_language() -> None:
    found = export.failure("a.wav", BadRequest("no_match", pattern="x*"), "zh")
    assert found["file"] == "a.wav"
    assert list(found["error"]) == ["code", "message", "cause", "cure"]
    assert found["error"]["message"] == "没有文件与 x* 匹配。"


@settings(deadline=None)
@given(segmented())
def test_srt_read_back_by_srt_is_ordered_numbered_and_never_empty(prediction: Prediction) -> None:
    read = list(srt.parse(export.srt(prediction)))
    assert [subtitle.index for subtitle in read] == list(range(1, len(read) + 1))
    assert all(subtitle.start < subtitle.end for subtitle in read)
    assert all(before.end <= after.start for before, after in pairwise(read))
    assert all(subtitle.end <= timedelta(seconds=prediction.seconds + 0.001) for subtitle in read)
    assert srt.compose(read, reindex=False).strip() == export.srt(prediction).strip()


@settings(deadline=None)
@given(segmented())
def test_textgrid_read_back_by_tgt_tiles_the_recording(prediction: Prediction) -> None:
    stream = io.StringIO(export.textgrid(prediction, "zh"))
    tier = tgt.io.read_textgrid(stream, include_empty_intervals=True).get_tier_by_name("emotion")
    end = round(prediction.seconds, 6)
    assert float(tier[0].start_time) == 0
    assert float(tier[-1].end_time) == pytest.approx(end, abs=1e-9)
    assert all(float(before.end_time) == float(after.start_time) for before, after in pairwise(tier))
    assert all(float(interval.start_time) < float(interval.end_time) for interval in tier)


def test_textgrid_names_emotions_and_leaves_silence_empty() -> None:
    made = make_prediction(seconds=3.0, segments=make_segments((0.5, 1, "sad"), (1, 2, None), (2, 3, "happy")))
    tier = tgt.io.read_textgrid(io.StringIO(export.textgrid(made)), include_empty_intervals=True).get_tier_by_name(
        "emotion"
    )
    assert [(float(part.start_time), float(part.end_time), part.text) for part in tier] == [
        (0.0, 0.5, ""),
        (0.5, 1.0, "Sad"),
        (1.0, 2.0, ""),
        (2.0, 3.0, "Happy"),
    ]


def test_a_label_name_with_quotes_tabs_and_lines_stays_one_field() -> None:
    odd = Label("odd", 'so "odd"\t\nindeed', "怪", "怪", "🏷️")
    made = make_prediction(labels=(odd,), scores={"odd": 1.0}, segments=make_segments((0, 1, "odd")))
    tier = tgt.io.read_textgrid(io.StringIO(export.textgrid(made))).get_tier_by_name("emotion")
    assert tier[0].text == 'so "odd" indeed'
    assert export.audacity_labels(made) == '0.000000\t1.000000\tso "odd" indeed\n'
    assert len(list(srt.parse(export.srt(made)))) == 1


@settings(deadline=None)
@given(segmented())
def test_audacity_lines_are_two_rising_times_and_a_name(prediction: Prediction) -> None:
    rows = list(csv.reader(io.StringIO(export.audacity_labels(prediction)), delimiter="\t"))
    times = [float(time) for start, stop, _ in rows for time in (start, stop)]
    assert times == sorted(times)
    assert {name for *_, name in rows} <= {label.en for label in OFFICIAL}


@settings(deadline=None)
@given(segmented())
def test_segments_csv_loses_nothing(prediction: Prediction) -> None:
    rows = list(csv.DictReader(io.StringIO(export.segments_csv(prediction))))
    assert [(row["emotion"] or None) for row in rows] == [segment.emotion for segment in prediction.segments]
    assert [float(row["start"]) for row in rows] == pytest.approx(
        [segment.start for segment in prediction.segments], abs=5e-4
    )


def test_frames_csv_gives_every_frame_its_time_and_scores() -> None:
    made = answer_for(SILENCE, "frame", embedding=False)
    rows = list(csv.reader(io.StringIO(export.frames_csv(made))))
    assert rows[0] == ["start", "stop", *OFFICIAL_KEYS]
    table = np.array(rows[1:], float)
    assert made.frames is not None
    np.testing.assert_allclose(table[:, 2:], made.frames, atol=1e-6)
    np.testing.assert_allclose(table[:, 0], np.arange(len(table)) * 0.02, atol=1e-9)
    np.testing.assert_allclose(table[:, 1] - table[:, 0], 0.02, atol=1e-9)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=20))
def test_json_line_is_one_line_of_utf8_that_reads_back_whatever_the_name(name: str) -> None:
    line = export.json_line({"file": name})
    assert line.splitlines() == [line] or "\n" not in line
    assert json.loads(line.encode("utf-8"))["file"] == name


@pytest.mark.parametrize("split", [False, True])
def test_csv_rows_have_the_columns_of_their_heading(noon: datetime, *, split: bool) -> None:
    more = {"channel": 2} if split else {}
    fine = export.document('odd "name",\n.wav', make_prediction(), noon, more)
    bad = export.failure("b.wav", BadAudio("unexpected", kind="x", detail="y"))
    text = export.results_csv_header(OFFICIAL_KEYS, split=split)
    text += "".join(export.results_csv_row(found, OFFICIAL_KEYS, split=split) for found in (fine, bad))
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert first["file"] == 'odd "name",\n.wav'
    assert (first["emotion"], first["happy"], first["seconds"], first["error"]) == ("happy", "0.84", "1.0", "")
    assert (second["file"], second["emotion"], second["error"]) == ("b.wav", "", "unexpected")
    assert ("channel" in first) is split


def test_a_result_folder_holds_the_known_files(tmp_path: Path, noon: datetime) -> None:
    waveform = Waveform((np.sin(np.arange(8_000) / 20) / 2).astype(np.float32))
    made = answer_for(waveform, "frame", embedding=True)
    folder = export.write_folder(tmp_path, export.Contents(made, waveform, noon, more={"key": "u1"}))
    assert folder.name == "outputs_20260104_223000"
    assert sorted(path.name for path in folder.iterdir()) == [
        "details.json",
        "embedding.npy",
        "frames.csv",
        "processed_audio.wav",
        "result.json",
    ]
    assert list(json.loads((folder / "result.json").read_text("utf-8"))) == KEYS
    facts = json.loads((folder / "details.json").read_text("utf-8"))
    assert facts["key"] == "u1"
    assert "frames" not in facts
    vector = np.load(folder / "embedding.npy")
    assert made.embedding is not None
    assert vector.dtype == np.float32
    np.testing.assert_array_equal(vector, made.embedding)
    sound, rate = soundfile.read(folder / "processed_audio.wav", dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(sound, waveform.samples, atol=1 / 32_768)


def test_exports_go_into_the_folder_under_their_names(tmp_path: Path, noon: datetime) -> None:
    made = answer_for(SILENCE, "segment", embedding=False)
    folder = export.write_folder(tmp_path, export.Contents(made, SILENCE, noon, exports=tuple(export.EXPORTERS)))
    for file, exporter in export.EXPORTERS.values():
        assert (folder / file).read_text("utf-8") == exporter(made, "en")


def test_runs_that_share_a_second_never_share_a_folder(tmp_path: Path, noon: datetime) -> None:
    contents = export.Contents(make_prediction(), SILENCE, noon)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: export.write_folder(tmp_path, contents), range(24)))
    assert len({folder.name for folder in folders}) == 24
    assert {"outputs_20260104_223000", "outputs_20260104_223000_2", "outputs_20260104_223000_24"} <= {
        folder.name for folder in folders
    }
    assert all((folder / "result.json").exists() for folder in folders)


def test_the_sound_is_the_file_that_libsndfile_writes(
    tmp_path: Path, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, wherever it is cut into blocks; what is beyond full scale is clipped."""
    monkeypatch.setattr("emotape.delivery.export.folder._BLOCK", 1_000)
    samples = np.random.default_rng(0).normal(0, 0.5, 4_321).astype(np.float32)
    samples[:7] = 1, -1, 1.5, -1.5, 0.9 / 32_768, -0.1 / 32_768, -1e-12
    folder = export.write_folder(tmp_path, export.Contents(make_prediction(), Waveform(samples), noon))
    wanted = io.BytesIO()
    soundfile.write(wanted, samples, 16_000, subtype="PCM_16", format="WAV")
    assert (folder / "processed_audio.wav").read_bytes() == wanted.getvalue()


def test_a_disk_that_fills_up_is_a_typed_error_and_prints_nothing(
    tmp_path: Path, noon: datetime, largest_file: Callable[[int], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with largest_file(10_000), pytest.raises(BadRequest, match="output_unwritable"):
        export.write_folder(tmp_path, export.Contents(make_prediction(), SILENCE, noon))
    assert capfd.readouterr().err == ""


def test_an_output_that_is_a_file_is_a_typed_error(tmp_path: Path, noon: datetime) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(BadRequest, match="output_unwritable"):
        export.write_folder(tmp_path / "taken", export.Contents(make_prediction(), SILENCE, noon))
