"""Open slides, shared by all who look at them: opened once, read by many, closed when long unused."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ki67.jobs import TileRoom, current, entered
from ki67.server.stamps import Stamp, stamp_of
from ki67.slides import Slide

DECODED_MB: Final = 134.0
"""Memory for decoded tiles of all slides together."""

MOST_OPEN: Final = 40
"""Slides that stay open while nobody reads them; each holds its directory of tiles, a few MB of a large slide."""

MOST_PLAIN_BYTES: Final = 2**28
"""Plain pictures are held decoded: so much of them stays while nobody reads them."""


@dataclass
class _Entry:
    stamp: Stamp | None
    slide: Future[Slide]
    users: int = 0
    gone: bool = False


class SlidePool:
    """Slides by their path; one that changes on the disk is opened again."""

    def __init__(self, decoded_mb: float = DECODED_MB, most_open: int = MOST_OPEN) -> None:
        self._tiles = TileRoom(decoded_mb)
        self._most_open = most_open
        self._lock = threading.Lock()
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()

    @contextmanager
    def slide(self, path: Path, open_it: Callable[[], Slide]) -> Iterator[Slide]:
        """Hold an open slide; it is not closed meanwhile.

        Parameters
        ----------
        path
            Its place.
        open_it
            Opens it, where it is not open yet.

        Raises
        ------
        Ki67Error
            What opening it raises.
        """
        entry, mine = self._entry(path)
        try:
            if mine:
                self._open(path, entry, open_it)
            yield entry.slide.result()
        finally:
            self._release(entry)

    def close(self) -> None:
        """Close all slides that nobody reads."""
        with self._lock:
            idle = [path for path, entry in self._entries.items() if not entry.users]
            for path in idle:
                self._drop(path)

    def _entry(self, path: Path) -> tuple[_Entry, bool]:
        stamp = stamp_of(path)
        with self._lock:
            entry = self._entries.get(path)
            if entry is not None and entry.stamp != stamp:
                self._drop(path)
                entry = None
            mine = entry is None
            if entry is None:
                entry = self._entries[path] = _Entry(stamp, Future())
            entry.users += 1
            self._entries.move_to_end(path)
            return entry, mine

    def _open(self, path: Path, entry: _Entry, open_it: Callable[[], Slide]) -> None:
        try:
            with entered(replace(current(), tiles=self._tiles)):
                slide = open_it()
        except BaseException as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
            with self._lock:
                if self._entries.get(path) is entry:
                    del self._entries[path]
            entry.slide.set_exception(error)
        else:
            entry.slide.set_result(slide)

    def _release(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if entry.gone and not entry.users:
                _close(entry)
            idle = [path for path, one in self._entries.items() if not one.users and one.slide.done()]
            plain = sum(_plain_bytes(self._entries[path]) for path in idle)
            for path in idle:
                if len(self._entries) <= self._most_open and plain <= MOST_PLAIN_BYTES:
                    break
                plain -= _plain_bytes(self._entries[path])
                self._drop(path)

    def _drop(self, path: Path) -> None:
        """Forget a slide, and close it when its last reader has ended."""
        entry = self._entries.pop(path)
        entry.gone = True
        if not entry.users:
            _close(entry)


def _close(entry: _Entry) -> None:
    if entry.slide.done() and entry.slide.exception() is None:
        entry.slide.result().close()


def _plain_bytes(entry: _Entry) -> int:
    if entry.slide.exception() is not None:
        return 0
    slide = entry.slide.result()
    tiled = slide.reader == "tifffile" or slide.reader.startswith("openslide:")
    return 0 if tiled else 3 * slide.size_px[0] * slide.size_px[1]
