"""TIFFs decoded straight with tifffile and imagecodecs, without OpenSlide's detour through cairo."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import tifffile

from ki67.errors import SlideError
from ki67.jobs import current
from ki67.light import WHITE, RgbImage
from ki67.slides.addresses import SlideUrl
from ki67.slides.codestream import JPEG2000_CODES, JPEG_CODES, READABLE_CODES, jpeg_head, stream_size_px
from ki67.slides.openslide_source import one_line
from ki67.slides.sources import CONVERT, REPAIR, ArraySource, check_field_size
from ki67.slides.tiff_colour import RGB, YCBCR, to_rgb
from ki67.slides.tile_cache import TileCache

PLANAR_CONTIG: Final = 1
SIXTEEN_BITS: Final = 16
BRIGHTEST_14_BIT: Final = 64  # of 255: what 16,383 of 65,535 comes to; no scan of white light is so dark
# A tile as it is decoded; two are in work at a time. The largest seen have 4096 x 4096 px, 48 MB.
LARGEST_SEGMENT_BYTES: Final = 256 * 2**20
LARGEST_EXCESS: Final = 2  # streams of whole blocks may be a little larger than their tile
COMPRESSION_CODES: Final = {int(code) for code in tifffile.COMPRESSION}


class ByteSource:
    """Reads at any offset from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Read exactly ``count`` bytes, or raise SlideError."""
        try:
            if isinstance(self._path, SlideUrl):
                data = self._path.content.read(offset, count)
            elif hasattr(os, "pread"):
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
        if isinstance(self._path, SlideUrl):
            self._path.release()


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
        for part in (page, *(page.pages or ())):
            if len(part.dataoffsets) == len(part.databytecounts):
                # In floating point: the numbers of a damaged file may add up beyond 64 bits.
                ends = np.asarray(part.dataoffsets, float) + np.asarray(part.databytecounts, float)
                needed = max(needed, int(ends.max(initial=0.0)))
    if needed > size:
        raise SlideError(path, f"is cut short: it has {size} bytes, its tiles need {needed}", REPAIR)


def segment_px(page: tifffile.TiffPage) -> tuple[int, int]:
    """Width and height of a tile, or of a strip."""
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return int(page.imagewidth), min(int(page.rowsperstrip), int(page.imagelength))


def planes_in(page: tifffile.TiffPage) -> int:
    """How many planes the samples of a page lie in: one, or one each."""
    return 1 if page.planarconfig == PLANAR_CONTIG else int(page.samplesperpixel)


def layout_problem(page: tifffile.TiffPage) -> str | None:
    """Why a page cannot be decoded tile by tile or strip by strip here, None where it can; its colours aside."""
    if page.imagedepth != 1 or page.tiledepth != 1:
        return "it has several planes in depth"
    compression = int(page.compression)
    if compression not in READABLE_CODES:
        name = tifffile.COMPRESSION(compression).name if compression in COMPRESSION_CODES else compression
        return f"its compression ({name}) is not supported"
    subsampled = page.photometric == YCBCR and page.subsampling not in {None, (1, 1)}
    if subsampled and compression not in JPEG_CODES | JPEG2000_CODES:
        return "it has subsampled colours without JPEG compression"
    return None


def check_segments(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a page whose tiles or strips are too large to be decoded, are none, or are fewer than its size asks for.

    Raises
    ------
    SlideError
        Saying what it has.
    """
    width, height = segment_px(page)
    if width < 1 or height < 1:
        raise SlideError(path, f"is damaged: its tiles are {width} x {height} px", REPAIR)
    samples = int(page.samplesperpixel) if planes_in(page) == 1 else 1
    held = width * height * samples * -(-int(np.max(page.bitspersample)) // 8)
    if held > LARGEST_SEGMENT_BYTES:
        found = (
            f"has tiles or strips of {width} x {height} px: decoding one would hold {held / 2**20:,.0f} MB, at most "
            f"{LARGEST_SEGMENT_BYTES // 2**20} MB are held for one"
        )
        raise SlideError(path, found, CONVERT)
    if not any(page.databytecounts):
        raise SlideError(path, "holds an empty picture: none of its tiles is there", REPAIR)
    needed = -(-int(page.imagewidth) // width) * -(-int(page.imagelength) // height) * planes_in(page)
    if min(len(page.dataoffsets), len(page.databytecounts)) < needed:
        size = f"{int(page.imagewidth)} x {int(page.imagelength)} px"
        raise SlideError(path, f"is damaged: its level of {size} has fewer than the {needed} tiles it needs", REPAIR)


class _Level:
    """One level: the pages it is made of, and its grid of tiles (or strips)."""

    def __init__(self, pages: Sequence[tifffile.TiffPage]) -> None:
        page = pages[0]
        self.size_px = (int(page.imagewidth), int(page.imagelength))
        self.tile_width, self.tile_height = segment_px(page)
        self.columns = -(-self.size_px[0] // self.tile_width)
        self.tiles = self.columns * -(-self.size_px[1] // self.tile_height)
        # The decoder and the tables are asked for once, here: asking reads the file.
        self.parts = tuple((part, part.decode, part.jpegtables, planes_in(part)) for part in pages)

    def is_missing(self, row: int, column: int) -> bool:
        """Whether a tile has no bytes in one of its planes."""
        index = row * self.columns + column
        return any(
            part.databytecounts[place] == 0 or part.dataoffsets[place] == 0
            for part, _, _, planes in self.parts
            for place in range(index, planes * self.tiles, self.tiles)
        )


class TiffSource:
    """Levels of a TIFF, decoded tile by tile (or strip by strip); empty (zero-length) tiles are white.

    Parameters
    ----------
    path, tiff
        The file; it is closed with the source.
    levels
        From fine to coarse, the pages each is made of: one, or three grey ones that are red, green and blue.
    aperio
        Whether Aperio wrote the file: its code 33003 holds YCbCr, everybody else's what the stream says.
    """

    def __init__(
        self,
        path: Path,
        tiff: tifffile.TiffFile,
        levels: Sequence[Sequence[tifffile.TiffPage]],
        *,
        aperio: bool = False,
    ) -> None:
        self.name = "tifffile"
        self._path, self._tiff, self._aperio = path, tiff, aperio
        self._levels = tuple(_Level(pages) for pages in levels)
        self.level_sizes_px = tuple(level.size_px for level in self._levels)
        self._bytes = ByteSource(path)
        self._owner, self._cache = object(), current().tiles.cache(TileCache)

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
        grid = self._levels[level]
        if grid.tile_width % factor or grid.tile_height % factor:
            return None
        return self._read(level, factor, left_px, top_px, width_px, height_px)

    def _read(self, level: int, factor: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        grid = self._levels[level]
        tile_width, tile_height = grid.tile_width // factor, grid.tile_height // factor
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
        grid = self._levels[level]
        if grid.is_missing(row, column):
            # White without the memory of a tile, so that a file of a few tiles cannot stand for gigabytes.
            shape = (grid.tile_height // factor, grid.tile_width // factor, 3)
            return np.broadcast_to(np.uint8(WHITE), shape)

        def shrunk() -> RgbImage:
            tile = self._decoded(level, row, column)
            if factor == 1:
                return tile
            height, width = (side // factor for side in tile.shape[:2])
            whole = tile[: height * factor, : width * factor]
            return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

        return self._cache.get((self._owner, level, factor, row, column), shrunk)

    def _decoded(self, level: int, row: int, column: int) -> RgbImage:
        grid = self._levels[level]
        index = row * grid.columns + column
        try:
            colours = [self._page_tile(grid, part, index) for part in grid.parts]
        except SlideError:
            raise
        except Exception as error:  # what decoders raise on hostile bytes has no end
            found = f"has a tile that cannot be decoded (level {level}, row {row}, column {column}): "
            raise SlideError(self._path, found + one_line(error), REPAIR) from error
        if len(colours) == 1:
            return colours[0]
        return np.stack([colour[..., 0] for colour in colours], axis=-1)

    def _page_tile(self, grid: _Level, part: tuple[Any, ...], index: int) -> RgbImage:
        page, decode, tables, planes = part
        samples = []
        for plane in range(planes):
            place = plane * grid.tiles + index
            data = self._bytes.read(int(page.dataoffsets[place]), int(page.databytecounts[place]))
            check_stream(page, data, (grid.tile_width, grid.tile_height))
            decoded, _, _ = decode(data, place, jpegtables=tables)
            samples.append(np.asarray(decoded)[0])
        return to_rgb(page, samples[0] if planes == 1 else np.concatenate(samples, axis=-1), aperio=self._aperio)

    def probe(self) -> int | None:
        """Decode the first, the middle and the last tile of each level, so that damage shows at opening.

        Returns the brightest value there, of 255; None where none of those tiles is there.
        """
        brightest: int | None = None
        for level, grid in enumerate(self._levels):
            width, height = grid.size_px
            for part in (0.0, 0.5, 1.0):
                row = int((height - 1) * part) // grid.tile_height
                column = int((width - 1) * part) // grid.tile_width
                if grid.is_missing(row, column):
                    continue
                brightest = max(brightest or 0, int(self._tile(level, 1, row, column).max(initial=0)))
        return brightest

    def drop_level(self, level: int) -> None:
        """Forget a level; coarser ones move up."""
        self._levels = tuple(grid for index, grid in enumerate(self._levels) if index != level)
        self.level_sizes_px = tuple(grid.size_px for grid in self._levels)
        self._cache.forget(self._owner)

    def close(self) -> None:
        """Release the file and the cached tiles."""
        self._cache.forget(self._owner)
        self._bytes.close()
        self._tiff.close()


def check_stream(page: tifffile.TiffPage, data: bytes, tile_px: tuple[int, int]) -> None:
    """Refuse a compressed tile before it is decoded where it says of itself what the directory does not.

    Raises
    ------
    ValueError
        It would come out several times as large as the tile, or its colours are not those of the directory.
    """
    compression = int(page.compression)
    size = stream_size_px(compression, data)
    if size is None:
        return
    if size[0] * size[1] > LARGEST_EXCESS * tile_px[0] * tile_px[1]:
        msg = f"its stream announces {size[0]} x {size[1]} px, the tile has {tile_px[0]} x {tile_px[1]}"
        raise ValueError(msg)
    if compression in JPEG_CODES and page.photometric == RGB and not page.is_jfif:
        head = jpeg_head(data)
        if head is not None and head.colours == "ycbcr":
            msg = "its directory says RGB and its JPEG stream holds YCbCr: which colours are meant is not known"
            raise ValueError(msg)


def check_scaled(path: Path, page: tifffile.TiffPage, brightest: int | None) -> None:
    """Refuse 16-bit samples of which the brightest, as one of 8 bits, is dark: a camera's 10 to 14 bits, not scaled.

    Raises
    ------
    SlideError
        Saying how to save it.
    """
    if brightest is None or page.dtype != np.uint16 or int(page.bitspersample) != SIXTEEN_BITS:
        return
    if brightest <= BRIGHTEST_14_BIT:
        bits = next(bits for bits in (12, 14) if brightest <= 2 ** (bits - 8))
        found = (
            f"has 16 bits a sample and shows nothing brighter than {brightest} of 255: {bits}-bit values not scaled"
        )
        raise SlideError(path, found, "Save it with 8 bits a sample, white at 255")


def read_field(path: Path, source: TiffSource) -> ArraySource:
    """Decode the finest level of a TIFF whole, as a plain picture, and close it.

    Raises
    ------
    SlideError
        Where it is too large, or damaged.
    """
    try:
        width, height = source.level_sizes_px[0]
        check_field_size(path, width, height)
        pixels = source.read(0, 0, 0, width, height)
    finally:
        source.close()
    return ArraySource("tifffile:plain", pixels)
