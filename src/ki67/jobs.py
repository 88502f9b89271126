"""The job that work belongs to: who is told of it, who may stop it, and how much of the machine it takes.

What is called within ``with job(...)`` belongs to that job, in this thread and in the :class:`Pool` that it hands
work to; jobs of other threads never meet. Work outside any job is silent, runs to its end, and takes the machine as
it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast

from ki67.errors import CancelledError
from ki67.processors import usable_processors
from ki67.trace import Trace
from ki67.vocabulary import Device

T = TypeVar("T")
P = ParamSpec("P")

Progress = Callable[[str, int, int | None], object]
"""Told the stage, how much of it is done, and of how much (None: not known); a message is a stage of nothing."""

TILE_CACHE_MB: Final = 200.0
"""Half of it holds two rows of 512 px tiles across a section 30,000 px wide, which reading in strips asks for."""

MOST_WORKERS: Final = 8
"""Threads that work on pictures at once, however many processors there are: each takes a quarter of a gigabyte."""

TILE_CACHES: Final = 2
"""Kinds of caches: ours and OpenSlide's, which keeps its tiles where nothing else reaches them."""


class Display(Protocol):
    """Shows how far work has come."""

    def message(self, text: str) -> None:
        """Say one line."""
        ...

    def stage(self, text: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Open a stage of work; what it yields is told how much of it is done, and the stage ends with it."""
        ...


class Nowhere:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def stage(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Show nothing of a stage."""
        yield lambda _done: None


@dataclass(frozen=True)
class Told:
    """Shows it to a function."""

    progress: Progress

    def message(self, text: str) -> None:
        """Tell a stage of nothing."""
        self.progress(text, 0, None)

    @contextmanager
    def stage(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Tell every step."""
        yield lambda done: cast("None", self.progress(text, done, total))


class TileRoom:
    """Memory for decoded tiles, which all slides opened in a job share.

    Parameters
    ----------
    megabytes
        Memory (10^6 bytes) for the tiles of all of them together, an equal part for each kind of cache.
    """

    def __init__(self, megabytes: float = TILE_CACHE_MB) -> None:
        self._bytes_each = round(megabytes * 1e6 / TILE_CACHES)
        self._lock = threading.Lock()
        self._caches: dict[Hashable, Any] = {}

    def cache(self, kind: Callable[[int], T]) -> T:
        """The one cache of a kind, made with its limit in bytes when it is first asked for."""
        with self._lock:
            if kind not in self._caches:
                self._caches[kind] = kind(self._bytes_each)
            return cast("T", self._caches[kind])


@dataclass(frozen=True)
class Job:
    """What work asks for while it runs; :func:`job` makes it and :func:`current` finds it.

    Parameters
    ----------
    display
        Where progress is shown.
    stops
        Asked whether the work shall end; one that says so is enough.
    most_threads
        Threads that work at once; None for as many as there are usable processors.
    device
        Where models run unless they are told otherwise.
    tiles
        Memory for decoded tiles.
    trace
        Where it is noted what takes time; None notes nothing.
    """

    display: Display = field(default_factory=Nowhere)
    stops: tuple[Callable[[], bool], ...] = ()
    most_threads: int | None = None
    device: Device = Device.cpu
    tiles: TileRoom = field(default_factory=TileRoom)
    trace: Trace | None = None

    @property
    def threads(self) -> int:
        """Threads that work at once in each step."""
        return self.most_threads or usable_processors()

    @property
    def workers(self) -> int:
        """Threads of a :class:`Pool`, each of which holds pictures in memory."""
        return min(self.threads, MOST_WORKERS)

    def stop_if_cancelled(self) -> None:
        """End here where the job was cancelled.

        Raises
        ------
        CancelledError
            Where it was.
        """
        if any(stop() for stop in self.stops):
            raise CancelledError


_NO_JOB: Final = Job()
_current: Final[ContextVar[Job]] = ContextVar("ki67_job", default=_NO_JOB)


def current() -> Job:
    """The job that the caller works in."""
    return _current.get()


def span(name: str) -> AbstractContextManager[None]:
    """Note what is done within in the job's trace, where it has one."""
    trace = current().trace
    return nullcontext() if trace is None else trace.span(name)


@contextmanager
def entered(one: Job) -> Iterator[Job]:
    """Work in a job; it may be entered several times, from several threads too."""
    token = _current.set(one)
    try:
        yield one
    finally:
        _current.reset(token)


def show_on(display: Display) -> None:
    """Show progress there from now on: for a command, whose whole process is one job."""
    _current.set(replace(current(), display=display))


def trace_into(trace: Trace) -> None:
    """Note what takes time from now on: for a command, whose whole process is one job."""
    _current.set(replace(current(), trace=trace))


def job(
    *,
    progress: Progress | None = None,
    cancelled: threading.Event | Callable[[], bool] | None = None,
    threads: int | None = None,
    device: Device | str | None = None,
    tile_cache_mb: float | None = None,
) -> AbstractContextManager[Job]:
    """Do what follows as one job: ``with ki67.job(progress=show, cancelled=event): ki67.run_score(...)``.

    A job within a job has what it is not given from the outer one, and ends when either is cancelled. No number
    depends on threads or memory.

    Parameters
    ----------
    progress
        Called in the thread that works, with the stage, how much of it is done, and of how much (None: not known).
        A message, such as that the report is being written, comes with 0 and None. What it raises ends the work.
    cancelled
        An event, or a function, asked before every step (a tile, a block of the heat map, a run of elastix). Where it
        is set the work ends with :class:`ki67.errors.CancelledError` after the steps under way, and a case's folder
        is left as a killed run leaves it: the same call continues from the last finished stage.
    threads
        Threads that work at once in each step, those that only read ahead included; None for as many as there are
        processors, or as the container's quota allows. Threads of NumPy's and OpenCV's own are the process's:
        ``OMP_NUM_THREADS``, ``cv2.setNumThreads``.
    device
        Where models run that are not told otherwise: ``cpu``, ``auto`` or ``cuda``.
    tile_cache_mb
        Memory in MB (10^6 bytes) for decoded tiles of all slides opened in the job, half of it for those that
        OpenSlide reads; 200 by default.

    Raises
    ------
    ValueError
        Where a number is no more than zero, or there is no such device.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    if tile_cache_mb is not None and not tile_cache_mb > 0:
        raise ValueError(f"tile_cache_mb must be more than 0, got {tile_cache_mb}")
    outer = current()
    given: dict[str, Any] = {}
    if progress is not None:
        given["display"] = Told(progress)
    if cancelled is not None:
        given["stops"] = (*outer.stops, cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled)
    if threads is not None:
        given["most_threads"] = threads
    if device is not None:
        given["device"] = Device(device)
    if tile_cache_mb is not None:
        given["tiles"] = TileRoom(tile_cache_mb)
    return entered(replace(outer, **given))


class Pool(ThreadPoolExecutor):
    """Threads whose work belongs to the job of whoever hands it in, and is stopped where that one gives up.

    Parameters
    ----------
    workers
        How many; None for as many as the job may have, eight at most.
    name
        Of the threads, for who looks at the process.
    """

    def __init__(self, name: str, workers: int | None = None) -> None:
        super().__init__(workers or current().workers, thread_name_prefix=name)
        self._given_up = threading.Event()

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        """Wait for the work; after an error only for what cannot be stopped."""
        if kind is not None:
            self._given_up.set()
        self.shutdown(wait=True, cancel_futures=kind is not None)

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in work."""
        context = copy_context()

        def traced() -> T:
            own = replace(current(), stops=(*current().stops, self._given_up.is_set))
            with entered(own), span(getattr(work, "__name__", "work").lstrip("_")):
                return work(*args, **kwargs)

        return super().submit(lambda: context.run(traced))
