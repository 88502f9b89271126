"""A child that tries one input after another, so that cheap ones cost no fork; its end is a finding of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from hostile.isolate import DEFECT, LIMIT_S, WALL_BYTES, WHERE, Outcome, ask_where, places, wait_for

MOST_INPUTS: Final = 300
"""After so many a worker is replaced: what libraries keep must not add up."""
MOST_KEPT_BYTES: Final = 10**9


class Worker:
    """Tries inputs in a forked child, one at a time; a new child follows one that died or was stopped."""

    def __init__(self, attempt: Callable[[str, str], int]) -> None:
        self._attempt = attempt
        self._pid = 0
        self._inputs = 0
        self._words: IO[str] | None = None
        self._answers: IO[str] | None = None
        self._said: Any = None

    def run(self, target: str, path: Path, limit_s: float = LIMIT_S) -> Outcome:
        """Try one input."""
        if not self._pid:
            self._begin()
        assert self._words is not None
        assert self._answers is not None
        start = time.monotonic()
        self._said.seek(0)
        self._said.truncate()
        self._words.write(json.dumps([target, str(path)]) + "\n")
        self._words.flush()
        ready = wait_for(self._answers.fileno(), self._pid, limit_s)
        answer = self._answers.readline() if ready else ""
        seconds = time.monotonic() - start
        if not answer:
            return self._ended(seconds, timed_out=not ready)
        facts = json.loads(answer)
        self._inputs += 1
        if self._inputs >= MOST_INPUTS or facts["peak"] > MOST_KEPT_BYTES or facts["code"] == DEFECT:
            self.close()
        return Outcome(
            facts["code"],
            facts["out"],
            facts["err"],
            seconds,
            facts["cpu"],
            facts["peak"],
            False,
            places(facts["err"]),
        )

    def close(self) -> None:
        """End the child."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._forget()

    def _forget(self) -> None:
        for stream in (self._words, self._answers):
            if stream is not None:
                with contextlib.suppress(OSError):  # the other end is gone
                    stream.close()
        self._pid, self._inputs = 0, 0

    def _ended(self, seconds: float, *, timed_out: bool) -> Outcome:
        if timed_out:
            ask_where(self._pid)
            os.kill(self._pid, signal.SIGKILL)
        _, status, usage = os.wait4(self._pid, 0)
        self._forget()
        self._said.seek(0)
        text = self._said.read().decode("utf-8", "backslashreplace")
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        code = os.waitstatus_to_exitcode(status)
        return Outcome(code, "", text, seconds, min(cpu, seconds), peak, timed_out, places(text))

    def _begin(self) -> None:
        word_in, word_out = os.pipe()
        answer_in, answer_out = os.pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - read after the child's end
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.close(word_out)
            os.close(answer_in)
            os.dup2(self._said.fileno(), 2)
            try:
                self._serve(word_in, answer_out)
            finally:
                os._exit(DEFECT)
        os.close(word_in)
        os.close(answer_out)
        self._pid = pid
        self._words, self._answers = os.fdopen(word_out, "w"), os.fdopen(answer_in)

    def _serve(self, word_in: int, answer_out: int) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (WALL_BYTES, WALL_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        sys.stdout = sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        faulthandler.enable(file=sys.stderr)
        faulthandler.register(WHERE, file=sys.stderr)
        with os.fdopen(word_in) as words, os.fdopen(answer_out, "w") as answers:
            for line in words:
                target, path = json.loads(line)
                start, code, out, err = time.process_time(), 0, "", ""
                try:
                    code = self._attempt(target, path)
                except Refusal as refusal:
                    code, out = 1, str(refusal)
                except BaseException:  # noqa: BLE001 - all of it is a finding
                    code, err = DEFECT, traceback.format_exc()
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                facts = {"code": code, "out": out, "err": err, "cpu": time.process_time() - start, "peak": peak}
                answers.write(json.dumps(facts) + "\n")
                answers.flush()


class Refusal(Exception):  # noqa: N818 - no error: what a known error said
    """A known error."""
