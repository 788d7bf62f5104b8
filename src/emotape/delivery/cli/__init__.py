"""The `emotape` command, with everything that it can be asked to do."""

from __future__ import annotations

import os
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from emotape.delivery.cli import (
    adapt,
    batch,
    bench,
    bench_export,
    bench_ray,
    cluster,
    doctor,
    evaluate,
    export,
    keys,
    models,
    plan,
    profile,
    recognize,
    serve,
    settings,
    top,
)
from emotape.delivery.cli.errors import exit_code_of, fault_of, reader_left, report
from emotape.delivery.cli.help import asked_language, speak
from emotape.delivery.cli.language import language_of
from emotape.delivery.threads import settle
from emotape.errors import EmotapeError
from emotape.version import __version__
from emotape.wording import interface_text


class Edge(TyperGroup):
    """Every command runs inside this: errors are told once, here, and become exit codes."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the arguments; whatever help that asks for is in the reader's language."""
        speak(self, asked_language(args))
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; let pass what typer itself turns into an exit."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(interface_text("interrupted", language_of(ctx)), err=True)
            raise
        except EmotapeError as error:
            _tell(ctx, error)
            raise typer.Exit(exit_code_of(error)) from error
        except Exception as error:
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort) or reader_left(error):
                raise
            fault = fault_of(error)
            _tell(ctx, fault)
            raise typer.Exit(exit_code_of(fault)) from error


def _tell(context: typer.Context, error: EmotapeError) -> None:
    if context.params.get("debug"):
        traceback.print_exception(error)
    report(error, language_of(context))


app = typer.Typer(
    name="emotape",
    cls=Edge,
    help="Speech emotion recognition with Emotion2Vec+ on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"emotape {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error happened.")] = False,
) -> None:
    """Take the options that stand before the command."""


app.command("recognize")(recognize.recognize)
app.command("evaluate")(evaluate.evaluate)
app.command("adapt")(adapt.adapt)
app.command("batch")(batch.batch)
app.add_typer(cluster.app, name="cluster")
app.command("settings")(settings.show)
app.command("plan")(plan.plan)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.command("serve")(serve.serve)
app.add_typer(keys.app, name="keys")
app.add_typer(bench.app, name="bench")
bench.app.command("export")(bench_export.export)
bench.app.command("cluster")(bench_ray.cluster)
bench.app.command("batch")(bench_ray.batch)
app.add_typer(export.app, name="export")
app.command("profile")(profile.profile)
app.command("top")(top.top)


def main() -> None:
    """Run the command line."""
    app(obj=settle(os.environ))
