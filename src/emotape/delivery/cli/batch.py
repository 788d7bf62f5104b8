"""`emotape batch`: recordings by the million → Parquet, here or on a Ray cluster, resumable at any moment."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from emotape.delivery.cli.errors import ExitCode, outcome_code
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (
    DeviceOption,
    DtypeOption,
    GranularityName,
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
    OffloadOption,
    ThreadsOption,
)
from emotape.delivery.threads import heeded
from emotape.errors import BadRequest
from emotape.settings import read_settings, recognizer_options
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.offline.forms import Form
    from emotape.delivery.offline.output import Output, Place
    from emotape.delivery.offline.rows import Asked
    from emotape.delivery.offline.run import Engine, Tally
    from emotape.engine.result import Granularity
    from emotape.settings import Settings
    from emotape.wording import Language


@dataclass(frozen=True)
class Job:
    """What one run is asked to do, and where."""

    source: Path
    output: Path
    granularity: "Granularity"
    embedding: bool
    quality: bool
    as_json: bool
    retry_failed: bool
    part_rows: int
    ray: str | None
    workers: int | None
    worker_cpus: int | None
    settings: "Settings"
    language: "Language"


def batch(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|PARQUET|MANIFEST",
            show_default=False,
            help="A folder with its subfolders; Parquet files with a column path, or audio with the recordings"
            " themselves; or a manifest: .csv, .tsv or .jsonl with a column path, wav.scp, a list of paths.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(help="Folder for the results' parts; or a name that ends in .parquet, for one file at the end."),
    ],
    granularity: Annotated[
        GranularityName, typer.Option(help="One result for the whole, per 20 ms frame, or per segment.")
    ] = GranularityName.utterance,
    embedding: Annotated[bool, typer.Option("--embedding", help="Also keep the embedding.")] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also keep level, clipping, silence and share of speech.")
    ] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Write JSON lines instead of Parquet.")] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Also answer again what failed for a reason that may have passed."),
    ] = False,
    part_rows: Annotated[int, typer.Option(min=1, help="Recordings in one part at most.")] = 20_000,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|local", help="Answer on a Ray cluster: its address, auto, or local for a new one."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on the cluster. (default: one a GPU, else as many as fit)")
    ] = None,
    worker_cpus: Annotated[
        int | None, typer.Option(min=1, help="Processors of each worker. (default: its share, without a GPU at most 4)")
    ] = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = None,
) -> None:
    """Recognise the emotions in any number of recordings; the same command goes on after whatever stopped it.

    Exit codes: as for recognize, counting all that the output holds.
    """
    settings = read_settings(
        model=model,
        models_folder=models_folder,
        language=language,
        device=device,
        dtype=dtype,
        threads=threads,
        offload=offload,
    )
    settings, _ = heeded(context, settings)
    job = Job(
        source=source,
        output=output,
        granularity=cast("Granularity", granularity.value),
        embedding=embedding,
        quality=quality,
        as_json=as_jsonl,
        retry_failed=retry_failed,
        part_rows=part_rows,
        ray=ray,
        workers=workers,
        worker_cpus=worker_cpus,
        settings=settings,
        language=settle_language(context, settings),
    )
    _check(job)
    raise typer.Exit(_run(job))


def _check(job: Job) -> None:
    """Raise BadRequest where options do not go together or need what is not installed."""
    if job.ray is None:
        for option, given in (("--workers", job.workers), ("--worker-cpus", job.worker_cpus)):
            if given is not None:
                raise BadRequest("option_needs", option=option, needed="--ray ADDRESS")
    else:
        check_ray()
    if job.as_json and job.output.suffix == ".parquet":
        raise BadRequest("options_clash", options=f"--jsonl, --output {job.output}")


def check_ray() -> None:
    """Raise BadRequest ("batch_needs_ray") unless the extra [cluster] is here."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise BadRequest("batch_needs_ray") from error


def _run(job: Job) -> int:
    """Find out what is to be done, do it, and return the exit code."""
    from emotape.delivery.cli.show import terminal
    from emotape.delivery.offline.forms import form_of
    from emotape.delivery.offline.output import Output
    from emotape.delivery.offline.reporting import Count, Report
    from emotape.delivery.offline.rows import Asked
    from emotape.delivery.offline.run import facts_of, run, source_of

    place = _place(job)
    source = source_of(job.source, place.folder)
    asked = Asked(job.granularity, job.embedding, job.quality, _scores(job), source.columns)
    form = form_of(asked, as_json=job.as_json)
    console = terminal(stderr=True)
    with Output(place, form, facts_of(asked, job.source, form)) as output:
        if job.retry_failed:
            output.forget_passing()
        with _engine(job, asked, form, output) as engine, Count(source) as count:
            report = Report(console, job.language, count)
            try:
                with report:
                    tally = run(source, output, engine, report.tell)
            except KeyboardInterrupt:
                held = str(_place(job).folder)
                console.print(interface_text("batch_go_on", job.language, path=held), soft_wrap=True)
                raise typer.Exit(ExitCode.INTERRUPTED) from None
        console.print(report.line(tally), soft_wrap=True)
        console.print(_summary(job, output, tally), soft_wrap=True)
        return outcome_code(output.done, output.failed)


def _summary(job: Job, output: "Output", tally: "Tally") -> str:
    facts = {"done": output.done, "failed": output.failed, "known": tally.known, "path": str(job.output)}
    return interface_text("batch_summary", job.language, **facts)


def _place(job: Job) -> "Place":
    from emotape.delivery.offline.output import Place

    if job.output.suffix != ".parquet" or job.output.is_dir():
        return Place(job.output, rows=job.part_rows)
    return Place(job.output.with_name(f"{job.output.name}.parts"), job.output, job.part_rows)


def _scores(job: Job) -> tuple[str, ...]:
    """Return the keys of the model's scores. Raises BadRequest ("no_scores_in_model") where nothing would come."""
    from emotape.delivery.offline.rows import score_keys
    from emotape.model.weights import read_labels
    from emotape.store.catalogue import resolve

    entry = resolve(job.settings.model, job.settings.models_folder)
    keys = score_keys(read_labels(entry.path))
    if not keys and not job.embedding:
        raise BadRequest("no_scores_in_model", model=entry.name)
    return keys


@contextmanager
def _engine(job: Job, asked: "Asked", form: "Form", output: "Output") -> "Iterator[Engine]":
    """Load the model here, or join the cluster."""
    if job.ray is not None:
        with _cluster(job, asked, job.ray) as engine:
            yield engine
        return
    from emotape.delivery.engine_log import EngineLog
    from emotape.delivery.offline.local import arithmetic_of, local_engine
    from emotape.delivery.offline.run import OneMachine
    from emotape.recognizer import Recognizer

    settings = job.settings
    log = EngineLog(job.language)
    with Recognizer(settings.model, options=recognizer_options(settings), observer=log) as recognizer:
        output.settle(arithmetic_of(recognizer))
        yield OneMachine(local_engine(recognizer, asked, job.language), form)


@contextmanager
def _cluster(job: Job, asked: "Asked", address: str) -> "Iterator[Engine]":
    from emotape.delivery.offline.cluster import Cluster, Order
    from emotape.delivery.offline.placement import connected, options_on, workers_for

    model = job.settings.model
    if model is not None and Path(model).is_dir():
        model = str(Path(model).resolve())  # workers have a working folder of their own
    with connected(address):
        workers = workers_for(job.workers, job.worker_cpus)
        options = options_on(workers, recognizer_options(job.settings))
        yield Cluster(Order(model, options, asked, job.language, job.as_json), workers)
