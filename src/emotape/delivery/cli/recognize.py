"""`emotape recognize`: files, folders, patterns, lists, standard input → emotions, on screen, as data, in folders."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from emotape.delivery.cli.answerer import check_local, opened
from emotape.delivery.cli.errors import outcome_code
from emotape.delivery.cli.inputs import find_clips
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (
    ChannelName,
    DeviceOption,
    DtypeOption,
    ExportName,
    GranularityName,
    KeyOption,
    LanguageName,
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
    OffloadOption,
    ServerOption,
    ThreadsOption,
)
from emotape.delivery.folders import Search
from emotape.delivery.threads import heeded
from emotape.errors import BadRequest
from emotape.settings import read_settings

if TYPE_CHECKING:
    from emotape.audio.decode import ChannelMode
    from emotape.engine.result import Granularity
    from emotape.settings import Settings
    from emotape.wording import Language


@dataclass(frozen=True)
class Request:
    """What one run is asked to do with every recording, and how it shows the results."""

    granularity: "Granularity" = "utterance"
    channels: "ChannelMode" = "mix"
    embedding: bool = False
    quality: bool = False
    output: Path | None = None
    exports: tuple[str, ...] = ()
    resume: bool = False
    form: str = "text"
    language: "Language" = "en"
    names: "Language | None" = None


def recognize(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR|GLOB|LIST|-",
            show_default=False,
            help="Recordings; folders; patterns in quotation marks; a Kaldi wav.scp or a list of paths (.scp, .txt,"
            " .lst, .list); - for standard input. Put -- before names that begin with a hyphen.",
        ),
    ],
    granularity: Annotated[
        GranularityName | None,
        typer.Option(help="One result for the whole, per 20 ms frame, or per segment. (default: utterance)"),
    ] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="Also give the embedding.")] = False,
    channels: Annotated[
        ChannelName, typer.Option(help="Mix the channels, or answer each one separately.")
    ] = ChannelName.mix,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also report level, clipping, silence and share of speech.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write a result folder for each recording into this folder.")
    ] = None,
    export: Annotated[
        list[ExportName] | None,
        typer.Option(help="Also write segments into the result folder in this format; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Pass over what --output already holds for the same content and options.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Enter subfolders.")] = False,
    labels: Annotated[
        LanguageName | None, typer.Option(help="Language of the emotions' names. (default: as --language)")
    ] = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = None,
    server: ServerOption = None,
    key: KeyOption = None,
) -> None:
    """Recognise the emotions in recordings.

    Exit codes: 0 all answered, 1 some failed, 2 wrong usage, 3 all failed, 70 emotape's own fault, 130 interrupted.
    """
    local = {
        "model": model,
        "models_folder": models_folder,
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "offload": offload,
    }
    settings = read_settings(language=language, server_url=server, api_key=key, **local)
    check_local(settings, local)
    settings, _ = heeded(context, settings)
    exports = tuple(dict.fromkeys(name.value for name in export or ()))
    request = Request(
        granularity=cast("Granularity", _granularity(granularity, exports)),
        channels=cast("ChannelMode", channels.value),
        embedding=embedding,
        quality=quality,
        output=output,
        exports=exports,
        resume=resume,
        form=_form(as_json=as_json, as_jsonl=as_jsonl, as_csv=as_csv),
        language=settle_language(context, settings),
        names=cast("Language", labels.value) if labels else None,
    )
    check(request)
    raise typer.Exit(_run(files, request, Search(recursive, output), settings))


def _granularity(given: GranularityName | None, exports: tuple[str, ...]) -> str:
    """Return the granularity asked for; exports are made of segments, so they imply it."""
    if given is None:
        return "segment" if exports else "utterance"
    if exports and given is not GranularityName.segment:
        raise BadRequest("option_needs", option="--export", needed="--granularity segment")
    return given.value


def _form(**flags: bool) -> str:
    chosen = [name.removeprefix("as_") for name, given in flags.items() if given]
    if len(chosen) > 1:
        raise BadRequest("options_clash", options=", ".join(f"--{name}" for name in chosen))
    return chosen[0] if chosen else "text"


def check(request: Request) -> None:
    """Raise BadRequest where an option lacks what it acts on."""
    if request.output is None:
        for option, given in (("--resume", request.resume), ("--export", bool(request.exports))):
            if given:
                raise BadRequest("option_needs", option=option, needed="--output DIR")
        if request.embedding and request.form not in ("json", "jsonl"):
            raise BadRequest("option_needs", option="--embedding", needed="--output DIR, --json / --jsonl")


def _run(files: list[str], request: Request, search: Search, settings: "Settings") -> int:
    """Find the clips, load the model, answer, and return the exit code."""
    from emotape.delivery.cli.answering import answer_all
    from emotape.delivery.cli.screen import Screen

    screen = Screen(request)
    inputs = find_clips(files, sys.stdin.buffer, search)
    screen.tell_skipped(inputs.skipped)
    with opened(settings, request.language) as found:
        tally = answer_all(
            inputs.clips,
            found.recognizer,
            request,
            screen,
            limits=found.limits,
            arithmetic=found.arithmetic,
            decode=found.decode,
        )
    return outcome_code(tally.done, tally.failed)
