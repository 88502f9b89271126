"""``ki67 serve``: the cases of a folder in the browser."""

from __future__ import annotations

import importlib.util
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit
from ki67.errors import MissingExtraError
from ki67.progress import message

if TYPE_CHECKING:
    from ki67.server.state import State


def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with cases, at any depth.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")] = False,
    slides: Annotated[
        list[Path] | None,
        typer.Option("--slides", help="A further folder from which slides may be read; may be given again."),
    ] = None,
    log: Annotated[Path | None, typer.Option("--log", help="File that gets one line of JSON per request.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the cases of a folder in the browser, to look at, correct and sign out; on this machine only."""
    begin(quiet=quiet)
    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise MissingExtraError("serve", "The viewer")
    from ki67.server.serving import serve as run

    def ready(url: str, state: State) -> None:
        emit({"url": url}, as_json=as_json, lines=[url])
        sys.stdout.flush()
        if not (no_browser or as_json):
            message("The link works once. Ctrl-C ends the server.")
            # Other people on this machine may see what the browser is started with: a link of its own.
            webbrowser.open(url.partition("=")[0] + "=" + state.keys.new_link())

    run(folder, port, ready, tuple(slides or ()), log)
