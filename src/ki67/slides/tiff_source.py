"""Tiled TIFFs decoded straight with tifffile and imagecodecs, without OpenSlide's detour through cairo."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.errors import SlideError
from ki67.slides.openslide_source import one_line
from ki67.slides.sources import REPAIR, WHITE, ArraySource, RgbImage, check_field_size
from ki67.slides.tiff_colour import colour_problem, to_rgb
from ki67.slides.tile_cache import TileCache

# What tifffile and imagecodecs raise on damaged or unsupported data; imagecodecs' errors are RuntimeErrors.
DECODER_ERRORS: Final = (
    RuntimeError,
    ValueError,
    OSError,
    TypeError,
    IndexError,
    KeyError,
    NotImplementedError,
    struct.error,
)
PLANAR_CONTIG: Final = 1
BRIGHTEST_12_BIT: Final = 16  # of 255: what 4095 of 65535 comes to; no scan of white light is so dark


class ByteSource:
    """Reads at any offset from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Read exactly ``count`` bytes, or raise SlideError."""
        try:
            if hasattr(os, "pread"):
                data = os.pread(self._file.fileno(), count, offset)
            else:
                with self._lock:
                    self._file.seek(offset)
                    data = self._file.read(count)
        except OSError as error:
            raise SlideError(self._path, f"cannot be read: {error.strerror}", REPAIR) from error
        if len(data) != count:
            raise SlideError(self._path, f"ends early: {count} bytes expected at {offset}", REPAIR)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_complete(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a TIFF whose tiles or strips do not all lie within the file, the mark of an interrupted copy.

    Raises
    ------
    SlideError
        Naming how many bytes are there and how many are needed.
    """
    size = path.stat().st_size
    needed = 0
    for page in tiff.pages:
        offsets = np.asarray(page.dataoffsets, dtype=np.int64)
        counts = np.asarray(page.databytecounts, dtype=np.int64)
        if len(offsets) and len(offsets) == len(counts):
            needed = max(needed, int((offsets + counts).max()))
        for frame in page.pages or ():
            ends = np.asarray(frame.dataoffsets, np.int64) + np.asarray(frame.databytecounts, np.int64)
            needed = max(needed, int(ends.max(initial=0)))
    if needed > size:
        raise SlideError(path, f"is cut short: it has {size} bytes, its tiles need {needed}", REPAIR)
    following = _next_directory(tiff)
    if following >= size:
        raise SlideError(
            path, f"is cut short: it has {size} bytes, a further level begins at byte {following}", REPAIR
        )


