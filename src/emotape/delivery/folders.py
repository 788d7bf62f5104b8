"""Which files of a folder are recordings: by their endings, in order, at any depth."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emotape.errors import BadRequest

_AUDIO_ENDINGS: Final = """
    .3gp .aac .aif .aifc .aiff .amr .ape .au .caf .flac .m4a .m4b .mka .mkv .mov .mp2 .mp3 .mp4 .mpga
    .oga .ogg .opus .ra .snd .spx .tta .wav .wave .weba .webm .wma .wv
"""
AUDIO: Final = frozenset(_AUDIO_ENDINGS.split())
"""Endings by which a folder's files are taken for audio; a file that is named outright is taken whatever its ending."""


@dataclass(frozen=True)
class Search:
    """How folders are read: into their subfolders or not, and never into `output`, where results are written."""

    recursive: bool = False
    output: Path | None = None


PLAIN: Final = Search()


@dataclass(frozen=True)
class Holding:
    """What a folder holds.

    found     its recordings, folder by folder and by name in each; the error of a folder that cannot be read
    others    counts of its other files, by ending
    closed    how many folders were not entered for want of `recursive`
    """

    found: tuple[Path | BadRequest, ...]
    others: tuple[tuple[str, int], ...]
    closed: int


def look_into(folder: str | Path, search: Search = PLAIN) -> Holding:
    """Return what a folder holds. What is hidden holds no recordings, and links to folders are not followed."""
    found: list[Path | BadRequest] = []
    others: Counter[str] = Counter()
    closed = 0
    for parent, folders, files in os.walk(folder, onerror=lambda error: found.append(unreadable(error))):
        closed += _prune(parent, folders, search)
        for file in sorted(files):
            ending = Path(file).suffix.lower()
            if ending in AUDIO and not file.startswith("."):
                found.append(Path(parent) / file)
            else:
                others[ending or file] += 1
    return Holding(tuple(found), tuple(others.most_common()), closed)


def _prune(parent: str, folders: list[str], search: Search) -> int:
    """Order the folders that a walk enters next; return how many are not entered for want of `recursive`."""
    if not search.recursive:
        closed = len(folders)
        folders.clear()
        return closed
    output = search.output.resolve() if search.output else None
    entered = (name for name in folders if not name.startswith("."))
    folders[:] = sorted(name for name in entered if output is None or (Path(parent) / name).resolve() != output)
    return 0


def unreadable(error: OSError) -> BadRequest:
    """Return what is said of a file or a folder that the system does not let us read."""
    name = os.fsdecode(error.filename)
    return BadRequest("unreadable", path=name, reason=error.strerror or str(error))
