"""`emotape models`: what there is, getting more, converting, verifying."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import LanguageOption, ModelsFolderOption  # noqa: TC001 - so do these
from emotape.errors import BadRequest
from emotape.settings import read_settings
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

    from emotape.model.weights import Verification
    from emotape.store.catalogue import Listing, ModelEntry
    from emotape.store.pull import PullEvent
    from emotape.wording import Language

app = typer.Typer(help="List, pull, convert and verify models.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_command(
    context: typer.Context,
    as_json: JsonOption = False,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
) -> None:
    """List the models that are here and those that can be pulled. Asks no hub."""
    from emotape.store.catalogue import list_models

    folder, spoken = _settled(context, models_folder, language)
    listings = list_models(folder)
    if as_json:
        _print_json([_listing_facts(listing, spoken) for listing in listings])
        return
    heads = ("model", "state", "on_disk", "download", "what")
    _print_table(heads, (_listing_row(listing, spoken) for listing in listings), spoken)


@app.command()
def pull(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="plus-large, plus-base, plus-seed or base.", show_default=False)],
    hub: Annotated[
        Literal["auto", "huggingface", "modelscope"],
        typer.Option("--from", help="Hub to ask; auto tries Hugging Face, then ModelScope."),
    ] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Address of a mirror; needs --from.")] = None,
    keep_original: Annotated[bool, typer.Option("--keep-original", help="Keep model.pt as well.")] = False,
    as_json: JsonOption = False,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
) -> None:
    """Download a model, check its digest and convert it. Continues where it was interrupted."""
    from emotape.store.pull import PullOptions
    from emotape.store.pull import pull as pull_model

    folder, spoken = _settled(context, models_folder, language)
    with _pull_display(spoken) as display:
        entry = pull_model(name, folder, PullOptions(hub, revision, endpoint, keep_original), display)
    if as_json:
        _print_json(_entry_facts(entry))
    else:
        typer.echo(interface_text("pull_done", spoken, model=entry.name, path=entry.path))


@app.command()
def convert(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Folder with model.pt, config.yaml and tokens.txt.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Folder to make. Unset: one of the same name in the models folder.")
    ] = None,
    as_json: JsonOption = False,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
) -> None:
    """Convert a downloaded checkpoint to safetensors, with only what inference needs."""
    from emotape.model.weights import convert as convert_model
    from emotape.store.catalogue import default_folder

    folder, spoken = _settled(context, models_folder, language)
    target = output or (folder or default_folder()) / path.resolve().name
    if target.exists():
        raise BadRequest("conversion_target_taken", path=target)
    made = convert_model(path, target)
    if as_json:
        facts = {"digest": made.digest, "parameters": made.parameters, "bytes": made.bytes}
        _print_json({"path": str(target)} | facts)
    else:
        facts = {"digest": made.digest[:16], "parameters": made.parameters / 1e6, "size": _size(made.bytes)}
        typer.echo(interface_text("models_converted", spoken, path=target, **facts))


@app.command()
def verify(
    context: typer.Context,
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or folders. Unset: all that are here.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
) -> None:
    """Read models whole and compare their digests with the noted ones. Exit code 1 if one is damaged."""
    from emotape.model.weights import verify as verify_model
    from emotape.store.catalogue import list_models, resolve

    folder, spoken = _settled(context, models_folder, language)
    named = [resolve(model, folder) for model in models or ()]
    entries = named or [listing.entry for listing in list_models(folder) if listing.entry]
    verdicts = [(entry, verify_model(entry.path)) for entry in entries]
    if as_json:
        _print_json([_verdict_facts(entry, verdict) for entry, verdict in verdicts])
    else:
        rows = (_verdict_row(entry, verdict, spoken) for entry, verdict in verdicts)
        _print_table(("model", "state", "digest", "folder"), rows, spoken)
    if not all(verdict.ok for _, verdict in verdicts):
        raise typer.Exit(1)


def _settled(context: typer.Context, folder: Path | None, language: object) -> tuple[Path | None, Language]:
    """Return the models folder and the language that flags, environment and settings files name."""
    settings = read_settings(models_folder=folder, language=language)
    return settings.models_folder, settle_language(context, settings)


@contextmanager
def _pull_display(language: Language) -> Iterator[_PullDisplay]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from emotape.delivery.cli.show import terminal

    console = terminal(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive) as progress:
        yield _PullDisplay(progress, language)


class _PullDisplay:
    """Shows what a pull tells: lines for what happens, a bar for the bytes; all on standard error."""

    def __init__(self, progress: Progress, language: Language) -> None:
        self._progress = progress
        self._language = language
        self._task: TaskID | None = None

    def __call__(self, event: PullEvent) -> None:
        from emotape.store import pull as told
        from emotape.store.hubs import TITLES

        match event:
            case told.AlreadyThere(model):
                self._say("pull_already", model=model)
            case told.Waiting(model):
                self._say("pull_waiting", model=model)
            case told.HubFailed(_, fault, next_hub):
                text = fault.text(self._language)
                self._say("pull_next_hub", message=text.message, cause=text.cause, next_hub=TITLES[next_hub])
            case told.Found(hub, repository, revision, size):
                facts = {"hub": TITLES[hub], "repository": repository, "revision": revision[:12]}
                self._say("pull_found", **facts, size=_size(size))
            case told.Received(here, total):
                self._advance(here, total)
            case told.Converting(model):
                self._say("pull_converting", model=model)

    def _say(self, code: str, **facts: object) -> None:
        text = interface_text(code, self._language, **facts)
        self._progress.console.print(text, soft_wrap=True)

    def _advance(self, here: int, total: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task("", total=total)
        self._progress.update(self._task, completed=here, total=total)


def _listing_row(listing: Listing, language: Language) -> tuple[str, ...]:
    state = interface_text(f"models_{listing.state}", language)
    if listing.default:
        state += f" ({interface_text('models_default', language)})"
    what = listing.summary(language)
    if listing.entry and listing.entry.experimental:
        what = f"{interface_text('models_experimental', language)} {what}"
    on_disk = _size(listing.bytes) if listing.entry else "–"
    download = "–" if listing.entry else f"≈ {_size(listing.download_bytes)}"
    return listing.name, state, on_disk, download, what


def _listing_facts(listing: Listing, language: Language) -> dict[str, Any]:
    facts = {
        "name": listing.name,
        "state": listing.state,
        "default": listing.default,
        "bytes": listing.bytes,
        "download_bytes": listing.download_bytes,
        "summary": listing.summary(language),
    }
    return facts | (_entry_facts(listing.entry) if listing.entry else {})


def _entry_facts(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": str(entry.path),
        "experimental": entry.experimental,
        "origin": entry.origin,
        "digest": entry.digest,
    }


def _verdict_row(entry: ModelEntry, verdict: Verification, language: Language) -> tuple[str, ...]:
    fine = interface_text("models_whole" if verdict.expected else "models_never_noted", language)
    return entry.name, "; ".join(verdict.problems) or fine, (verdict.digest or "–")[:16], str(entry.path)


def _verdict_facts(entry: ModelEntry, verdict: Verification) -> dict[str, Any]:
    facts = {"ok": verdict.ok, "digest": verdict.digest, "expected": verdict.expected}
    return {"name": entry.name, "path": str(entry.path)} | facts | {"problems": list(verdict.problems)}


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 10**9 else f"{count / 1e6:.1f} MB"


def _print_table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], language: Language) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from emotape.delivery.cli.show import terminal
    from emotape.delivery.cli.streams import printable

    table = Table(*(interface_text(f"models_{head}", language) for head in heads), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # folders may have any name
    terminal().print(table)


def _print_json(facts: object) -> None:
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
