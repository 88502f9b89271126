"""One trial in a forked child: whatever it does to memory, threads, time or signals ends with it.

The parent has everything imported and no thread running, so that a child costs hundredths of a second.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # a pool of threads does not survive a fork

LIMIT_S: Final = 60.0
LIMIT_BYTES: Final = 4 * 2**30
# Addresses that threads and libraries reserve without using them are no memory: the hard wall stands above the limit.
WALL_BYTES: Final = 9 * 2**30
WHERE: Final = signal.SIGUSR1
"""Upon this a child says where it is, so that what hangs can be told apart. It is asked once, before it is killed: a
watchdog that looks by itself (``faulthandler.dump_traceback_later``) reads frames while they change, and crashes."""

TOLD_S: Final = 0.5

STEP_S: Final = 0.5

DEFECT: Final = 70
"""Exit code of a child in which something was raised that is no known error."""

MOST_OUTPUT: Final = 2**24
"""Bytes of each stream that are read: the JSON of 30,000 regions has five million."""


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    code: int
    """Exit code; the negative number of the signal that ended it; ``DEFECT`` for a traceback."""
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    timed_out: bool = False
    places: tuple[str, ...] = field(default=())
    """Last frames of the program's own code in a traceback, innermost last."""

    @property
    def excess(self) -> str:
        """What limit it broke; empty for none."""
        if self.timed_out or self.cpu_seconds > LIMIT_S:
            return f"over {LIMIT_S:.0f} s"
        if self.peak_bytes > LIMIT_BYTES:
            return f"{self.peak_bytes / 2**30:.1f} GB"
        if "out of memory" in self.stderr or "MemoryError" in self.stderr:
            return "out of memory"
        return ""

    @property
    def one_line(self) -> bool:
        """Whether it ended as a known error must: exit 1, one line on stderr, nothing on stdout."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return self.code == 1 and not self.stdout and len(lines) == 1 and lines[0].startswith("ki67: error: ")


def run_isolated(work: Callable[[], int | None], limit_s: float = LIMIT_S, cwd: Path | None = None) -> Outcome:
    """Do something in a child, and tell what became of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as where:
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(work, out.fileno(), err.fileno(), where.fileno(), cwd)
        status, usage, timed_out = _wait(pid, limit_s)
        seconds = time.monotonic() - start
        texts = []
        for stream in (out, err, where):
            stream.seek(0)
            texts.append(stream.read(MOST_OUTPUT).decode("utf-8", "backslashreplace"))
    code = os.waitstatus_to_exitcode(status)
    return Outcome(
        code,
        texts[0],
        texts[1],
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        timed_out,
        places(texts[1]) or places(texts[2]),
    )


def _child(work: Callable[[], int | None], out: int, err: int, where: int, cwd: Path | None) -> None:
    code = DEFECT
    try:
        os.setpgid(0, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (WALL_BYTES, WALL_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.enable(file=where)
        faulthandler.register(WHERE, file=where)
        if cwd is not None:
            os.chdir(cwd)
        code = int(work() or 0)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:  # noqa: BLE001 - all of it is a finding
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or DEFECT
        os._exit(code)


def _wait(pid: int, limit_s: float) -> tuple[int, resource.struct_rusage, bool]:
    handle = os.pidfd_open(pid)
    try:
        ready = wait_for(handle, pid, limit_s)
    finally:
        os.close(handle)
    if not ready:
        ask_where(pid)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return status, usage, not ready


def ask_where(pid: int) -> None:
    """Have a child write where it is, and give it the time to."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, WHERE)
    time.sleep(TOLD_S)


def wait_for(handle: int, pid: int, limit_s: float) -> bool:
    """Wait until there is something to read; give a child up that has worked, or done nothing at all, for so long.

    Time on the clock says little on a machine that others use too: what counts is processor time, and sleep.
    """
    begun = latest = processor_s(pid)
    worked = time.monotonic()
    while True:
        if select.select([handle], [], [], STEP_S)[0]:
            return True
        used = processor_s(pid)
        if used > latest:
            latest, worked = used, time.monotonic()
        if used - begun > limit_s or time.monotonic() - worked > limit_s:
            return False


def processor_s(pid: int) -> float:
    """Processor time of a child so far, all its threads together."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    words = text.rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def places(text: str) -> tuple[str, ...]:
    """Frames of the program in a traceback or in what faulthandler wrote: file and function, outermost first."""
    found = []
    backwards = "most recent call first" in text and "Traceback (most recent call last)" not in text
    for line in text.splitlines():
        head = line.strip()
        if head.startswith('File "') and "/ki67/" in head:
            name, _, rest = head[6:].partition('"')
            function = rest.rpartition(" in ")[2]
            found.append(f"{name.rpartition('/ki67/')[2]}:{function}")
    return tuple((found[::-1] if backwards else found)[-3:])


def preload() -> None:
    """Import all that commands import when they run, and what leaves no thread behind."""
    import ki67.cli
    import ki67.evaluation
    import ki67.export
    import ki67.pipeline
    import ki67.report  # noqa: F401


def run_command(words: list[str], limit_s: float = LIMIT_S, cwd: Path | None = None) -> Outcome:
    """Run ``ki67`` with these words in a child."""

    def work() -> None:
        from ki67.cli import main

        sys.argv = ["ki67", *words]
        main()

    return run_isolated(work, limit_s, cwd)
