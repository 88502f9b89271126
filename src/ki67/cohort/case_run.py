"""One case of a cohort, run by the plain command in a process of its own.

A crash of a library, or the system's killing of what takes too much memory, ends that process and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ki67.cohort.results import figures_of
from ki67.errors import TEMPORARY
from ki67.files import printable
from ki67.processors import THREAD_VARIABLES, usable_processors

CPU_SHARE: Final = "KI67_CPU_SHARE"
"""As in :mod:`ki67.cli.case_process`, which this room stands below."""

COMMAND = (sys.executable, "-m", "ki67.cli.case_process")
"""The program that a case is run by."""

GRACE_S: Final = 15.0
"""A stopped case has so long to leave its folder in order; then it is ended, and its folder is sound all the same."""

_KINDS: Final[Mapping[str, str]] = {
    "AnnotationError": "region file",
    "BusyError": "folder in use",
    "CaseError": "folder of the case",
    "DiskFullError": "disk full",
    "MemoryError": "out of memory",
    "ModelError": "model",
    "NoTissueError": "no tissue",
    "PixelSizeError": "pixel size",
    "RegionError": "region",
    "RegistrationError": "registration",
    "ScoreError": "no index",
    "SlideAwayError": "server away",
    "SlideError": "slide cannot be read",
    "StainError": "stain",
    "TissueError": "no tissue",
    "UsageError": "wrong usage",
    "WriteError": "cannot be written",
}
DEFECT: Final = "defect of the program"
KILLED: Final = "killed"
CRASHED: Final = "crashed"
LOST: Final = "worker lost"
OUT_OF_MEMORY: Final = "out of memory"
TOO_LONG: Final = "time limit"

_STOPPED_BY: Final = frozenset({"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"})
_SAID: Final = 1000
"""Characters of an error that are kept."""

_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class CaseTask:
    """What a worker needs to run a case.

    Its name, its key, the words of the command, the folder to start in, and after how many seconds it is ended.
    """

    name: str
    key: str
    words: tuple[str, ...] = field(repr=False)  # whole URLs
    start_in: str
    limit_s: float | None = None


@dataclass(frozen=True)
class Share:
    """A worker's part of a machine: ``number`` of ``of`` equal ones, from 0."""

    number: int = 0
    of: int = 1


@dataclass(frozen=True)
class CaseEnd:
    """How an attempt ended; fields as in :class:`ki67.cohort.ledger.Entry`."""

    code: int
    seconds: float
    kind: str = ""
    error: str = ""
    worker: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the case has its result."""
        return self.code == 0

    @property
    def temporary(self) -> bool:
        """Whether another attempt may end otherwise: the command said so, or something ended its process."""
        return self.code == TEMPORARY or self.code < 0 or self.code > 128

    @property
    def wants_memory(self) -> bool:
        """Whether more memory may be what it takes: it ran out of it, or was killed, which tells no reason."""
        return self.temporary and self.kind in {OUT_OF_MEMORY, KILLED, CRASHED, LOST}


def run_case(task: CaseTask, share: Share | None = None, worker: str = "") -> CaseEnd:
    """Run a case to its end.

    Parameters
    ----------
    task
        The case.
    share
        Part of the processors that it keeps to; None takes all.
    worker
        Where this runs, for the ledger.
    """
    started = time.monotonic()
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603  the words are a list, and no shell reads them
            [*COMMAND, *task.words],
            cwd=task.start_in,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            env=_environment(share),
            start_new_session=True,
        )
    except OSError as error:
        os.close(writing)
        told = f"{printable(str(error.filename))}: {error.strerror}"
        return CaseEnd(1, 0.0, "worker", f"its process cannot be started: {told}", worker)
    finally:
        os.close(reading)
    _running.add(process)
    try:
        stdout, stderr = process.communicate(timeout=task.limit_s)
    except subprocess.TimeoutExpired:
        _stop(process)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return CaseEnd(1, round(time.monotonic() - started, 3), TOO_LONG, _took_too_long(task), worker)
    except BaseException:
        _stop(process)
        raise
    finally:
        os.close(writing)  # until here it tells the process that somebody waits
        _running.discard(process)
    seconds = round(time.monotonic() - started, 3)
    return _end(process.returncode, stdout, stderr, seconds, worker)


def stop_all() -> None:
    """End what runs in this process's threads."""
    for process in list(_running):
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        # What waits for a file server that went away may not end even then; nobody waits for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def _environment(share: Share | None) -> dict[str, str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if share is None or share.of == 1:
        return environment
    threads = str(max(1, usable_processors() // share.of))
    return environment | dict.fromkeys(THREAD_VARIABLES, threads) | {CPU_SHARE: f"{share.number}/{share.of}"}


def _end(code: int, stdout: str, stderr: str, seconds: float, worker: str) -> CaseEnd:
    if code == 0:
        try:
            return CaseEnd(0, seconds, worker=worker, result=figures_of(json.loads(stdout)))
        except (ValueError, KeyError, TypeError) as error:
            return CaseEnd(1, seconds, DEFECT, f"it told no result ({type(error).__name__}: {error})", worker)
    kind, said = "", ""
    for line in stderr.splitlines():
        if line.startswith('{"kind": '):
            with contextlib.suppress(ValueError):
                kind = str(json.loads(line)["kind"])
        elif line.strip():
            said = line.removeprefix("ki67: ").removeprefix("error: ")
    if code < 0 or code > 128:
        return CaseEnd(code, seconds, *_ended_by(code, said), worker)
    named = _KINDS.get(kind, OUT_OF_MEMORY if said.startswith("out of memory") else "")
    if not named:
        named = DEFECT if "defect of the program" in said else kind or "not known"
    return CaseEnd(code, seconds, named, said[:_SAID] or f"it ended with {code}", worker)


def _took_too_long(task: CaseTask) -> str:
    minutes = (task.limit_s or 0.0) / 60
    return f"it was ended after {minutes:g} minutes; the next run goes on with its next stage (--case-minutes)"


def _ended_by(code: int, said: str) -> tuple[str, str]:
    """Kind and words for a process that a signal ended; ``code`` as of a process, or as of a shell."""
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    last = f"; its last words: {said[:_SAID]}" if said and not said.startswith("interrupted") else ""
    if name in _STOPPED_BY:
        reason = ", as systems do where memory runs out" if name == "SIGKILL" else ""
        return KILLED, f"its process was ended from outside ({name}{reason}){last}"
    return CRASHED, f"its process crashed ({name}){last}"


def folder_of(out: Path, name: str) -> Path:
    """Folder of a case."""
    return out / "cases" / name
