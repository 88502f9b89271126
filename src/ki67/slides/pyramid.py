"""Writing pyramidal tiled TIFFs as a stream: row bands go in, memory does not grow with the slide's height.

The levels are separate image directories marked as reduced, the layout that OpenSlide's generic-tiff driver and
tifffile both read as levels. Level 0 is written while the bands arrive; the tiles of the lower levels are
compressed at the same time and wait in temporary files beside the result until their turn.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.files import atomic_path
from ki67.jobs import Pool

Compression = Literal["jpeg", "deflate", "none"]
Pixels = NDArray[Any]

TILE_MULTIPLE: Final = 16  # TIFF 6.0: tile width and length are multiples of 16
LARGEST_CLASSIC_BYTES: Final = 2_000_000_000  # uncompressed; above it BigTIFF, well clear of the 4 GiB offset limit
DEFLATE_LEVEL: Final = 6  # zlib's own default
UM_PER_CM: Final = 1e4
REDUCED_IMAGE: Final = 1  # TIFF 6.0, NewSubfileType bit 0
# 4:2:0 as most scanners write it; decodes a third faster than 4:4:4
CHROMA_SUBSAMPLING: Final = (2, 2)


class _Sink(Protocol):
    def __call__(self, tile: bytes) -> object: ...


def write_pyramid(
    path: str | Path,
    bands: Iterable[Pixels],
    size_px: tuple[int, int],
    mpp: float,
    *,
    tile_px: int = 512,
    compression: Compression = "jpeg",
    quality: int = 90,
) -> None:
    """Write a pyramidal tiled TIFF from full-width row bands, top to bottom.

    Each level halves the one above it by averaging 2 x 2 pixels (the last row and column of an odd level are
    repeated; NaN counts as missing), down to the first level that fits into one tile.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    bands
        Arrays (H_i, W, 3) uint8 or (H_i, W) float32; the heights may differ and must add up to the height.
    size_px
        Width and height of level 0.
    mpp
        µm per pixel of level 0, written as resolution tags in pixels per cm.
    tile_px
        Tile side, a multiple of 16.
    compression
        ``"jpeg"`` (uint8 only), ``"deflate"`` or ``"none"``, the last two lossless.
    quality
        JPEG quality, 1 to 100.

    Raises
    ------
    ValueError
        Where a band has another width, shape or data type, or the bands do not add up to the height.
    WriteError
        Where the disk is full or the folder cannot be written to.
    """
    width, height = size_px
    if width < 1 or height < 1 or tile_px < TILE_MULTIPLE or tile_px % TILE_MULTIPLE or not mpp > 0:
        msg = f"cannot write {width} x {height} px at {mpp} µm in tiles of {tile_px} px (a multiple of 16)"
        raise ValueError(msg)
    if compression not in get_args(Compression):
        msg = f"unknown compression {compression!r}, expected one of {get_args(Compression)}"
        raise ValueError(msg)
    stream = iter(bands)
    first = next(stream, None)
    if first is None:
        raise ValueError("no bands to write")
    channels = _channels_of(first)
    encode = _encoder(compression, quality, channels)
    sizes = level_sizes(size_px, tile_px)
    with atomic_path(path) as temporary, ExitStack() as stack:
        pool = stack.enter_context(Pool("encode"))
        spools = [stack.enter_context(_Spool(temporary.parent)) for _ in sizes[1:]]
        chain: _Level | None = None
        for size, spool in zip(reversed(sizes[1:]), reversed(spools), strict=True):
            chain = _Level(size, tile_px, _encoding_sink(pool, encode, spool), chain)
        top = _TopLevel(size_px, tile_px, pool, encode, chain)
        bigtiff = width * height * first.dtype.itemsize * channels > LARGEST_CLASSIC_BYTES
        writer = stack.enter_context(tifffile.TiffWriter(temporary, bigtiff=bigtiff))
        layout = _Layout(channels, first.dtype, tile_px, compression)
        checked = _checked(first, stream, size_px)
        layout.write(writer, top.tiles(checked), size_px, mpp, reduced=False)
        # tifffile drops the generator at the last tile it needs, so what follows that tile is done here.
        if next(checked, None) is not None:
            raise AssertionError("a band was left over that the row count did not catch")
        if chain is not None:
            chain.finish()
        for level, (size, spool) in enumerate(zip(sizes[1:], spools, strict=True), start=1):
            layout.write(writer, iter(spool), size, mpp * 2**level, reduced=True)


def level_sizes(size_px: tuple[int, int], tile_px: int) -> list[tuple[int, int]]:
    """Width and height of each level: halved, rounded up, until one tile holds it all."""
    sizes = [size_px]
    while max(sizes[-1]) > tile_px:
        width, height = sizes[-1]
        sizes.append(((width + 1) // 2, (height + 1) // 2))
    return sizes


def halve(pixels: Pixels) -> Pixels:
    """Average 2 x 2 pixels; an odd last row or column is repeated, NaN is left out of the average.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 or (H, W) float32.

    Returns
    -------
    NDArray
        (ceil(H / 2), ceil(W / 2), …) of the same type.
    """
    odd_rows, odd_columns = pixels.shape[0] % 2, pixels.shape[1] % 2
    if odd_rows or odd_columns:
        padding = [(0, odd_rows), (0, odd_columns)] + [(0, 0)] * (pixels.ndim - 2)
        pixels = np.pad(pixels, padding, mode="edge")
    corners = (pixels[0::2, 0::2], pixels[0::2, 1::2], pixels[1::2, 0::2], pixels[1::2, 1::2])
    if pixels.dtype == np.uint8:
        total = corners[0].astype(np.uint16)
        for corner in corners[1:]:
            total += corner
        total += 2
        total >>= 2
        return total.astype(np.uint8)
    valid = sum((~np.isnan(corner)).astype(np.float32) for corner in corners)
    summed = sum(np.nan_to_num(corner, nan=0.0) for corner in corners)
    counts = np.asarray(valid, dtype=np.float32)
    mean = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(np.asarray(summed, dtype=np.float32), counts, out=mean, where=counts > 0)
    return mean


def _channels_of(band: Pixels) -> int:
    if band.dtype == np.uint8 and band.ndim == 3 and band.shape[2] == 3:
        return 3
    if band.dtype == np.float32 and band.ndim == 2:
        return 1
    msg = f"bands must be uint8 (H, W, 3) or float32 (H, W), got {band.dtype} {band.shape}"
    raise ValueError(msg)


def _checked(first: Pixels, rest: Iterator[Pixels], size_px: tuple[int, int]) -> Iterator[Pixels]:
    width, height = size_px
    rows = 0
    band: Pixels | None = first
    while band is not None:
        if band.shape[1:] != (width, *first.shape[2:]) or band.dtype != first.dtype:
            msg = f"the band at row {rows} is {band.dtype} {band.shape}, expected width {width}, {first.dtype}"
            raise ValueError(msg)
        rows += band.shape[0]
        if rows > height:
            break
        yield band
        band = next(rest, None)
    if rows != height:
        msg = f"the bands add up to {rows} rows{' or more' if rows > height else ''}, expected {height}"
        raise ValueError(msg)


def _encoder(compression: Compression, quality: int, channels: int) -> Callable[[Pixels], bytes]:
    if compression == "jpeg":
        if channels != 3:
            raise ValueError("JPEG holds uint8 RGB only; write float32 with 'deflate'")

        def encode(tile: Pixels) -> bytes:
            return bytes(
                imagecodecs.jpeg8_encode(
                    tile, level=quality, colorspace="RGB", outcolorspace="YCBCR", subsampling=CHROMA_SUBSAMPLING
                )
            )

        return encode
    if compression == "deflate":
        return lambda tile: bytes(imagecodecs.zlib_encode(tile.tobytes(), level=DEFLATE_LEVEL))
    return lambda tile: tile.tobytes()


class _Spool:
    """Compressed tiles of one level, waiting on disk in the order in which they will be written."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._lengths: list[int] = []

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __call__(self, tile: bytes) -> None:
        self._file.write(tile)
        self._lengths.append(len(tile))

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0, os.SEEK_SET)
        for length in self._lengths:
            yield self._file.read(length)


