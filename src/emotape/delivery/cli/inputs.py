"""What the command's arguments mean: files, folders, patterns, lists of files, and standard input → clips in order."""

from __future__ import annotations

import codecs
import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from emotape.delivery.folders import PLAIN, look_into, unreadable
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emotape.delivery.folders import Search

STDIN: Final = "-"
LISTS: Final = frozenset({".scp", ".list", ".lst", ".txt"})


@dataclass(frozen=True)
class Clip:
    """One recording to answer. `name` is what the results call it; `key` is its name in a wav.scp.

    `source` is a path, an open binary file, or the error that stands for something that is not there.
    """

    name: str
    source: Path | BinaryIO | EmotapeError
    key: str | None = None


@dataclass(frozen=True)
class Skipped:
    """What a folder held beside audio: counts of its other files by ending, and of folders not entered."""

    folder: str
    endings: tuple[tuple[str, int], ...]
    folders: int


@dataclass(frozen=True)
class Inputs:
    """The clips in the order of the arguments, and what was passed over."""

    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...]


def find_clips(arguments: Iterable[str], standard_input: BinaryIO, search: Search = PLAIN) -> Inputs:
    """Return the clips that `arguments` name. What does not exist becomes a clip that carries its error.

    Raises BadRequest ("stdin_twice") when `-` is given more than once.
    """
    given = list(arguments)
    if given.count(STDIN) > 1:
        raise BadRequest("stdin_twice")
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for argument in given:
        if argument == STDIN:
            clips.append(Clip(STDIN, standard_input))
        else:
            _add(argument, search, clips, skipped)
    return Inputs(tuple(clips), tuple(skipped))


def _add(argument: str, search: Search, clips: list[Clip], skipped: list[Skipped]) -> None:
    if not glob.has_magic(argument) or os.path.lexists(argument):
        _add_named(argument, search, clips, skipped)
        return
    matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        clips.append(Clip(argument, BadRequest("no_match", pattern=argument)))
    for match in matches:
        if search.recursive or not os.path.isdir(match):  # noqa: PTH112 - Path.is_dir raises in a closed folder
            _add_named(match, search, clips, skipped)


def _add_named(name: str, search: Search, clips: list[Clip], skipped: list[Skipped]) -> None:
    path = Path(name)
    if os.path.isdir(name):  # noqa: PTH112
        _add_folder(name, search, clips, skipped)
    elif path.suffix.lower() in LISTS:
        clips.extend(_listed(path))
    else:
        clips.append(Clip(name, path))


def _add_folder(folder: str, search: Search, clips: list[Clip], skipped: list[Skipped]) -> None:
    held = look_into(folder, search)
    clips.extend(_found(one) for one in held.found or [BadRequest("no_audio_in_folder", path=folder)])
    if held.others or held.closed:
        skipped.append(Skipped(folder, held.others, held.closed))


def _found(found: Path | BadRequest) -> Clip:
    return Clip(str(found.facts["path"] if isinstance(found, BadRequest) else found), found)


def _listed(listing: Path) -> Iterator[Clip]:
    """Yield the clips of a Kaldi wav.scp (`key path` a line) or of a plain list of paths."""
    try:
        content = listing.read_bytes()
    except OSError as error:
        yield _found(unreadable(error))
        return
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as Windows' editors save "Unicode"
    text = content.decode("utf-16", "replace") if wide else os.fsdecode(content).removeprefix("\ufeff")
    for line in text.split("\n"):
        if line.strip():
            yield listed_clip(line.strip(), listing.parent)


def listed_clip(line: str, folder: Path) -> Clip:
    """Return the clip of one line of a wav.scp or of a list of paths that lies in `folder`."""
    whole = _located(line, folder)
    if os.path.isfile(whole):  # noqa: PTH113 - Path.is_file raises in a closed folder
        return Clip(line, whole)
    key, *rests = line.split(maxsplit=1)
    if not rests:
        return Clip(line, whole)
    rest = rests[0]
    if rest.endswith("|"):
        return Clip(rest, BadRequest("piped_command", command=rest), key)
    return Clip(rest, _located(rest, folder), key)


def _located(path: str, folder: Path) -> Path:
    """Return `path` as seen from the working folder if it is there, else as seen from its list."""
    return Path(path) if os.path.exists(path) else folder / path  # noqa: PTH110 - Path.exists raises, too
