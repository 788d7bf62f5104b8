"""`emotape bench`: speed and memory, measured against others on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

import typer

from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import LanguageOption, ModelOption, ModelsFolderOption  # noqa: TC001 - so do these
from emotape.errors import BadRequest
from emotape.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.delivery.bench.report import Findings
    from emotape.delivery.bench.subject import Choice

app = typer.Typer(
    help="Measure speed and memory on this machine, against others in the same run.", no_args_is_help=True
)

_DTYPES: Final = {"inference": "float32,bfloat16,int8", "tutorial": "auto"}

RandomOption = Annotated[
    str | None, typer.Option(help="Instead of a model: random weights of a published size, large or base.")
]
OutputOption = Annotated[
    Path | None, typer.Option(help="Write the figures to this JSON file, and a plot (.png) beside it.")
]
RunsOption = Annotated[int, typer.Option(min=1, help="Rounds; every side has one turn in each.")]
DtypesOption = Annotated[str, typer.Option("--dtype", help="Arithmetics of emotape, separated by commas.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads of the network. Unset: the machine's cores.")]


@app.command()
def peers(
    context: typer.Context,
    baseline: Annotated[
        Literal["inference", "tutorial"],
        typer.Option(help="inference: FunASR's resident model; tutorial: librosa, and the model loaded per request."),
    ] = "inference",
    seconds: Annotated[
        str, typer.Option(help="Lengths of the clips; the tutorial's takes the second one.")
    ] = "3,10,30",
    threads: Annotated[str, typer.Option(help="Numbers of threads; the tutorial's takes the last one.")] = "1,2",
    dtype: Annotated[
        str | None,
        typer.Option(help="Arithmetics of emotape. Unset: float32,bfloat16,int8; for the tutorial's, auto."),
    ] = None,
    runs: RunsOption = 7,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Compare with the reference package (FunASR): speed, equality of embeddings and labels."""
    choice = _choice(context, model, models_folder, random, language)
    lengths, cores, dtypes = (
        numbers("--seconds", seconds),
        whole("--threads", threads),
        arithmetics(dtype or _DTYPES[baseline]),
    )
    if baseline == "tutorial":
        from emotape.delivery.bench import tutorial

        asked = tutorial.TutorialOptions(choice, lengths[:2][-1], cores[-1], dtypes, runs=runs)
        _report(lambda: tutorial.measure(asked, _tell), output)
        return
    from emotape.delivery.bench import peers as benchmark

    wanted = benchmark.PeersOptions(choice, lengths, cores, dtypes, runs)
    _report(lambda: benchmark.measure(wanted, _tell), output)