class _Rows:
    """Row bands in, bands of exactly ``height_px`` rows out (the last one may be lower)."""

    def __init__(self, height_px: int) -> None:
        self._height_px = height_px
        self._waiting: list[Pixels] = []
        self._rows = 0

    def add(self, band: Pixels) -> Iterator[Pixels]:
        while band.shape[0]:
            taken = band[: self._height_px - self._rows]
            band = band[taken.shape[0] :]
            # A copy, because the caller may fill the same array again for the next band.
            self._waiting.append(taken.copy())
            self._rows += taken.shape[0]
            if self._rows == self._height_px:
                yield self.flush()

    def flush(self) -> Pixels:
        whole = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting, self._rows = [], 0
        return whole

    @property
    def empty(self) -> bool:
        return self._rows == 0


def _tiles_of(row: Pixels, tile_px: int) -> list[Pixels]:
    """Cut one row of tiles; edge tiles are filled by repeating the last pixels, which JPEG compresses best."""
    tiles = []
    for left in range(0, row.shape[1], tile_px):
        tile = row[:, left : left + tile_px]
        missing = (tile_px - tile.shape[0], tile_px - tile.shape[1])
        if any(missing):
            padding = [(0, missing[0]), (0, missing[1])] + [(0, 0)] * (tile.ndim - 2)
            tile = np.pad(tile, padding, mode="edge")
        tiles.append(np.ascontiguousarray(tile))
    return tiles


