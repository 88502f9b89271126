"""What every reader of pixels offers, and the limits they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ki67.errors import SlideError

RgbImage = NDArray[np.uint8]

WHITE: Final = 255
# A plain picture is held in memory whole: 400 Mpx are 1.2 GB, more than any camera field or stitched field seen.
LARGEST_FIELD_PX: Final = 400_000_000
REPAIR: Final = "The file is damaged or incomplete: copy it again from the scanner"
CONVERT: Final = "Save it as a tiled pyramidal TIFF (for example with 'vips tiffsave --tile --pyramid')"


class Source(Protocol):
    """Pixels of one slide, level by level. Reads may come from several threads at once."""

    name: str
    level_sizes_px: tuple[tuple[int, int], ...]

    def read(self, level: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        """Read a rectangle that lies inside the level: (height, width, 3) uint8."""
        ...

    def read_shrunk(
        self, level: int, factor: int, left_px: int, top_px: int, width_px: int, height_px: int
    ) -> RgbImage | None:
        """Read a rectangle of the level shrunk by a factor, in pixels of the shrunk level that are whole in it.

        None where the source has nothing to gain from averaging by itself.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class ArraySource:
    """A plain picture, one level, held in memory."""

    def __init__(self, name: str, pixels: RgbImage) -> None:
        self.name = name
        self._pixels = pixels
        self.level_sizes_px: tuple[tuple[int, int], ...] = ((pixels.shape[1], pixels.shape[0]),)

    def read(self, level: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        """Read a rectangle that lies inside the picture."""
        if level:
            raise IndexError(level)
        return self._pixels[top_px : top_px + height_px, left_px : left_px + width_px]

    def read_shrunk(self, *_: int) -> None:
        """Nothing is read twice here."""

    def close(self) -> None:
        """Nothing to release: the file was closed after decoding."""


def check_field_size(path: Path, width_px: int, height_px: int) -> None:
    """Refuse a picture that is too large to be held in memory.

    Raises
    ------
    SlideError
        Above ``LARGEST_FIELD_PX``.
    """
    if width_px * height_px > LARGEST_FIELD_PX:
        found = (
            f"is a plain picture of {width_px} x {height_px} px; without tiles at most "
            f"{LARGEST_FIELD_PX // 1_000_000} million pixels can be read"
        )
        raise SlideError(path, found, CONVERT)


def over_white(pixels: NDArray[Any], alpha: NDArray[Any]) -> RgbImage:
    """Lay (H, W, 3) uint8 pixels with straight alpha (H, W) uint8 over white."""
    weight = alpha.astype(np.uint16)[..., None]
    blended = pixels.astype(np.uint16) * weight + WHITE * (WHITE - weight)
    return np.asarray((blended + WHITE // 2) // WHITE, dtype=np.uint8)
