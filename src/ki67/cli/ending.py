"""How a command ends: its exit code, and one line on stderr instead of a traceback, whatever happens.

Exit codes: 0 done; 1 a known error, or a defect of the program; 2 wrong usage; 75 a temporary state that passes by
itself, try again (no memory, disk full, folder in use, file server away); 129, 130 and 143 stopped by SIGHUP, SIGINT
and SIGTERM; 141 nobody reads the output any more.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

from ki67.errors import TEMPORARY, Ki67Error
from ki67.files import DISK_FULL, printable, remove_unfinished, without_secrets

DEBUG: Final = "--debug"

_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_NOBODY_READS: Final = 141
"""128 + SIGPIPE, as the shell tells of programs that such a pipe ends."""

_GRACE_S: Final = 10.0
"""A library at work sees no signal before it returns; after this long the process ends without it."""

_AGAIN: Final = "the same command continues from the last finished stage"
_PASSING: Final = DISK_FULL | {
    number
    for name in (
        "EAGAIN",
        "EMFILE",
        "ENFILE",
        "ENOBUFS",
        "ESTALE",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
    )
    if (number := getattr(errno, name, None)) is not None
}
"""What a system refuses now and may grant later: room, files, processes, a file server."""

_NO_MEMORY: Final = re.compile(
    r"bad_alloc|out of memory|insufficient memory|not enough memory|(can't|cannot|unable to|failed to) allocate"
    r"|can't start new thread",
    re.IGNORECASE,
)
"""What libraries say that have no exception of their own for it."""


class Stopped(BaseException):
    """A signal asks the program to end; no error, so that nothing takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


def run(command: Callable[[list[str]], object], words: Sequence[str]) -> None:
    """Run a command with its words and leave the process as the command ends.

    Parameters
    ----------
    command
        Takes the words without ``--debug``, which is everybody's and shows the traceback of whatever goes wrong.
    words
        As on the command line.

    Raises
    ------
    SystemExit
        With the exit code.
    """
    words = list(words)
    own = words[: words.index("--")] if "--" in words else words
    debug = DEBUG in own
    _prepare_streams()
    if not debug:
        _silence_libraries()
    try:
        with _signals():
            try:
                command([word for place, word in enumerate(words) if word != DEBUG or place >= len(own)])
            finally:
                sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
        sys.exit(_NOBODY_READS)
    except Stopped as stop:
        _end(told_of_signal(stop.number), 128 + stop.number)
    except Exception as error:  # noqa: BLE001  whatever it is, the user gets one line and not a traceback
        if debug:
            sys.stderr.write(without_secrets(traceback.format_exc()))
        text, code = told(error)
        _end(f"error: {text}", code)


def told(error: Exception) -> tuple[str, int]:
    """What is said of an error, and the exit code: 75 is decided here, and by the errors that carry it."""
    if isinstance(error, Ki67Error):
        return str(error), error.exit_code
    enomem = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or enomem or _NO_MEMORY.search(str(error)):
        text = "out of memory; close other programs, or use a machine with more, and run the same command again"
        return text, TEMPORARY
    if isinstance(error, OSError) and error.errno is not None:
        name = (
            printable(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "reading, writing"
        )
        code = TEMPORARY if error.errno in _PASSING else 1
        return f"{name}: {error.strerror or error}. Mend that and run the same command again", code
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"this is a defect of the program: {what}; run the same command again with {DEBUG} and report it", 1


def told_of_signal(number: int) -> str:
    """What is said where a signal stops the program."""
    return f"interrupted ({signal.Signals(number).name}); {_AGAIN}"


def _end(text: str, code: int) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"ki67: {one_line(text)}\n")
        sys.stderr.flush()
    sys.exit(code)


def one_line(text: str) -> str:
    """Return text on one line, without secrets and what a terminal would obey (names may hold anything)."""
    words = " ".join(printable(without_secrets(text)).split())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in words)


def _prepare_streams() -> None:
    """Have all three streams, and let them show what their encoding lacks in place of failing at it.

    A stream that was closed would hand its number to the next file that is opened, and libraries would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  stays open to the end
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _silence_libraries() -> None:
    """Keep what libraries warn of for their developers off stderr."""
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())


def _give_up_stdout() -> None:
    """Let what is still buffered go nowhere; the interpreter would complain of it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that ask for an end into :class:`Stopped`; one that was ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def stop(number: int, _frame: FrameType | None) -> None:
        # Once more, and the process ends at once.
        for other in wanted:
            signal.signal(other, signal.SIG_DFL)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in wanted}
    with _watched():
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """End the process where a library does not return for long after a signal."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    over = threading.Event()

    def watch() -> None:
        number = receiver.recv(1)
        if number and not over.wait(_GRACE_S):
            remove_unfinished()
            os.write(2, f"ki67: {told_of_signal(number[0])}\n".encode())
            os._exit(128 + number[0])

    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True, name="signals")
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        sender.close()
        thread.join()
        receiver.close()
