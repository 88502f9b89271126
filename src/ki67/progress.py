"""Progress on stderr: a bar with the time left, silent under ``--quiet`` and when stderr is no terminal.

Work deep in a stage reports through :func:`track`; the command line decides once, with :func:`configure`, whether
and how it is shown. On something that is not a terminal (a log file) each bar leaves one line at its end. A
program that starts this one with :data:`PROGRESS_LINES` in its environment gets progress as lines of JSON instead.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

PROGRESS_LINES: Final = "KI67_PROGRESS_LINES"
"""Variable of the environment that asks for progress as lines ``{"stage": …, "done": n, "total": n or null}``."""

LINE_EVERY_S: Final = 0.2

_quiet = True


def configure(*, quiet: bool) -> None:
    """Show progress and messages on stderr, or silence them. Silent until the command line asks for it."""
    global _quiet
    _quiet = quiet


def message(text: str) -> None:
    """Say one line on stderr."""
    if _quiet:
        return
    if os.environ.get(PROGRESS_LINES):
        _line(text, 0, None)
    else:
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, showing a bar with count, time used and time left on stderr."""
    if _quiet:
        yield from items
        return
    if os.environ.get(PROGRESS_LINES):
        yield from _as_lines(items, description, total)
        return
    if not sys.stderr.isatty():
        start = time.monotonic()
        count = 0
        for item in items:
            yield item
            count += 1
        message(f"{description}: {count} done in {time.monotonic() - start:.1f} s")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=description)


def _as_lines(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    if total is None and isinstance(items, Sized):
        total = len(items)
    last, done = 0.0, 0
    for item in items:
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            _line(description, done, total)
        yield item
        done += 1
    _line(description, done, total)


def _line(description: str, done: int, total: int | None) -> None:
    sys.stderr.write(json.dumps({"stage": description, "done": done, "total": total}) + "\n")
    sys.stderr.flush()
