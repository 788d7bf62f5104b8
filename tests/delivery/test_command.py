"""The command as users run it, on real recordings with the bundled model: output, exit codes, pipes, signals."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import srt
from typer.testing import CliRunner

from emotape import __main__
from emotape.delivery.cli import app
from emotape.delivery.ledger import NAME
from emotape.model.labels import OFFICIAL_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

AUDIO = Path(__file__).parents[1] / "data" / "audio"
SPEECH = AUDIO / "thorsten_neutral.wav"
LONGER = AUDIO / "jfk.flac"


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run without the settings, the models and the language of whoever runs the tests."""
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Callable[..., Result]:
    runner = CliRunner()

    def go(*arguments: str | Path, stdin: bytes | None = None) -> Any:
        return runner.invoke(app, [str(argument) for argument in arguments], input=stdin)

    return go


def started(*arguments: str | bytes | Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own."""
    command = [sys.executable, "-m", "emotape", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd)


def test_help_and_version_import_nothing_heavy() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from emotape.delivery.cli import app\n"
        "for arguments in (['--help'], ['--version'], ['recognize', '--help']):\n"
        "    assert CliRunner().invoke(app, arguments).exit_code == 0\n"
        "print(sorted({'torch', 'av', 'numpy', 'gradio', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_json_of_real_speech_is_whole(run: Callable[..., Result]) -> None:
    done = run("recognize", SPEECH, "--json", "--quality", "--embedding")
    assert done.exit_code == 0
    (found,) = json.loads(done.stdout)
    assert found["file"] == str(SPEECH)
    assert list(found["scores"]) == list(OFFICIAL_KEYS)
    assert sum(found["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert found["confidence"] == max(found["scores"].values())
    assert found["details"]["experimental"] is True
    assert found["details"]["seconds"] == pytest.approx(soundfile.info(SPEECH).duration, abs=0.01)
    assert len(found["details"]["embedding"]) > 1
    assert found["details"]["quality"]["rms_dbfs"] < 0


def test_one_bad_file_among_good_ones_is_told_and_costs_exit_code_one(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    done = run("recognize", SPEECH, tmp_path / "text.wav", tmp_path / "gone.wav", SPEECH, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [("error" in one) for one in found] == [False, True, True, False]
    assert all(set(one["error"]) == {"code", "message", "cause", "cure"} for one in found[1:3])
    assert run("recognize", tmp_path / "gone.wav").exit_code == 3


def test_forced_colours_bring_no_moving_bar_into_a_pipe(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    found = run("recognize", AUDIO / "thorsten_neutral.wav", AUDIO / "thorsten_neutral.webm", "--json")
    assert found.exit_code == 0
    assert "\x1b[?25l" not in found.stderr, "the cursor is hidden where a bar moves"


@pytest.mark.parametrize(
    "arguments",
    [
        ["recognize"],
        ["recognize", SPEECH, "--json", "--csv"],
        ["recognize", SPEECH, "--resume"],
        ["recognize", SPEECH, "--export", "srt"],
        ["recognize", SPEECH, "--embedding"],
        ["recognize", SPEECH, "--output", "o", "--export", "srt", "--granularity", "frame"],
        ["recognize", SPEECH, "--granularity", "word"],
        ["recognize", SPEECH, "--dtype", "float7"],
        ["recognize", SPEECH, "--device", "cpu", "--offload", "2"],
        ["recognize", SPEECH, "--offload", "-1"],
        ["recognize", "-", "-"],
        ["evaluate", "gone.csv"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_two_and_never_a_traceback(run: Callable[..., Result], arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert done.stderr.strip()


def test_a_model_that_is_not_there_is_exit_code_three(run: Callable[..., Result]) -> None:
    done = run("recognize", SPEECH, "--model", "./nowhere")
    assert done.exit_code == 3
    assert "Remedy" in done.stderr


def test_errors_speak_the_language_asked_for(run: Callable[..., Result]) -> None:
    told = run("recognize", SPEECH, "--model", "./nowhere", "--language", "zh").stderr
    assert all(words in told for words in ("错误：", "  原因：", "  解决办法："))


def test_a_fault_nobody_foresaw_is_exit_code_seventy_and_debug_shows_where(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("emotape.delivery.cli.recognize.find_clips", surprise)
    plain, debugged = run("recognize", SPEECH), run("--debug", "recognize", SPEECH)
    assert plain.exit_code == debugged.exit_code == 70
    assert "Traceback" not in plain.output
    assert "surprise" in plain.stderr
    assert "Traceback" in debugged.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_as_such_and_is_no_fault_of_emotape() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "emotape", "recognize", str(SPEECH), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "[output_unwritable]" in done.stderr
    assert "No space left" in done.stderr


def test_ctrl_c_before_the_command_is_imported_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "emotape.delivery.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "emotape.delivery.cli")
    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    with pytest.raises(SystemExit, match="130"):
        __main__.main()
    assert capsys.readouterr().err == ""


def test_standard_input_gives_the_same_as_the_file(run: Callable[..., Result]) -> None:
    (file,) = json.loads(run("recognize", SPEECH, "--json").stdout)
    (piped,) = json.loads(run("recognize", "-", "--json", stdin=SPEECH.read_bytes()).stdout)
    assert piped["file"] == "-"
    assert piped["scores"] == file["scores"]


def test_a_result_folder_of_real_speech_holds_the_known_files(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run(
        "recognize", LONGER, "--output", tmp_path / "out", "--embedding", "--export", "srt", "--export", "textgrid"
    )
    assert done.exit_code == 0
    (folder,) = (tmp_path / "out").glob("outputs_*")
    found = json.loads((folder / "result.json").read_text("utf-8"))
    assert list(found) == ["emotion", "confidence", "scores", "granularity", "timestamp"]
    assert found["granularity"] == "segment"
    details = json.loads((folder / "details.json").read_text("utf-8"))
    sound = soundfile.info(folder / "processed_audio.wav")
    assert (sound.samplerate, sound.channels) == (16_000, 1)
    assert sound.duration == pytest.approx(details["seconds"])
    assert np.load(folder / "embedding.npy").dtype == np.float32
    frames = list(csv.DictReader(io.StringIO((folder / "frames.csv").read_text("utf-8"))))
    assert float(frames[-1]["stop"]) <= details["seconds"]
    spoken = [segment for segment in details["segments"] if segment["emotion"]]
    assert len(list(srt.parse((folder / "segments.srt").read_text("utf-8")))) == len(spoken)


def test_text_names_an_experimental_model_once_and_csv_reads_back(run: Callable[..., Result]) -> None:
    done = run("recognize", SPEECH, LONGER)
    assert done.stderr.count("emotape models pull plus-large") == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [str(SPEECH), str(LONGER)]
    rows = list(csv.DictReader(io.StringIO(run("recognize", SPEECH, LONGER, "--csv").stdout)))
    assert [row["emotion"] in OFFICIAL_KEYS for row in rows] == [True, True]


def test_evaluate_counts_what_it_can_answer(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [f"{SPEECH},中立,1", f"{AUDIO / 'thorsten_angry.mp3'},anger,1", f"{LONGER},other,2", "gone.wav,angry,1"]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,label,speaker", *rows]), "utf-8")
    done = run("evaluate", "manifest.csv", "--json", "--output", "evaluation")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (found["n"], list(found["per_class"])) == (2, ["angry", "neutral"])
    assert found["details"]["left_out"] == {"other": 1}
    assert [error["line"] for error in found["details"]["errors"]] == [5]
    assert {path.name for path in Path("evaluation").iterdir()} == {
        "confusion.png",
        "evaluation.json",
        "predictions.csv",
        "reliability.png",
        "risk-coverage.png",
    }
    text = run("evaluate", "manifest.csv", "--speakers", "1", "--language", "zh")
    assert "平均召回率" in text.stdout
    assert "愤怒" in text.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="names there are Unicode")
def test_odd_names_go_through_and_come_back_as_their_bytes(tmp_path: Path) -> None:
    names = [b"-x.wav", "空格 名.wav".encode(), b"gr\xfc\xdf.wav"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(SPEECH.read_bytes())
    with started("recognize", "--json", "--", *names, cwd=tmp_path) as process:
        out, _ = process.communicate()
    assert process.returncode == 0
    assert [os.fsencode(found["file"]) for found in json.loads(out)] == names


def test_a_reader_that_leaves_ends_the_run_quietly(tmp_path: Path) -> None:
    with started("recognize", "--jsonl", *[SPEECH] * 40) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["file"] == str(SPEECH)
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 1
    assert told == b""


def test_ctrl_c_ends_with_130_and_keeps_what_is_done(tmp_path: Path) -> None:
    with started("recognize", "--json", "--output", tmp_path / "out", SPEECH, "-") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        opening = process.stdout.readline() + process.stdout.read(1)  # the first result is there
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        rest, told = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert [found["file"] for found in json.loads(opening + rest)] == [str(SPEECH)]
    assert told.decode().strip() == "Interrupted; results up to here are complete."
    assert len(list((tmp_path / "out").glob("outputs_*/result.json"))) == 1


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    clips = []
    sound, rate = soundfile.read(SPEECH)
    for number in range(12):
        clips.append(tmp_path / f"{number:02}.wav")
        soundfile.write(clips[-1], sound[number * 100 :], rate)
    ask: list[str | Path] = ["recognize", *clips, "--output", tmp_path / "out", "--jsonl"]
    with started(*ask) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    done = len((tmp_path / "out" / NAME).read_bytes().splitlines())
    assert 1 <= done < len(clips)
    with started(*ask, "--resume") as process:
        out, told = process.communicate()
    assert process.returncode == 0
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(clip) for clip in clips]
    assert f"{done} of 12 were already done" in told.decode()
    assert len((tmp_path / "out" / NAME).read_bytes().splitlines()) == len(clips)
