"""``ki67 serve``: the cases of a folder, or a labelling project, in the browser."""

from __future__ import annotations

import importlib.util
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit
from ki67.errors import MissingExtraError, UsageError
from ki67.progress import message

if TYPE_CHECKING:
    from ki67.server.state import State


def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with cases, at any depth, or a labelling project.")
    ],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")] = False,
    slides: Annotated[
        list[Path] | None,
        typer.Option("--slides", help="A further folder from which slides may be read; may be given again."),
    ] = None,
    log: Annotated[Path | None, typer.Option("--log", help="File that gets one line of JSON per request.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at, for a labelling project; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name by which browsers know the server; may be given again."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="PEM file, for encryption; with --certificate-key.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="PEM file of its key.")] = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Other machines may send passwords as they are: a proxy encrypts.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the cases of a folder in the browser, to look at, correct and sign out; on this machine only.

    A labelling project is shown to whoever has an account in it, on other machines too (--host).
    """
    begin(quiet=quiet)
    if any(importlib.util.find_spec(one) is None for one in ("fastapi", "uvicorn", "sqlalchemy")):
        raise MissingExtraError("serve", "The viewer")
    from ki67.server.reach import Reach
    from ki67.server.serving import is_project, serve_labelling
    from ki67.server.serving import serve as run

    reach = Reach(host, tuple(name or ()), certificate, certificate_key, unencrypted)
    if is_project(folder):
        if slides:
            raise UsageError("--slides is for cases; a labelling project names its slides itself")

        def open_page(url: str) -> None:
            emit({"url": url}, as_json=as_json, lines=[url])
            sys.stdout.flush()
            if not (no_browser or as_json):
                message("Ctrl-C ends the server.")
                webbrowser.open(url)

        serve_labelling(folder, port, open_page, reach, log)
        return
    reach.require_nothing_asked()

    def ready(url: str, state: State) -> None:
        emit({"url": url}, as_json=as_json, lines=[url])
        sys.stdout.flush()
        if not (no_browser or as_json):
            message("The link works once. Ctrl-C ends the server.")
            # Other people on this machine may see what the browser is started with: a link of its own.
            webbrowser.open(url.partition("=")[0] + "=" + state.keys.new_link())

    run(folder, port, ready, tuple(slides or ()), log)
