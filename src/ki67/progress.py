"""Progress of the job at hand (:mod:`ki67.jobs`), and how the command line shows it on stderr.

Work deep in a stage reports through :func:`track` and :func:`message`, and is stopped there where its job was
cancelled. On a terminal a command shows a bar with the time left; on something else (a log file) each bar leaves one
line at its end. A program that starts this one with :data:`PROGRESS_LINES` in its environment gets lines of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import replace
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

from ki67.jobs import Display, Nowhere, Pool, current, entered, show_on

T = TypeVar("T")

PROGRESS_LINES: Final = "KI67_PROGRESS_LINES"
"""Variable of the environment that asks for progress as lines ``{"stage": …, "done": n, "total": n or null}``."""

LINE_EVERY_S: Final = 0.2


def configure(*, quiet: bool) -> None:
    """Show progress and messages on stderr, or nowhere; for a command, which is a process."""
    show_on(Nowhere() if quiet else _on_stderr())


def message(text: str) -> None:
    """Say one line.

    Raises
    ------
    CancelledError
        Where the job was cancelled.
    """
    current().stop_if_cancelled()
    current().display.message(text)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and report how many are done.

    Raises
    ------
    CancelledError
        Where the job was cancelled, before the next item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    at_work, done = current(), 0
    with at_work.display.stage(description, total) as tell:
        tell(done)
        for item in items:
            at_work.stop_if_cancelled()
            yield item
            done += 1
            tell(done)


@contextmanager
def counted(description: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show work that is no loop; what it yields is called after each part of it.

    Raises
    ------
    CancelledError
        Where the job was cancelled, after the next part.
    """
    at_work, done = current(), 0
    with at_work.display.stage(description, total) as tell:
        tell(done)

        def one_more() -> None:
            nonlocal done
            at_work.stop_if_cancelled()
            done += 1
            tell(done)

        yield one_more


@contextmanager
def beside(description: str, work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Do work in a thread of its own beside what is done within; what it yields waits for it, and returns its result.

    How far it has come is shown only while it is waited for, since what goes on beside it shows its own. Where what
    is done within fails, the work is stopped.

    Raises
    ------
    CancelledError
        Where the job was cancelled, while it is waited for; and whatever the work raises.
    """
    aside = _Aside(description)
    with Pool(description, 1) as pool:
        with entered(replace(current(), display=aside)):
            at_work = pool.submit(work)

        def waited_for() -> T:
            while not at_work.done():
                aside.show(at_work)
            return at_work.result()

        yield waited_for


class _Aside:
    """Keeps how far work has come until somebody asks."""

    def __init__(self, description: str) -> None:
        self._at: tuple[str, int, int | None] = description, 0, None

    def message(self, text: str) -> None:
        """Say nothing: the work is not what is shown."""

    @contextmanager
    def stage(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Keep every step."""

        def tell(done: int) -> None:
            self._at = text, done, total

        yield tell

    def show(self, work: Future[T]) -> None:
        """Show the stage that the work is in until it or the work ends."""
        at_work = current()
        stage, _, total = self._at
        with at_work.display.stage(stage, total) as tell:
            while self._at[0] == stage:
                tell(self._at[1])
                at_work.stop_if_cancelled()
                if wait([work], LINE_EVERY_S).done:
                    tell(self._at[1])
                    return


def _on_stderr() -> Display:
    if os.environ.get(PROGRESS_LINES):
        return JsonLines()
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """A line at the end of each stage."""

    def message(self, text: str) -> None:
        """Say one line on stderr."""
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)

    @contextmanager
    def stage(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Say how many there were, and how long they took."""
        start, count = time.monotonic(), 0

        def tell(done: int) -> None:
            nonlocal count
            count = done

        yield tell
        self.message(f"{text}: {count} done in {time.monotonic() - start:.1f} s")


class Bars(Lines):
    """A bar for each stage, with count, time used and time left."""

    @contextmanager
    def stage(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a bar while it lasts."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(text, total=total)
            yield lambda done: progress.update(task, completed=done)


class JsonLines:
    """Lines for a program, a few a second."""

    def message(self, text: str) -> None:
        """Write a stage of nothing."""
        _line(text, 0, None)

    @contextmanager
    def stage(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Write its first step and its last, and between them what is new every :data:`LINE_EVERY_S`."""
        last, count = 0.0, 0

        def tell(done: int) -> None:
            nonlocal last, count
            count, now = done, time.monotonic()
            if now - last >= LINE_EVERY_S:
                last = now
                _line(text, done, total)

        yield tell
        _line(text, count, total)


def _line(description: str, done: int, total: int | None) -> None:
    sys.stderr.write(json.dumps({"stage": description, "done": done, "total": total}) + "\n")
    sys.stderr.flush()
