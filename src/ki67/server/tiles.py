"""Deep Zoom: a slide as square tiles of levels that halve, each read straight from the slide."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from ki67.files import json_text
from ki67.geometry import RectUm
from ki67.light import RgbImage
from ki67.slides import READING_VERSION, Slide

TILE_PX: Final = 256
"""Side of a tile, without overlap: what slides' own tiles have most often, so that one tile is made of one."""

JPEG_QUALITY: Final = 88
"""Nuclei look as in the slide at it, and a tile has some 20 KB."""

TILES_VERSION: Final = 1
"""Raised when the same slide gives other tiles, so that browsers forget theirs."""


@dataclass(frozen=True)
class Grid:
    """Levels and tiles of a slide as Deep Zoom counts them: level 0 is one pixel, the last the slide itself.

    Parameters
    ----------
    size_px
        Width and height of the slide.
    mpp
        µm per pixel of it.
    """

    size_px: tuple[int, int]
    mpp: float

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the slide, in µm."""
        return self.size_px[0] * self.mpp, self.size_px[1] * self.mpp

    @property
    def last_level(self) -> int:
        """The level that is the slide itself."""
        return math.ceil(math.log2(max(self.size_px))) if max(self.size_px) > 1 else 0

    def level_size_px(self, level: int) -> tuple[int, int]:
        """Width and height of a level."""
        width, height = (-(-side // 2 ** (self.last_level - level)) for side in self.size_px)
        return width, height

    def mpp_of(self, level: int) -> float:
        """Pixel size of a level, in µm."""
        return float(self.mpp * 2 ** (self.last_level - level))

    def place(self, level: int, column: int, row: int) -> TilePlace:
        """Where a tile lies.

        Raises
        ------
        HTTPException
            404 where there is no such tile.
        """
        if not 0 <= level <= self.last_level:
            raise HTTPException(404, "there is no such level")
        width, height = self.level_size_px(level)
        left, top = column * TILE_PX, row * TILE_PX
        if not (0 <= left < width and 0 <= top < height):
            raise HTTPException(404, "there is no such tile")
        return TilePlace(self.mpp_of(level), left, top, min(TILE_PX, width - left), min(TILE_PX, height - top))


@dataclass(frozen=True)
class TilePlace:
    """Pixels of one tile on its level, whose pixel size is ``mpp``."""

    mpp: float
    left: int
    top: int
    width: int
    height: int

    @property
    def rect_um(self) -> RectUm:
        """The tile on the slide."""
        return RectUm(self.left * self.mpp, self.top * self.mpp, self.width * self.mpp, self.height * self.mpp)

    def centres_um(self, step: int = 1) -> NDArray[np.float64]:
        """Middles (rows, columns, 2) in µm of squares of ``step`` pixels that cover the tile."""
        columns = self.left + (np.arange(-(-self.width // step)) + 0.5) * step
        rows = self.top + (np.arange(-(-self.height // step)) + 0.5) * step
        return np.stack(np.meshgrid(columns, rows), axis=-1) * self.mpp


def read_tile(slide: Slide, place: TilePlace) -> RgbImage:
    """Read one tile of a slide."""
    return slide.read(place.rect_um, place.mpp)


def jpeg(pixels: RgbImage) -> bytes:
    """JPEG of (H, W, 3) uint8."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=JPEG_QUALITY, subsampling="420"))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of (H, W, 3) or, with transparency, (H, W, 4) uint8."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=1))


def digest_of(*facts: Mapping[str, Any] | str | float | None) -> str:
    """Name of tiles made from these facts; another for any other facts, or for another way of making them."""
    text = json_text([TILES_VERSION, READING_VERSION, TILE_PX, JPEG_QUALITY, *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
