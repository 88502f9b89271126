"""Runs of ``ki67 score`` and ``ki67 count`` that a page starts: one at a time, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from starlette.exceptions import HTTPException

from ki67.progress import PROGRESS_LINES
from ki67.server.places import Places

MOST_WAITING: Final = 100
MOST_KEPT: Final = 200
"""Jobs that have ended and are still told of."""

LOG_LINES: Final = 200
GRACE_S: Final = 15.0
"""A stopped run has so long to leave its folder in order; then it is ended, and its folder is sound all the same."""

LEAST_TIMED_S: Final = 2.0
"""A stage is so long at work before it is said how long it will take yet."""

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass
class Job:
    """One run.

    Parameters
    ----------
    job_id
        Its number.
    command
        ``score`` or ``count``.
    words
        Of the command line.
    out
        Folder of the case, relative to the root.
    """

    job_id: int
    command: str
    words: list[str]
    out: str
    state: JobState = "queued"
    stage: str = ""
    done: int = 0
    total: int | None = None
    error: str | None = None
    started: float | None = None
    stage_from: tuple[float, int] = (0.0, 0)
    step_at: float = 0.0
    ended: float | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    process: subprocess.Popen[str] | None = None

    def told(self) -> dict[str, Any]:
        """What a page is told of it."""
        end = time.monotonic() if self.ended is None else self.ended
        return {
            "id": self.job_id,
            "command": self.command,
            "out": self.out,
            "state": self.state,
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "seconds": None if self.started is None else round(end - self.started, 1),
            "left_seconds": self.left_s(),
            "error": self.error,
            "log": list(self.log),
        }

    def left_s(self) -> float | None:
        """Return how long its stage will take yet if it goes on as fast, None where that is not known.

        Nor is it known once a step has taken twice as long as those before.
        """
        (began, before), latest = self.stage_from, self.step_at
        did, left = self.done - before, (self.total or 0) - self.done
        step_s, since = (latest - began) / did if did > 0 else 0.0, time.monotonic() - latest
        if self.state != "running" or left <= 0 or latest - began < LEAST_TIMED_S or since > 2 * step_s:
            return None
        return round(max(0.0, step_s * left - since), 1)


class Jobs:
    """Runs, waiting and at work; a cancelled or killed one continues when it is started again."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._changed = threading.Condition()
        self._jobs: dict[int, Job] = {}
        self._closed = False
        self._worker: threading.Thread | None = None

    def start(self, command: str, slides: Sequence[Path], out: Path, options: Sequence[str]) -> Job:
        """Put a run at the end of those that wait.

        Raises
        ------
        HTTPException
            409 where one is waiting for the same folder or at work in it; 429 where too many wait.
        """
        words = [command, *(str(path) for path in slides), "--out", str(out), *options, "--json"]
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.state in {"queued", "running"}]
            if any(job.out == self._places.relative(out) for job in waiting):
                raise HTTPException(409, "a run is at work in this folder, or waits for it")
            if len(waiting) >= MOST_WAITING:
                raise HTTPException(429, f"{MOST_WAITING} runs wait already")
            job = Job(max(self._jobs, default=0) + 1, command, words, self._places.relative(out))
            self._jobs[job.job_id] = job
            ended = [one.job_id for one in self._jobs.values() if one.ended is not None]
            for number in ended[: max(0, len(ended) - MOST_KEPT)]:
                del self._jobs[number]
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True, name="jobs")
                self._worker.start()
            self._changed.notify_all()
        return job

    def all(self) -> list[Job]:
        """Return all runs, the latest first."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: -job.job_id)

    def get(self, job_id: int) -> Job:
        """Return a run.

        Raises
        ------
        HTTPException
            404 where there is none of that number.
        """
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise HTTPException(404, "there is no such job")
        return job

    def cancel(self, job_id: int) -> Job:
        """Stop a run, or take it from those that wait; one that has ended stays as it is."""
        job = self.get(job_id)
        with self._changed:
            if job.state == "queued":
                job.state, job.ended = "cancelled", time.monotonic()
            elif job.state == "running":
                job.state = "cancelled"
                if job.process is not None:
                    _stop(job.process)
        return job

    def close(self) -> None:
        """Stop the run at work, and start no more."""
        with self._changed:
            self._closed = True
            running = [job for job in self._jobs.values() if job.process is not None and job.ended is None]
            for job in running:
                job.state = "cancelled"
                assert job.process is not None
                _stop(job.process)
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join(GRACE_S + 5)

    def _work(self) -> None:
        while True:
            with self._changed:
                job = self._next()
                while job is None:
                    if self._closed:
                        return
                    self._changed.wait()
                    job = self._next()
                if self._closed:
                    return
                job.state, job.started = "running", time.monotonic()
                try:
                    job.process = _begin(job.words)
                except OSError as error:
                    job.state, job.error, job.ended = "failed", str(error), time.monotonic()
                    continue
            self._follow(job, job.process)

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "queued"), None)

    def _follow(self, job: Job, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._changed:
                _take(job, line.rstrip("\n"))
        code = process.wait()
        process.stderr.close()
        with self._changed:
            job.ended = time.monotonic()
            if job.state == "cancelled":
                job.error = "stopped; the same run continues from its last finished stage"
            elif code == 0:
                job.state, job.stage = "done", ""
            else:
                job.state = "failed"
                job.error = job.log[-1].removeprefix("ki67: error: ") if job.log else f"it ended with {code}"


def _begin(words: Sequence[str]) -> subprocess.Popen[str]:
    """Start the program as a process of its own, which a Ctrl-C for the server does not reach."""
    return subprocess.Popen(  # noqa: S603  the words are a list, and no shell reads them
        [sys.executable, "-m", "ki67", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        env={**os.environ, PROGRESS_LINES: "1"},
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    timer = threading.Timer(GRACE_S, lambda: _kill(process))
    timer.daemon = True
    timer.start()


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        process.kill()


def _take(job: Job, line: str) -> None:
    """Read a line of stderr: of progress (:data:`ki67.progress.PROGRESS_LINES`), or a message."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            stage, done, total = str(told["stage"]), int(told["done"]), told["total"]
            now = time.monotonic()
            if stage != job.stage or done < job.done:
                job.stage_from = (now, done)
            if stage != job.stage or done != job.done:
                job.step_at = now
            job.stage, job.done, job.total = stage, done, total
            return
    if line.strip():
        job.log.append(line)
