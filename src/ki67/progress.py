"""Progress on stderr: a bar with the time left, silent under ``--quiet`` and when stderr is no terminal.

Work deep in a stage reports through :func:`track`; the command line decides once, with :func:`configure`, whether
and how it is shown. On something that is not a terminal (a log file) each bar leaves one line at its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

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

_quiet = True


def configure(*, quiet: bool) -> None:
    """Show progress and messages on stderr, or silence them. Silent until the command line asks for it."""
    global _quiet
    _quiet = quiet


def message(text: str) -> None:
    """Say one line on stderr."""
    if not _quiet:
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, showing a bar with count, time used and time left on stderr."""
    if _quiet:
        yield from items
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