def _next_directory(tiff: tifffile.TiffFile) -> int:
    """Return where the last directory that can be read says that another one begins; 0 where it is the last."""
    if not len(tiff.pages):
        return 0
    layout, handle = tiff.tiff, tiff.filehandle
    handle.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(tags * layout.tagsize, os.SEEK_CUR)
    (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return int(following)


def direct_problem(page: tifffile.TiffPage) -> str | None:
    """Why a level cannot be decoded tile by tile here, None where it can."""
    if not page.is_tiled:
        return "it is not tiled"
    if page.imagedepth != 1 or page.tiledepth != 1:
        return "it has several planes"
    if page.planarconfig != PLANAR_CONTIG and page.samplesperpixel > 1:
        return "its colours lie in separate planes"
    return colour_problem(page)


class TiffSource:
    """Levels of a tiled TIFF; empty (zero-length) tiles are white."""

    def __init__(self, path: Path, tiff: tifffile.TiffFile, levels: Sequence[tifffile.TiffPage]) -> None:
        self.name = "tifffile"
        self._path, self._tiff, self._pages = path, tiff, tuple(levels)
        self.level_sizes_px = tuple((int(page.imagewidth), int(page.imagelength)) for page in levels)
        self._decoders = tuple(page.decode for page in levels)  # made once, here: making them reads the file
        self._tables = tuple(page.jpegtables for page in levels)
        self._bytes = ByteSource(path)
        self._cache = TileCache()

    def read(self, level: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        """Read a rectangle that lies inside the level.

        Raises
        ------
        SlideError
            Where a tile cannot be read or decoded.
        """
        return self._read(level, 1, left_px, top_px, width_px, height_px)

    def read_shrunk(
        self, level: int, factor: int, left_px: int, top_px: int, width_px: int, height_px: int
    ) -> RgbImage | None:
        """Read a rectangle of the level shrunk by a factor; each tile is averaged once, when it is decoded.

        None where the factor does not divide the tiles.

        Raises
        ------
        SlideError
            Where a tile cannot be read or decoded.
        """
        page = self._pages[level]
        if int(page.tilewidth) % factor or int(page.tilelength) % factor:
            return None
        return self._read(level, factor, left_px, top_px, width_px, height_px)

    def _read(self, level: int, factor: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        page = self._pages[level]
        tile_width, tile_height = int(page.tilewidth) // factor, int(page.tilelength) // factor
        pixels = np.empty((height_px, width_px, 3), dtype=np.uint8)
        right, bottom = left_px + width_px, top_px + height_px
        for row in range(top_px // tile_height, -(-bottom // tile_height)):
            for column in range(left_px // tile_width, -(-right // tile_width)):
                tile = self._tile(level, factor, row, column)
                x, y = column * tile_width, row * tile_height
                x0, y0 = max(x, left_px), max(y, top_px)
                x1, y1 = min(x + tile_width, right), min(y + tile_height, bottom)
                place = pixels[y0 - top_px : y1 - top_px, x0 - left_px : x1 - left_px]
                part = tile[y0 - y : y1 - y, x0 - x : x1 - x]
                if part.shape != place.shape:
                    place[:] = WHITE
                place[: part.shape[0], : part.shape[1]] = part
        return pixels

    def _tile(self, level: int, factor: int, row: int, column: int) -> RgbImage:
        def shrunk() -> RgbImage:
            tile = self._decoded(level, row, column)
            if factor == 1:
                return tile
            height, width = (side // factor for side in tile.shape[:2])
            whole = tile[: height * factor, : width * factor]
            return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

        return self._cache.get((level, factor, row, column), shrunk)

    def _decoded(self, level: int, row: int, column: int) -> RgbImage:
        page = self._pages[level]
        index = row * -(-int(page.imagewidth) // int(page.tilewidth)) + column
        offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if count == 0 or offset == 0:
            return np.full((int(page.tilelength), int(page.tilewidth), 3), WHITE, dtype=np.uint8)
        data = self._bytes.read(offset, count)
        try:
            decoded, _, _ = self._decoders[level](data, index, jpegtables=self._tables[level])
            return to_rgb(page, np.asarray(decoded)[0])
        except DECODER_ERRORS as error:
            found = f"has a tile that cannot be decoded (level {level}, row {row}, column {column}): "
            raise SlideError(self._path, found + one_line(error), REPAIR) from error

    def probe(self) -> int:
        """Decode the first, the middle and the last tile of each level, so that damage shows at opening.

        Returns the brightest value there, of 255.
        """
        brightest = 0
        for level, (page, (width, height)) in enumerate(zip(self._pages, self.level_sizes_px, strict=True)):
            for part in (0.0, 0.5, 1.0):
                row = int((height - 1) * part) // int(page.tilelength)
                column = int((width - 1) * part) // int(page.tilewidth)
                brightest = max(brightest, int(self._tile(level, 1, row, column).max()))
        return brightest

    def close(self) -> None:
        """Release the file and the cached tiles."""
        self._cache.clear()
        self._bytes.close()
        self._tiff.close()


def check_scaled(path: Path, samples: np.dtype[Any] | None, brightest: int) -> None:
    """Refuse 16-bit samples of which the brightest, as one of 8 bits, is black: a camera's 12 bits, not scaled.

    Raises
    ------
    SlideError
        Saying how to save it.
    """
    if samples == np.uint16 and brightest <= BRIGHTEST_12_BIT:
        found = "has 16 bits a sample and shows nothing brighter than black: 12-bit values not scaled"
        raise SlideError(path, found, "Save it with 8 bits a sample, white at 255")


def read_field(path: Path, page: tifffile.TiffPage) -> ArraySource:
    """Decode an untiled TIFF page whole.

    Raises
    ------
    SlideError
        Where it is too large, in colours that cannot be shown, not scaled to its bits, or damaged.
    """
    check_field_size(path, int(page.imagewidth), int(page.imagelength))
    problem = colour_problem(page)
    if problem:
        raise SlideError(path, f"cannot be read: {problem}", "Convert it to 8-bit RGB")
    try:
        pixels: NDArray[Any] = page.asarray()
        if page.samplesperpixel == 1:
            pixels = pixels[..., None]
        elif page.planarconfig != PLANAR_CONTIG:
            pixels = np.moveaxis(pixels, 0, -1)
        rgb = to_rgb(page, pixels)
        check_scaled(path, page.dtype, int(rgb.max(initial=0)))
        return ArraySource("tifffile:plain", rgb)
    except DECODER_ERRORS as error:
        raise SlideError(path, f"is a TIFF that cannot be decoded: {one_line(error)}", REPAIR) from error
