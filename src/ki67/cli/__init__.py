"""The command line: one thin module per command.

Exit codes: 0 done; 1 a known error, in one line on stderr; 2 wrong usage; 130 interrupted by the user.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from ki67 import __version__
from ki67.cli import cells, compete, count, demo, doctor, evaluate, export, idc, register, score, simulate
from ki67.errors import Ki67Error

app = typer.Typer(
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


@app.callback()
def _for_all(*, version: Annotated[bool, VersionOption] = False) -> None:
    """Take what goes with every command: nothing but the version."""


app.command("demo")(demo.demo)
app.command("score")(score.score)
app.command("count")(count.count)
app.command("compete")(compete.compete)
app.command("export")(export.export)
app.command("register")(register.register)
app.command("simulate")(simulate.simulate)
app.command("doctor")(doctor.doctor)
app.add_typer(idc.app, name="idc")
app.add_typer(cells.app, name="cells")
app.add_typer(evaluate.app, name="evaluate")


def main() -> None:
    """Run a command; a known error is told in one line, without a traceback."""
    try:
        app()
    except Ki67Error as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues from the last finished stage", code=130)
    except MemoryError:
        _fail("out of memory; close other programs and run the same command again")
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE}:
            raise
        _fail(f"{error.filename or 'writing'}: {error.strerror}. Mend that and run the same command again")


def _fail(text: str, code: int = 1) -> None:
    one_line = " ".join(text.split())
    sys.stderr.write(f"ki67: error: {one_line}\n")
    sys.exit(code)
