"""`emotape bench`: speed and memory, measured against others on this machine."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated, Final, Literal

import typer

from emotape.delivery.cli.bench_lists import arithmetics, names, numbers, one_arithmetic, whole
from emotape.delivery.cli.bench_parts import (
    DtypesOption,
    OutputOption,
    RandomOption,
    RunsOption,
    ThreadsOption,
    choose,
    tell_all,
)
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import LanguageOption, ModelOption, ModelsFolderOption  # noqa: TC001 - so do these
from emotape.errors import BadRequest
from emotape.settings import read_settings

app = typer.Typer(
    help="Measure speed and memory on this machine, against others in the same run.", no_args_is_help=True
)

_DTYPES: Final = {"inference": "float32,bfloat16,int8", "tutorial": "auto"}


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
    choice = choose(context, model, models_folder, random, language)
    lengths, cores, dtypes = (
        numbers("--seconds", seconds),
        whole("--threads", threads),
        arithmetics(dtype or _DTYPES[baseline]),
    )
    if baseline == "tutorial":
        from emotape.delivery.bench import tutorial

        asked = tutorial.TutorialOptions(choice, lengths[:2][-1], cores[-1], dtypes, runs=runs)
        tell_all(tutorial.measure, asked, output)
        return
    from emotape.delivery.bench import peers as benchmark

    wanted = benchmark.PeersOptions(choice, lengths, cores, dtypes, runs)
    tell_all(benchmark.measure, wanted, output)


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
    tell_all(benchmark.measure, asked, output)


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

    choice = choose(context, model, models_folder, random, language)
    asked = benchmark.LoadOptions(choice, seconds, arithmetics(dtype), threads, runs)
    tell_all(benchmark.measure, asked, output)


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

    choice = choose(context, model, models_folder, random, language)
    asked = benchmark.ThroughputOptions(
        choice, whole("--clients", clients), requests, runs, threads, one_arithmetic(dtype), longest, soak
    )
    tell_all(benchmark.measure, asked, output)


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

    choice = choose(context, model, models_folder, random, language)
    peers_named = () if against == "none" else names("--against", against)
    for name in peers_named:
        if name not in benchmark.PEERS:
            raise BadRequest("bench_unknown", name=name, known=", ".join((*benchmark.PEERS, "none")))
    asked = benchmark.ServeOptions(
        choice, peers_named, whole("--clients", clients), requests, runs, threads or cores(), longest, soak
    )
    tell_all(benchmark.measure, asked, output)


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

    choice = choose(context, model, models_folder, random, language)
    asked = benchmark.ParityOptions(manifest, choice, arithmetics(dtype), threads)
    tell_all(benchmark.measure, asked, output)


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

    choice = choose(context, model, models_folder, random, language)
    asked = GpuOptions(
        choice, device, numbers("--seconds", seconds), audio, arithmetics(dtype), tape_tokens, block, piece, runs
    )
    tell_all(benchmark.measure, asked, output)


@app.command()
def advice(
    context: typer.Context,
    claim: Annotated[
        str | None, typer.Option(help="Claims, separated by commas. Unset: all that can be shown.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the clips.")] = 3.0,
    threads: ThreadsOption = None,
    device: Annotated[str | None, typer.Option(help="Device of the claim `card`. Unset: the first card.")] = None,
    redis: Annotated[str | None, typer.Option(help="A Redis for the claim `cache`, as in redis://host.")] = None,
    runs: RunsOption = 5,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure what tuning guides advise: which of it helps here, does nothing, or harms."""
    from emotape.delivery.bench import advice as benchmark

    choice = choose(context, model, models_folder, random, language)
    claims = names("--claim", claim) if claim is not None else ()
    asked = benchmark.AdviceOptions(choice, claims, seconds, threads, runs, device, redis)
    tell_all(benchmark.measure, asked, output)


@app.command()
def fleet(
    context: typer.Context,
    loads: Annotated[str, typer.Option(help="Arrivals as shares of what the engine takes.")] = "0.5,0.8,1.5",
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of arrivals for each.")] = 8.0,
    longest: Annotated[float, typer.Option(min=1.0, help="Longest clip; they begin at one second.")] = 8.0,
    threads: ThreadsOption = None,
    runs: RunsOption = 2,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Check the fleet's simulation: the engine under random arrivals beside what was predicted of them."""
    from emotape.delivery.bench import fleet as benchmark

    choice = choose(context, model, models_folder, random, language)
    asked = benchmark.FleetOptions(choice, numbers("--loads", loads), seconds, runs, longest, threads=threads)
    tell_all(benchmark.measure, asked, output)