@app.command()
def decode(
    context: typer.Context,
    formats: Annotated[str, typer.Option(help="Formats, separated by commas.")] = "wav,flac,mp3,m4a,ogg,opus,webm,amr",
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the recordings.")] = 30.0,
    against: Annotated[str, typer.Option(help="Whom to compare with: librosa, ffmpeg.")] = "librosa,ffmpeg",
    runs: RunsOption = 9,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Compare decoding with librosa and the ffmpeg command."""
    from emotape.delivery.bench import decode as benchmark

    settle_language(context, read_settings(language=language))
    asked = benchmark.DecodeOptions(names("--formats", formats), seconds, names("--against", against), runs)
    _report(lambda: benchmark.measure(asked, _tell), output)


@app.command()
def load(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the first recording.")] = 3.0,
    dtype: DtypesOption = "auto",
    threads: ThreadsOption = None,
    runs: RunsOption = 5,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure import, load, first answer and memory in fresh processes, against FunASR."""
    from emotape.delivery.bench import load as benchmark

    choice = _choice(context, model, models_folder, random, language)
    asked = benchmark.LoadOptions(choice, seconds, arithmetics(dtype), threads, runs)
    _report(lambda: benchmark.measure(asked, _tell), output)


@app.command()
def throughput(
    context: typer.Context,
    clients: Annotated[str, typer.Option(help="Numbers of clients that ask at once.")] = "1,4,16,64",
    requests: Annotated[int, typer.Option(min=1, help="Requests of a round, shared among the clients.")] = 128,
    soak: Annotated[int, typer.Option(min=0, help="Then answer so many requests and watch the memory.")] = 0,
    longest: Annotated[float, typer.Option(min=1.0, help="Longest clip; they begin at one second.")] = 15.0,
    dtype: Annotated[str, typer.Option(help="Arithmetic of the network.")] = "auto",
    threads: ThreadsOption = None,
    runs: RunsOption = 3,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure requests and seconds of audio per second with clips of mixed lengths."""
    from emotape.delivery.bench import throughput as benchmark

    choice = _choice(context, model, models_folder, random, language)
    asked = benchmark.ThroughputOptions(
        choice, whole("--clients", clients), requests, runs, threads, _one_arithmetic(dtype), longest, soak
    )
    _report(lambda: benchmark.measure(asked, _tell), output)


@app.command()
def serve(
    context: typer.Context,
    against: Annotated[
        str, typer.Option(help="FunASR behind a plain FastAPI handler, behind Gradio's default queue, or none.")
    ] = "handler,gradio",
    clients: Annotated[str, typer.Option(help="Numbers of clients that ask at once.")] = "1,8,64",
    requests: Annotated[int, typer.Option(min=1, help="Requests of a round, shared among the clients.")] = 96,
    soak: Annotated[float, typer.Option(min=0, help="Then keep the most clients busy for so many seconds.")] = 0,
    longest: Annotated[float, typer.Option(min=1.0, help="Longest clip; they begin at one second.")] = 8.0,
    threads: ThreadsOption = None,
    runs: RunsOption = 3,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure the HTTP service under many clients, against FunASR served as tutorials show it."""
    from emotape.delivery.bench import serve as benchmark
    from emotape.delivery.bench.machine import cores

    choice = _choice(context, model, models_folder, random, language)
    peers_named = () if against == "none" else names("--against", against)
    for name in peers_named:
        if name not in benchmark.PEERS:
            raise BadRequest("bench_unknown", name=name, known=", ".join((*benchmark.PEERS, "none")))
    asked = benchmark.ServeOptions(
        choice, peers_named, whole("--clients", clients), requests, runs, threads or cores(), longest, soak
    )
    _report(lambda: benchmark.measure(asked, _tell), output)


@app.command()
def parity(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="CSV with the columns file and label; paths relative to it.")],
    dtype: DtypesOption = "bfloat16,int8",
    threads: ThreadsOption = None,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Count on how many labelled recordings a faster arithmetic says what fp32 says."""
    from emotape.delivery.bench import parity as benchmark

    choice = _choice(context, model, models_folder, random, language)
    asked = benchmark.ParityOptions(manifest, choice, arithmetics(dtype), threads)
    _report(lambda: benchmark.measure(asked, _tell), output)


@app.command()
def gpu(
    context: typer.Context,
    device: Annotated[str | None, typer.Option(help="Device by its torch name. Unset: the first card.")] = None,
    seconds: Annotated[str, typer.Option(help="Lengths of the clips that go one at a time.")] = "3,10,30",
    audio: Annotated[float, typer.Option(min=1.0, help="Seconds that go at once, in clips of 1 to 15 s.")] = 3_200,
    dtype: DtypesOption = "float16,bfloat16,float8,float32",
    tape_tokens: Annotated[int, typer.Option(min=256, help="Tokens (20 ms) of the longest tape.")] = 16_384,
    block: Annotated[int | None, typer.Option(min=16, help="Tokens that attention takes at a time.")] = None,
    piece: Annotated[int | None, typer.Option(min=1, help="Frames that convolutions make at a time.")] = None,
    runs: RunsOption = 5,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure a graphics card: FunASR beside emotape, throughput, memory, equality, share of the limit."""
    from emotape.delivery.bench import gpu as benchmark
    from emotape.delivery.bench.gpu_runners import GpuOptions

    choice = _choice(context, model, models_folder, random, language)
    asked = GpuOptions(
        choice, device, numbers("--seconds", seconds), audio, arithmetics(dtype), tape_tokens, block, piece, runs
    )
    _report(lambda: benchmark.measure(asked, _tell), output)


def names(option: str, value: str) -> tuple[str, ...]:
    """Return the parts of a list. Raises BadRequest `bench_list` for an empty one."""
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found:
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} a,b")
    return tuple(dict.fromkeys(found))


def arithmetics(value: str) -> tuple[str, ...]:
    """Return the arithmetics of a list. Raises BadRequest `bench_list` and `bench_unknown`."""
    from emotape.engine.resident import Precision

    known, found = get_args(Precision), names("--dtype", value)
    for name in found:
        if name not in known:
            raise BadRequest("bench_unknown", name=name, known=", ".join(known))
    return found


def _one_arithmetic(value: str) -> str:
    found = arithmetics(value)
    if len(found) > 1:
        raise BadRequest("bench_list", option="--dtype", value=repr(value), example="--dtype bfloat16")
    return found[0]


def numbers(option: str, value: str) -> tuple[float, ...]:
    """Return the positive numbers of a list. Raises BadRequest `bench_list`."""
    try:
        found = tuple(float(part) for part in names(option, value))
    except ValueError as error:
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} 3,10") from error
    if not all(0 < number < float("inf") for number in found):
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} 3,10")
    return found


def whole(option: str, value: str) -> tuple[int, ...]:
    """Return the positive whole numbers of a list. Raises BadRequest `bench_list`."""
    found = numbers(option, value)
    if not all(number.is_integer() for number in found):
        raise BadRequest("bench_list", option=option, value=repr(value), example=f"{option} 1,2")
    return tuple(int(number) for number in found)


def _choice(
    context: typer.Context, model: str | None, folder: Path | None, random: str | None, language: str | None
) -> Choice:
    """Settle the language and the model. Raises BadRequest `bench_both_models`."""
    from emotape.delivery.bench.subject import Choice

    settings = read_settings(model=model, models_folder=folder, language=language)
    settle_language(context, settings)
    if model is not None and random is not None:
        raise BadRequest("bench_both_models")
    return Choice(settings.model, settings.models_folder, random)


def _report(measure: Callable[[], Findings], output: Path | None) -> None:
    """Measure, print the tables, and write what was asked for."""
    from emotape.delivery.bench.report import Report, Surroundings

    before = Surroundings()
    report = Report(measure(), before)
    typer.echo(report.text())
    if output is not None:
        for path in report.write(output):
            _tell(f"written: {path}")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
