"""What a fault is: how it is drawn, what is run on it, and what counts as right."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hostile.isolate import run_command

LIMIT_S: Final = 180.0
"""Two cores that others use too: three times what a fault may take; above 60 s of processor time it is wrong."""
GB: Final = 2**30
DEFECT: Final = "defect of the program"
HALF_WAY_S: Final = 120.0


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    out: Path

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object on stdout, empty where there is none."""
        try:
            found = json.loads(self.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def counts(self) -> tuple[int, int] | None:
        """Positive and negative cells."""
        found = self.json
        return (found["positive"], found["negative"]) if "negative" in found else None

    @property
    def told(self) -> str:
        """All that a reader is warned of."""
        checks = self.json.get("domain", {}).get("checks", {})
        return " | ".join([*self.json.get("warnings", []), *(check.get("text") or "" for check in checks.values())])

    @property
    def in_one_line(self) -> bool:
        """Exit 1 and one line on stderr, nothing on stdout."""
        lines = self.stderr.strip().splitlines()
        return self.code == 1 and not self.stdout and len(lines) == 1 and lines[0].startswith("ki67: error: ")

    @property
    def summary(self) -> str:
        """What happened, on one line."""
        if self.code == 0:
            found = self.json
            if "index_percent" not in found:
                return " ".join(self.stdout.split())[:160] or "done"
            index = found["index_percent"]
            text = f"{'no index' if index is None else f'{index:.1f} %'} of {found['cells']:,} cells"
            return text + (f"; {self.told}" if self.told else "")
        last = self.stderr.strip().splitlines()[-1:] or ["no word"]
        kind = "" if self.in_one_line else f"exit {self.code}, {len(self.stderr.splitlines())} lines: "
        return kind + last[0].removeprefix("ki67: error: ")


Sound = Mapping[str, Result]
Right = Callable[[Result, Sound], bool]
Draw = Callable[[Path, Path], None]


def same(name: str, within: float = 0.0, saying: str = "") -> Right:
    """As many cells as in the sound file, within a share; and a word about it, where one is wanted."""

    def judge(result: Result, sound: Sound) -> bool:
        wanted, found = sound[name].counts if name in sound else None, result.counts
        if result.code or wanted is None or found is None:
            return False
        near = all(abs(a - b) <= within * max(b, 20) for a, b in zip(found, wanted, strict=True))
        return near and bool(re.search(saying, result.told, re.I | re.S))

    return judge


def index(low: float, high: float, cells: tuple[int, int] = (1, 10**9)) -> Right:
    """An index and a number of cells in these ranges."""

    def judge(result: Result, _: Sound) -> bool:
        found = result.json.get("index_percent")
        return (
            result.code == 0
            and found is not None
            and low <= found <= high
            and cells[0] <= result.json["cells"] <= cells[1]
        )

    return judge


def refused(words: str, never: str = DEFECT) -> Right:
    """One line that holds these words, and none of those."""

    def judge(result: Result, _: Sound) -> bool:
        found = re.search(words, result.stderr, re.I | re.S)
        return result.in_one_line and found is not None and not re.search(never, result.stderr, re.I)

    return judge


def told(words: str) -> Right:
    """An index, with these words in the warnings."""
    return lambda result, _: result.code == 0 and bool(re.search(words, result.told, re.I | re.S))


def no_index(words: str) -> Right:
    """Counts without an index, and why."""

    def judge(result: Result, _: Sound) -> bool:
        found = result.json
        withheld = "index_percent" in found and found["index_percent"] is None
        return result.code == 0 and withheld and bool(re.search(words, result.told, re.I | re.S))

    return judge


def done(_: Result, __: Sound) -> bool:
    """Exit 0."""
    return _.code == 0


def left(present: tuple[str, ...] = (), absent: tuple[str, ...] = ()) -> Right:
    """Files that must be, and must not be, in the case's folder afterwards."""

    def judge(result: Result, _: Sound) -> bool:
        there = all((result.out / name).exists() for name in present)
        return there and not any((result.out / name).exists() for name in absent)

    return judge


def both(*rights: Right) -> Right:
    """All of them."""
    return lambda result, sound: all(right(result, sound) for right in rights)


@dataclass(frozen=True)
class Fault:
    """One sample of a kind of fault.

    ``words`` is the command; in it ``{i}`` is the folder of the drawn inputs, ``{sim}`` that of the simulated pairs,
    ``{out}`` the case's folder, ``{data}`` the real data. ``first`` are commands before the one that is judged.
    """

    kind: int
    name: str
    words: tuple[str, ...]
    right: tuple[Right, ...]
    expected: str
    draw: Draw | None = None
    first: tuple[tuple[str, ...], ...] = ()
    then: tuple[str, ...] = ()
    """A command after it, which is judged instead."""
    env: dict[str, str] = field(default_factory=dict)
    closed: tuple[int, ...] = ()
    prepare: Callable[[Path, Path], object] | None = None
    """Puts something into the case's folder (second: the drawn inputs) before the command."""
    signal: int = 0
    memory: int = 0
    needs: str = ""
    """A file under the real data without which it is passed over."""
    sound: bool = False
    """Not a fault: what others are compared with by this name."""

    @property
    def folder(self) -> str:
        """A name for its folders: no words, which a judge might take for the program's."""
        return f"{self.kind}-{zlib.crc32(self.name.encode()):08x}"


def fault(
    kind: int,
    name: str,
    words: str | tuple[str, ...],
    right: Right | tuple[Right, ...],
    expected: str,
    draw: Draw | None = None,
    **more: Any,
) -> Fault:
    """Return a fault; a command in one string gets ``--out``, and answers in JSON where it counts."""
    rights = right if isinstance(right, tuple) else (right,)
    first = tuple(command(one) for one in more.pop("first", ()))
    given = command(words) if isinstance(words, str) else words
    return Fault(kind, name, given, rights, expected, draw, first, **more)


def count(
    kind: int,
    name: str,
    draw: Draw,
    right: Right | tuple[Right, ...],
    expected: str,
    options: str = "",
    file: str = "f.tif",
    **more: Any,
) -> Fault:
    """Return a fault of a file that is drawn and counted."""
    return fault(kind, name, f"count {{i}}/{file} {options}", right, expected, draw, **more)


def command(text: str) -> tuple[str, ...]:
    """Words of a command."""
    words = text.split()
    if words[0] in {"count", "score", "idc"}:
        words += [*(() if "--out" in words else ("--out", "{out}")), "--quiet", "--json"]
    return tuple(words)


def run(words: list[str], out: Path, source: Path, fault: Fault | None = None) -> Result:
    """Run a command and measure it.

    In a fork of this process, which has the program imported; in a fresh one where the fault lies in how it starts.
    """
    if fault is None or not (fault.env or fault.closed or fault.signal or fault.memory):
        done = run_command(words, LIMIT_S)
        return Result(done.code, done.stdout, done.stderr, done.seconds, done.cpu_seconds, done.peak_bytes, out)
    return _run_afresh(words, out, source, fault)


def _run_afresh(words: list[str], out: Path, source: Path, fault: Fault) -> Result:
    env = {**os.environ, "PYTHONPATH": str(source), **fault.env}

    def prepare() -> None:
        limit = fault.memory or 16 * GB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for number in fault.closed:
            os.close(number)

    start = time.monotonic()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", "from ki67.cli import main; main()", *words],
            env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, preexec_fn=prepare,
        )  # fmt: skip
        try:
            if fault.signal:
                _interrupt(process, out, fault.signal)
            usage = _wait(process)
        finally:
            if process.returncode is None:
                process.kill()
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "backslashreplace"))
    seconds = time.monotonic() - start
    cpu = usage.ru_utime + usage.ru_stime
    return Result(process.returncode, texts[0], texts[1], seconds, cpu, usage.ru_maxrss * 1024, out)


def _wait(process: subprocess.Popen[bytes]) -> resource.struct_rusage:
    end = time.monotonic() + LIMIT_S
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        if time.monotonic() > end:
            process.send_signal(signal.SIGKILL)
            end = float("inf")
        time.sleep(0.05)


def _interrupt(process: subprocess.Popen[bytes], out: Path, number: int) -> None:
    """Send a signal once a stage is under way."""
    end = time.monotonic() + HALF_WAY_S
    while time.monotonic() < end and process.poll() is None:
        manifest = out / "run.json"
        if manifest.is_file() and '"running"' in manifest.read_text(encoding="utf-8"):
            time.sleep(0.3)
            process.send_signal(number)
            return
        time.sleep(0.05)