def _encoding_sink(pool: Pool, encode: Callable[[Pixels], bytes], spool: _Sink) -> Callable[[list[Pixels]], None]:
    def sink(tiles: list[Pixels]) -> None:
        for tile in pool.map(encode, tiles):
            spool(tile)

    return sink


class _Level:
    """A lower level: takes bands of the level above, halves them, spools its tiles, feeds the level below."""

    def __init__(
        self,
        size_px: tuple[int, int],
        tile_px: int,
        sink: Callable[[list[Pixels]], None],
        below: _Level | None,
    ) -> None:
        self.size_px, self._tile_px, self._sink, self._below = size_px, tile_px, sink, below
        self._pairs = _Rows(2 * tile_px)

    def add(self, band: Pixels) -> None:
        for double in self._pairs.add(band):
            self._emit(double)

    def finish(self) -> None:
        if not self._pairs.empty:
            self._emit(self._pairs.flush())
        if self._below is not None:
            self._below.finish()

    def _emit(self, double: Pixels) -> None:
        row = halve(double)
        self._sink(_tiles_of(row, self._tile_px))
        if self._below is not None:
            self._below.add(row)


class _TopLevel:
    """Level 0: yields its compressed tiles while the lower levels are fed on the way."""

    def __init__(
        self,
        size_px: tuple[int, int],
        tile_px: int,
        pool: Pool,
        encode: Callable[[Pixels], bytes],
        below: _Level | None,
    ) -> None:
        self._size_px, self._tile_px = size_px, tile_px
        self._pool, self._encode, self._below = pool, encode, below

    def tiles(self, bands: Iterable[Pixels]) -> Iterator[bytes]:
        rows = _Rows(self._tile_px)
        for band in bands:
            for row in rows.add(band):
                yield from self._row(row)
        if not rows.empty:
            yield from self._row(rows.flush())

    def _row(self, row: Pixels) -> Iterator[bytes]:
        if self._below is not None:
            self._below.add(row)
        yield from self._pool.map(self._encode, _tiles_of(row, self._tile_px))


class _Layout:
    """What all levels of one file have in common."""

    def __init__(self, channels: int, dtype: np.dtype[Any], tile_px: int, compression: Compression) -> None:
        self._channels, self._dtype, self._tile_px = channels, dtype, tile_px
        self._compression = {"jpeg": "jpeg", "deflate": "adobe_deflate", "none": None}[compression]
        self._chroma = {"subsampling": CHROMA_SUBSAMPLING} if compression == "jpeg" else {}

    def write(
        self,
        writer: tifffile.TiffWriter,
        tiles: Iterator[bytes],
        size_px: tuple[int, int],
        mpp: float,
        *,
        reduced: bool,
    ) -> None:
        width, height = size_px
        per_cm = UM_PER_CM / mpp
        writer.write(
            tiles,
            shape=(height, width, 3) if self._channels == 3 else (height, width),
            dtype=self._dtype,
            tile=(self._tile_px, self._tile_px),
            photometric="rgb" if self._channels == 3 else "minisblack",
            compression=self._compression,
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            subfiletype=REDUCED_IMAGE if reduced else 0,
            metadata=None,
            **self._chroma,
        )
