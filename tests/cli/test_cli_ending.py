"""However a command ends: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ki67.cli import ending
from ki67.errors import BusyError, DiskFullError, SlideError

Run = Callable[..., object]
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and descriptors")


def ended(error: BaseException | None, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and stderr of a command that raises."""

    def command(_words: list[str]) -> None:
        if error is not None:
            raise error

    try:
        ending.run(command, words)
    except SystemExit as stop:
        return int(stop.code or 0), capfd.readouterr().err
    return 0, capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SlideError("a.svs", "is no slide", "Look again."), 1, "error: a.svs: is no slide. Look again."),
        (BusyError("case", "is in use by another run", "Wait."), 75, "error: case: is in use by another run. Wait."),
        (SlideError("a\nb\x1b[31m\udcfc.svs", "is no slide"), 1, r"error: a b\x1b[31m\xfc.svs: is no slide"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "error: this is a defect of the program: ZeroDivisionError: divis",
        ),
        (RecursionError("too deep"), 1, "with --debug and report it"),
        (KeyError("x"), 1, "defect of the program: KeyError: 'x'"),
        (AssertionError(), 1, "defect of the program: AssertionError; run"),
        (MemoryError(), 75, "error: out of memory"),
        (RuntimeError("[ONNXRuntimeError] : 6 : std::bad_alloc"), 75, "error: out of memory"),
        (OSError(12, "Cannot allocate memory"), 75, "error: out of memory"),
        (OSError(28, "No space left on device", "cells"), 75, "error: cells: No space left on device"),
        (OSError(116, "Stale file handle", "slide.svs"), 75, "error: slide.svs: Stale file handle"),
        (DiskFullError("cells", "the disk is full", "Free some."), 75, "error: cells: the disk is full. Free some."),
        (OSError(5, "Input/output error", "slide.svs"), 1, "error: slide.svs: Input/output error"),
        (OSError(5, "Input/output error", b"\xfc.svs"), 1, r"error: \xfc.svs: Input/output error"),
        (OSError(36, "File name too long", 7), 1, "reading, writing: File name too long"),
        (OSError("broken data stream"), 1, "defect of the program: OSError: broken data stream"),
    ],
)
def test_whatever_is_raised_is_told_in_one_line(
    capfd: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    found, stderr = ended(error, capfd)
    assert found == code
    assert said in stderr
    assert stderr.startswith("ki67: error: ")
    assert stderr.count("\n") == 1
    assert "Traceback" not in stderr


@pytest.mark.parametrize("words", [("--debug", "count"), ("count", "--debug"), ("count", "x", "--debug", "--", "y")])
def test_debug_shows_the_traceback_before_the_line(capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, stderr = ended(ZeroDivisionError("division by zero"), capfd, *words)
    assert code == 1
    assert stderr.startswith("Traceback")
    assert stderr.splitlines()[-1].startswith("ki67: error: this is a defect")


def test_a_file_called_debug_can_be_named() -> None:
    seen: list[str] = []
    ending.run(seen.extend, ["export", "--debug", "--", "--debug"])
    assert seen == ["export", "--", "--debug"]


def test_the_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    ending.run(lambda words: None, [])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


STAGE = """
import sys, time
from ki67.case import Stage, open_case
from ki67.cli import ending
from ki67.files import atomic_path

def work():
    with atomic_path(sys.argv[1] + "/count.txt") as path:
        path.write_text("half")
        print("ready", flush=True)
        {wait}
        path.write_text("whole")
    return {{"warnings": []}}

def command(words):
    with open_case(sys.argv[1], "count", {{"ki67": {{"path": "a", "fingerprint": 1}}}}, {{}}, ["count.txt"]) as case:
        case.run_stage(Stage("count", 1, ("count.txt",)), {{}}, (), work)

ending._GRACE_S = 0.2
ending.run(command, [])
"""


def stopped(folder: Path, number: int, wait: str = "time.sleep(100)") -> tuple[int, str]:
    """Exit code and stderr of a command that a signal reaches in the middle of writing."""
    # Whoever runs the tests may be shielded from the signal, and its children with it.
    handler = "default_int_handler" if number == signal.SIGINT else "SIG_DFL"
    plain = f"import signal; signal.signal({int(number)}, signal.{handler})\n"
    words = [sys.executable, "-c", plain + STAGE.format(wait=wait), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        return process.returncode, stderr


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_stopped_command_says_that_it_can_be_continued(tmp_path: Path, name: str, code: int) -> None:
    found, stderr = stopped(tmp_path, getattr(signal, name))
    assert found == code
    assert stderr == f"ki67: interrupted ({name}); the same command continues from the last finished stage\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"run.json", "run.jsonl", ".lock"}
    assert json.loads((tmp_path / "run.json").read_text())["stages"]["count"]["state"] == "running"


@posix
def test_a_library_that_does_not_return_does_not_hold_the_signal_up(tmp_path: Path) -> None:
    long = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2_000_000_000)"
    found, stderr = stopped(tmp_path, signal.SIGTERM, long)
    assert found == 143
    assert "ki67: interrupted (SIGTERM)" in stderr
    assert not list(tmp_path.glob(".part-*"))


@posix
def test_what_nohup_shields_from_stays_shielded(tmp_path: Path) -> None:
    wait = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.2)"
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + STAGE.format(wait=wait)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True)
    assert (tmp_path / "count.txt").read_text() == "whole"


SHELL = "from ki67.cli import main; main()"


@posix
@pytest.mark.parametrize("closed", ["<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path: Path, closed: str) -> None:
    line = f'"{sys.executable}" -c "{SHELL}" --version {closed}'
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@posix
def test_a_reader_that_has_gone_ends_the_command_quietly() -> None:
    program = "import sys; from ki67.cli import ending; ending.run(lambda words: print('x' * 10_000_000), [])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@posix
def test_a_poor_terminal_gets_what_it_can_show(tmp_path: Path) -> None:
    poor = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "TERM": "dumb", "COLUMNS": "10"}
    environment = {name: value for name, value in os.environ.items() if name != "HOME"} | poor
    words = [sys.executable, "-c", SHELL]
    help_ = subprocess.run([*words, "--help"], capture_output=True, env=environment, check=False)
    assert (help_.returncode, help_.stderr) == (0, b"")
    name = os.fsencode(tmp_path) + b"/Pr\xfcfung \xc2\xb5.csv"
    wrong = subprocess.run(
        [*words, "evaluate", "index", name, name, "--json"], capture_output=True, env=environment, check=False
    )
    assert wrong.returncode == 1
    assert wrong.stdout == b""
    assert wrong.stderr.count(b"\n") == 1
    assert rb"Pr\xfcfung" in wrong.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("count", "a.svs", "--out", ""),
        ("count", "a.svs", "--out="),
        ("count", "", "--out", "case"),
        ("count", "a.svs", "--out", "case", "--regions", ""),
        ("score", "a.svs", "b.svs", "--out", "case", "--ki67-mpp", "nan"),
        ("register", "a.svs", "b.svs", "--out", "case", "--shift", "inf", "1"),
        ("evaluate", "cells", "dir", "--layout", "points", "--radius-um", "inf"),
        ("idc", "train", "p", "o", "--learning-rate", "nan"),
    ],
)
def test_an_empty_name_and_a_number_that_is_none_are_wrong_usage(ki67: Run, words: tuple[str, ...]) -> None:
    outcome = ki67(*words)
    assert outcome.code == 2  # type: ignore[attr-defined]
    assert "Traceback" not in outcome.stderr  # type: ignore[attr-defined]
