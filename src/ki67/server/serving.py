"""Running the servers until they are stopped: cases on this machine's own address, labelling projects on any."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn

from ki67.errors import FileError, UsageError
from ki67.labelling.database import SETTINGS
from ki67.server.app import create_app
from ki67.server.labelling_app import create_labelling_app
from ki67.server.labelling_state import LabellingState
from ki67.server.reach import HOST, Reach
from ki67.server.state import State

STOP_WITHIN_S: Final = 10


def serve(
    root: Path, port: int, ready: Callable[[str, State], None], slides: tuple[Path, ...] = (), log: Path | None = None
) -> None:
    """Serve the cases below a folder, and return when the server was stopped.

    Parameters
    ----------
    root
        Folder of the cases.
    port
        Port to listen at; 0 for any that is free.
    ready
        Called with the address, its secret included, as soon as the server answers.
    slides
        Further folders from which slides may be read.
    log
        File that gets one line of JSON for each request.

    Raises
    ------
    FileError
        Where there is no such folder.
    UsageError
        Where the port is in use.
    """
    for folder in (root, *slides):
        if not folder.is_dir():
            raise FileError(folder, "is no folder", "Name the folder that holds the cases.")
    if log is not None:
        _log_to(log)
    state = State.of(root, slides)
    with _listening(port) as listener:
        port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            create_app(state, port),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
        url = f"http://{HOST}:{port}/?token={state.keys.token}"
        _Server(config, lambda: ready(url, state)).run(sockets=[listener])


def is_project(folder: Path) -> bool:
    """Whether a folder holds a labelling project."""
    return (folder / SETTINGS).is_file()


def serve_labelling(
    folder: Path, port: int, ready: Callable[[str], None], reach: Reach | None = None, log: Path | None = None
) -> None:
    """Serve a labelling project to whoever has an account, and return when the server was stopped.

    Parameters
    ----------
    folder
        Of the project.
    port
        Port to listen at; 0 for any that is free.
    ready
        Called with the address as soon as the server answers.
    reach
        From where it is reached; this machine only by default.
    log
        File that gets one line of JSON for each request.

    Raises
    ------
    LabellingError
        Where the project cannot be opened.
    UsageError
        Where the port is in use, or passwords would go unencrypted.
    """
    reach = reach or Reach()
    reach.require_encryption()
    if log is not None:
        _log_to(log)
    encrypted = reach.certificate is not None
    with _listening(port, reach.host) as listener:
        port = int(listener.getsockname()[1])
        state = LabellingState.of(folder, f"ki67_labelling_{port}", encrypted=encrypted)
        config = uvicorn.Config(
            create_labelling_app(state, reach.hosts(port)),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=STOP_WITHIN_S,
            ssl_certfile=reach.certificate,
            ssl_keyfile=reach.key,
        )
        url = f"{'https' if encrypted else 'http'}://{reach.shown}:{port}/"
        _Server(config, lambda: ready(url)).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _listening(port: int, host: str = HOST) -> socket.socket:
    # With its protocol named, asyncio sends at once: without, each answer waits 40 ms for the browser's word.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had at {host} ({error.strerror})"
        raise UsageError(f"port {port} {reason}; name another with --port, or none for any that is free") from error
    return listener


def _log_to(path: Path) -> None:
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FileError(path, f"cannot be written ({error.strerror})", "Name another file with --log.") from error
    handler.setFormatter(logging.Formatter('{"time": "%(asctime)s", "level": "%(levelname)s", "said": %(message)s}'))
    logger = logging.getLogger("ki67.server")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
