"""A bounded cache in which each tile is decoded once, however many threads ask for it; slides share one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from itertools import islice
from typing import Final

from ki67.light import RgbImage

EVICTED_AT_ONCE: Final = 64  # looked at for each tile that comes, the oldest first
ENTRY_BYTES: Final = 2048

Key = tuple[Hashable, ...]
"""Whose tile it is, and which."""


class TileCache:
    """Least recently used tiles make room; memory stays below ``limit_bytes`` plus the tiles in work."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Key, Future[RgbImage]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, decode: Callable[[], RgbImage]) -> RgbImage:
        """Return the tile; the first to ask decodes it, the others wait. An error is not kept."""
        with self._lock:
            future = self._tiles.get(key)
            mine = future is None
            if future is None:
                future = self._tiles[key] = Future()
            else:
                self._tiles.move_to_end(key)
        if mine:
            self._decode(key, decode, future)
        return future.result()

    def forget(self, owner: Hashable) -> None:
        """Forget the tiles whose key begins with an owner: those of one slide, where several share a cache."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == owner]:
                future = self._tiles.pop(key)
                if future.done():
                    self._bytes -= _cost(future.result())

    def _decode(self, key: Key, decode: Callable[[], RgbImage], future: Future[RgbImage]) -> None:
        try:
            tile = decode()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiting threads must hear of it
            with self._lock:
                self._tiles.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            future.set_result(tile)
            if self._tiles.get(key) is future:
                self._bytes += _cost(tile)
            self._evict()

    def _evict(self) -> None:
        if self._bytes <= self._limit_bytes:
            return
        for key in list(islice(self._tiles, EVICTED_AT_ONCE)):
            if self._bytes <= self._limit_bytes:
                return
            future = self._tiles[key]
            if future.done():
                del self._tiles[key]
                self._bytes -= _cost(future.result())


def _cost(tile: RgbImage) -> int:
    """Memory of a tile with its place in the cache, which for small ones is most of it."""
    return tile.nbytes + ENTRY_BYTES
