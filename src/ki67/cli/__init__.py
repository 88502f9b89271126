"""The command line: one thin module per command."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ki67 import __version__
from ki67.cli import (
    cells,
    check,
    cohort,
    compete,
    convert,
    correct,
    count,
    dataset,
    demo,
    doctor,
    ending,
    evaluate,
    export,
    gold,
    idc,
    label,
    pair,
    register,
    report,
    score,
    serve,
    simulate,
    validate,
)
from ki67.cli.common import App
from ki67.errors import UsageError
from ki67.processors import keep_libraries_to_quota

app = App(
    name="ki67",
    help="Ki-67 index of invasive breast carcinoma from an H&E and a Ki-67 whole-slide image. "
    "For research use only; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ki67 {__version__}")
        raise typer.Exit


VersionOption = typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
DebugOption = typer.Option(
    ending.DEBUG, help="Show the traceback of whatever goes wrong; may also stand after the command."
)


@app.callback()
def _for_all(
    *,
    version: Annotated[bool, VersionOption] = False,
    debug: Annotated[bool, DebugOption] = False,
) -> None:
    """Show in the help what goes with every command; both are dealt with before."""


app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("score")(score.score)
app.command("count")(count.count)
app.command("pair")(pair.pair)
app.command("export")(export.export)
app.command("register")(register.register)
app.command("report")(report.report)
app.command("validate")(validate.validate)
app.command("simulate")(simulate.simulate)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(convert.app, name="annotations")
app.add_typer(cohort.app, name="cohort")
app.add_typer(correct.app, name="correct")
app.add_typer(idc.app, name="idc")
app.add_typer(cells.app, name="cells")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(gold.app, name="gold")
app.add_typer(dataset.app, name="dataset")
app.add_typer(compete.app, name="compete")
app.add_typer(label.app, name="label")


def main() -> None:
    """Run the command that the words of the command line name; see :mod:`ki67.cli.ending` for how it ends."""
    ending.run(run_words, sys.argv[1:])


_WrongUsage: Any = typer.BadParameter.__base__
"""What typer raises for all wrong usage; it has no public name there."""


def run_words(words: list[str]) -> None:
    """Run the command that words name; wrong usage is told in one line.

    Raises
    ------
    UsageError
        Where the words say nothing.
    SystemExit
        Where a command ends with an exit code of its own.
    """
    keep_libraries_to_quota()
    try:
        code = app(words, prog_name="ki67", standalone_mode=False)
    except _WrongUsage as error:
        text = error.format_message().replace("Value error, ", "")
        if not text:  # a group without a command has shown its help
            sys.exit(error.exit_code)
        named = error.ctx.command_path if error.ctx else "ki67"
        raise UsageError(f"{text.rstrip('.')}. Run `{named} --help` for what it takes") from error
    if code:
        sys.exit(code)
