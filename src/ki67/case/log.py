"""What happened in a case's folder, run after run, as lines of JSON: ``run.jsonl``.

The manifest tells what stands in the folder; the log tells how it came to be: every run that opened it, with the
machine it ran on, each stage that it worked through or found current, and how it ended. A run without an end was
killed. The log is for people and their tools: no result depends on it, and a disk that takes no more of it stops
nothing.
"""

from __future__ import annotations

import contextlib
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ki67 import __version__
from ki67.files import json_text
from ki67.jobs import current

LOG: Final = "run.jsonl"


class CaseLog:
    """A log that is added to, a line at a time; each line has ``time`` (UTC, ISO 8601), ``run`` and ``event``.

    Parameters
    ----------
    folder
        The case's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._run = f"{datetime.now(tz=UTC):%Y%m%dT%H%M%S}-{os.getpid()}"

    def begin(self, command: str) -> None:
        """Note that a run opened the folder, and where it runs."""
        machine = {"host": platform.node(), "process": os.getpid(), "threads": current().threads}
        self.note("run begun", command=command, version=__version__, **machine)

    def note(self, event: str, **facts: Any) -> None:
        """Add a line: what happened, and what belongs to it (JSON values)."""
        time = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
        line = json_text({"time": time, "run": self._run, "event": event, **facts}) + "\n"
        with contextlib.suppress(OSError), self._path.open("ab") as stream:
            # A run that was killed may have left half a line.
            if stream.tell() and not _ends_a_line(self._path):
                line = "\n" + line
            stream.write(line.encode())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
