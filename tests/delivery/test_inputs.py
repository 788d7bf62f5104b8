"""Arguments → clips: every kind of argument, odd names, and what is not there."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.cli.inputs import Clip, Inputs, find_clips
from emotape.delivery.folders import Search
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Callable

STDIN = io.BytesIO(b"sound")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make empty files under the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return make


def find(*arguments: str, search: Search | None = None) -> Inputs:
    return find_clips(arguments, STDIN, search or Search())


def names(inputs: Inputs) -> list[str]:
    return [clip.name for clip in inputs.clips]


def code(clip: Clip) -> str:
    assert isinstance(clip.source, EmotapeError)
    return clip.source.code


def test_named_files_are_taken_whatever_their_ending_and_in_their_order(files: Callable[..., None]) -> None:
    files("b.xyz", "a.wav", "with space.mp3", "中文 录音.m4a")
    given = ["b.xyz", "a.wav", "with space.mp3", "中文 录音.m4a", "absent.wav"]
    found = find(*given)
    assert names(found) == given
    assert [clip.source for clip in found.clips] == [Path(name) for name in given]


def test_a_folder_gives_its_audio_sorted_and_says_what_it_passed_over(files: Callable[..., None]) -> None:
    files("d/b.WAV", "d/a.opus", "d/notes.pdf", "d/more.pdf", "d/README", "d/._a.wav", "d/sub/c.wav")
    found = find("d")
    assert names(found) == ["d/a.opus", "d/b.WAV"]
    (skipped,) = found.skipped
    assert dict(skipped.endings) == {".pdf": 2, "README": 1, ".wav": 1}
    assert skipped.folders == 1


def test_recursion_enters_subfolders_but_neither_hidden_ones_nor_the_output_folder(files: Callable[..., None]) -> None:
    files("d/a.wav", "d/sub/c.wav", "d/.trash/b.wav", "d/out/outputs_20260101_000000/processed_audio.wav")
    found = find("d", search=Search(recursive=True, output=Path("d/out")))
    assert names(found) == ["d/a.wav", "d/sub/c.wav"]


def test_a_folder_without_audio_is_an_error_of_its_own(files: Callable[..., None]) -> None:
    files("d/notes.pdf", "a.wav")
    found = find("d", "a.wav")
    assert code(found.clips[0]) == "no_audio_in_folder"
    assert names(found) == ["d", "a.wav"]


def test_a_pattern_that_the_shell_left_alone_is_matched(files: Callable[..., None]) -> None:
    files("a1.wav", "a2.wav", "b.wav", "sub/a3.wav")
    assert names(find("a*.wav")) == ["a1.wav", "a2.wav"]
    assert names(find("**/a?.wav")) == ["a1.wav", "a2.wav", "sub/a3.wav"]
    assert code(find("z*.wav").clips[0]) == "no_match"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(files: Callable[..., None]) -> None:
    files("take[1].wav", "take1.wav")
    assert names(find("take[1].wav")) == ["take[1].wav"]


def test_a_kaldi_list_gives_keys_and_paths_and_never_runs_a_command(files: Callable[..., None]) -> None:
    files("data/u1.wav", "elsewhere/u 2.wav")
    Path("data/wav.scp").write_text(
        "\ufeffutt1 u1.wav\n\nutt2\telsewhere/u 2.wav\nutt3 touch ran.wav |\nutt4 gone.wav\n", encoding="utf-8"
    )
    first, second, third, fourth = find("data/wav.scp").clips
    assert (first.key, first.source) == ("utt1", Path("data/u1.wav"))
    assert (second.key, second.source) == ("utt2", Path("elsewhere/u 2.wav"))
    assert (third.key, code(third)) == ("utt3", "piped_command")
    assert not Path("ran.wav").exists()
    assert (fourth.key, fourth.source) == ("utt4", Path("data/gone.wav"))


def test_a_plain_list_may_hold_paths_with_spaces(files: Callable[..., None]) -> None:
    files("one two.wav", "三.wav")
    Path("list.txt").write_text("one two.wav\n三.wav\n", encoding="utf-8")
    found = find("list.txt")
    assert [(clip.key, clip.source) for clip in found.clips] == [(None, Path("one two.wav")), (None, Path("三.wav"))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_list_is_read_as_editors_save_it(files: Callable[..., None], encoding: str) -> None:
    files("一.wav", "b.wav")
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    Path("list.txt").write_bytes(f"{mark}一.wav\r\nb.wav\r\n".encode(encoding))
    assert names(find("list.txt")) == ["一.wav", "b.wav"]


def test_a_list_that_is_not_there_is_an_error_of_its_own(files: Callable[..., None]) -> None:
    files("a.wav")
    found = find("gone.scp", "a.wav")
    assert code(found.clips[0]) == "unreadable"
    assert names(found) == ["gone.scp", "a.wav"]


def test_what_the_system_refuses_to_look_at_is_one_clip_among_the_others(files: Callable[..., None]) -> None:
    """A path in a closed folder, or a name that is too long: asking whether it is a folder already fails."""
    files("a.wav")
    long = "x" * 300 + ".wav"
    Path("list.txt").write_text(f"{long}\n", encoding="utf-8")
    assert names(find(long, "list.txt", "a.wav")) == [long, long, "a.wav"]


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names there are Unicode")
def test_a_name_that_is_not_utf8_still_leads_to_its_file(files: Callable[..., None]) -> None:
    files("d/a.wav")
    odd = os.fsencode("d/") + b"gr\xfc\xdf.wav"
    Path(os.fsdecode(odd)).write_bytes(b"x")
    found = find("d")
    assert [os.fsencode(clip.name) for clip in found.clips] == [b"d/a.wav", odd]
    assert isinstance(found.clips[1].source, Path)
    assert found.clips[1].source.read_bytes() == b"x"


def test_names_that_begin_with_a_hyphen_are_files(files: Callable[..., None]) -> None:
    files("-x.wav", "--output")
    assert names(find("-x.wav", "--output")) == ["-x.wav", "--output"]


def test_standard_input_is_one_clip_and_can_be_named_once() -> None:
    (clip,) = find("-").clips
    assert clip.source is STDIN
    with pytest.raises(BadRequest, match="stdin_twice"):
        find("-", "-")
