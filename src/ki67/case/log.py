"""What happened in a case's folder, run after run, as lines of JSON: ``run.jsonl``.

The manifest tells what stands in the folder; the log tells how it came to be: every run that opened it, with the
machine it ran on, each stage that it worked through or found current, and how it ended. A run without an end was
killed. The log is for people and their tools: no result depends on it, and a disk that takes no more of it stops
nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from ki67 import __version__
from ki67.files import json_text
from ki67.jobs import current

LOG: Final = "run.jsonl"
_LONGEST_FIRST: Final = 4096


class CaseLog:
    """A log that is added to, a line at a time; each line has ``time`` (UTC, ISO 8601), ``run`` and ``event``.

    Parameters
    ----------
    folder
        The case's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._run = f"{datetime.now(tz=UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

    def begin(self, command: str) -> None:
        """Note that a run opened the folder, and where it runs."""
        machine = {"host": platform.node(), "process": os.getpid(), "threads": current().threads}
        self.note("run begun", command=command, version=__version__, **machine)

    def note(self, event: str, **facts: Any) -> None:
        """Add a line: what happened, and what belongs to it (JSON values)."""
        time = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
        line = json_text({"time": time, "run": self._run, "event": event, **facts}) + "\n"
        with contextlib.suppress(OSError), _opened(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as stream:
            # A run that was killed may have left half a line.
            if not _ends_a_line(stream):
                line = "\n" + line
            stream.write(line.encode())


def is_log(path: Path) -> bool:
    """Whether a file begins as a log does."""
    try:
        with _opened(path, os.O_RDONLY) as stream:
            first = json.loads(stream.readline(_LONGEST_FIRST))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and {"time", "run", "event"} <= first.keys()


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[BinaryIO]:
    """Open a file, and never one elsewhere that a link leads to, nor a pipe that waits for its other end."""
    wanted = ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
    handle = os.open(path, flags | sum(getattr(os, name, 0) for name in wanted), 0o666)
    with os.fdopen(handle, "r+b" if flags & os.O_RDWR else "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError
        yield stream


def _ends_a_line(stream: BinaryIO) -> bool:
    if stream.seek(0, os.SEEK_END) == 0:
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"
