"""What became of every case, one line of JSON an attempt, on disk before anything else is told of it.

A ledger is only ever added to. Each line is written whole and flushed to the disk; a line without its end, which a
power cut may leave, counts as not written and is cut off when the ledger is next opened. A shard has a ledger of its
own, so that many machines can work in one folder without writing to one file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from ki67.cohort.cases import Shard
from ki67.errors import BusyError, CohortError, WriteError
from ki67.files import DISK_FULL, disk_full, fsync_folder, json_text, make_folder, parse_json

LEDGER: Final = "ledger"
_AFRESH: Final = "Move the file away; finished cases are then gone through again, which takes seconds each."

_BLOCK_BYTES: Final = 65536

State = Literal["done", "failed"]


class Entry(BaseModel):
    """How one attempt at a case ended.

    Parameters
    ----------
    time
        When, UTC in ISO 8601.
    case
        The case's name.
    key
        What it was made from (:func:`ki67.cohort.running.case_key`).
    attempt
        Number of the attempt in its run, from 1.
    state
        ``done`` or ``failed``.
    temporary
        Whether another attempt may end otherwise.
    code
        Exit code of its process; below 0 the signal that ended it.
    kind
        Of failure, in words; empty where it is done.
    error
        What was said, in one line.
    seconds
        Of this attempt.
    worker
        Where it ran.
    result
        Figures of a case that is done (:data:`ki67.cohort.results.FIGURES`).
    """

    model_config = ConfigDict(frozen=True)

    time: str
    case: str
    key: str
    attempt: int
    state: State
    temporary: bool = False
    code: int
    kind: str = ""
    error: str = ""
    seconds: float
    worker: str = ""
    result: dict[str, Any] = {}


class Ledger:
    """A ledger that is open to be added to; :func:`open_ledger` makes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch()
            self._stream = path.open("r+b", buffering=0)
            self._end = _end_of_last_line(self._stream)
            self._stream.truncate(self._end)
            os.fsync(self._stream.fileno())
            fsync_folder(path.parent)
        except OSError as error:
            raise CohortError(path, f"cannot be opened ({error.strerror})", "Choose another folder.") from error

    def append(self, entry: Entry) -> None:
        """Add an entry; when this returns it is on the disk.

        Raises
        ------
        WriteError
            Where there is no room for it; the ledger is then as it was before.
        """
        line = (json_text(entry.model_dump(), sort_keys=True) + "\n").encode()
        try:
            self._stream.seek(self._end)
            written = 0
            while written < len(line):
                written += self._stream.write(line[written:]) or 0
            os.fsync(self._stream.fileno())
        except OSError as error:
            self._stream.truncate(self._end)
            if error.errno in DISK_FULL:
                raise disk_full(self.path) from error
            raise WriteError(self.path, f"cannot be written ({error.strerror})", "Choose another folder.") from error
        self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


@contextmanager
def open_ledger(folder: Path, shard: Shard) -> Iterator[Ledger]:
    """Open the ledger of a cohort or of a shard and hold it against other runs.

    Raises
    ------
    BusyError
        Where another run holds it.
    CohortError
        Where it cannot be opened.
    """
    make_folder(folder)
    lock = FileLock(folder / f".lock{shard.suffix}", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        found = "is in use by another run" + ("" if shard.whole else f" of shard {shard.number}/{shard.of}")
        raise BusyError(folder, found, "Wait until it has ended, or choose another folder with --out.") from error
    except OSError as error:
        raise CohortError(folder, f"cannot be locked ({error.strerror})", "Choose another folder.") from error
    try:
        ledger = Ledger(folder / f"{LEDGER}{shard.suffix}.jsonl")
        try:
            yield ledger
        finally:
            ledger.close()
    finally:
        lock.release()


def read_entries(folder: Path) -> dict[str, Entry]:
    """Read the last entry of each case from all ledgers of a folder; those of shards count together, by their time.

    Raises
    ------
    CohortError
        Where a ledger is damaged in its middle.
    """
    last: dict[str, Entry] = {}
    for path in sorted(folder.glob(f"{LEDGER}*.jsonl")):
        for entry in _entries(path):
            known = last.get(entry.case)
            if known is None or entry.time >= known.time:
                last[entry.case] = entry
    return last


def now() -> str:
    """Return the present time as entries tell it."""
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")


def _entries(path: Path) -> Iterator[Entry]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CohortError(path, f"cannot be read ({error.strerror})", "Check its permissions.") from error
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            value = parse_json(line.decode("utf-8"), path, CohortError, _AFRESH)
            yield Entry.model_validate(value)
        except (CohortError, UnicodeDecodeError, ValidationError) as error:
            raise CohortError(path, f"is damaged in line {number}", _AFRESH) from error


def _end_of_last_line(stream: FileIO) -> int:
    """Bytes up to the end of the last whole line."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        stream.seek(start)
        place = stream.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0
