"""What every reader of pixels offers, and the limits they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ki67.errors import SlideError
from ki67.light import WHITE, RgbImage
from ki67.slides.pixel_size import Found

# A plain picture is held in memory whole; what its decoder holds beside it counts too. 300 Mpx (17,000 x 17,000 px,
# more than any camera field or stitched field seen) come to this.
LARGEST_FIELD_BYTES: Final = 2 * 2**30
RGB_BYTES: Final = 3
# A side of a plain picture: at 0.1 µm per pixel longer than the glass of a slide (76 mm). Beyond, decoders fail.
LONGEST_FIELD_PX: Final = 1_000_000
REPAIR: Final = "The file is damaged or incomplete: copy it again from the scanner"
DOWNLOAD: Final = "Download it and name the file"
CONVERT: Final = "Save it as a tiled pyramidal TIFF (for example with 'vips tiffsave --tile --pyramid')"


@dataclass(frozen=True)
class Opened:
    """What a reader made of a file.

    Attributes
    ----------
    source
        Its pixels.
    stated
        Every statement of the file on its pixel size, the most trusted first; empty where there is none.
    warnings
        What of the file a user should know before trusting a number from it, as clauses ("it holds two pictures …").
    doubt
        Why what the file says of its pixel size cannot be believed, as a clause ("has OME-XML about …"); None where
        it can.
    """

    source: Source
    stated: Sequence[Found] = ()
    warnings: Sequence[str] = ()
    doubt: str | None = None


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

    @property
    def brightest(self) -> int:
        """Return the brightest value of the picture, of 255."""
        return int(self._pixels.max(initial=0))

    def read(self, level: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        """Read a rectangle that lies inside the picture."""
        if level:
            raise IndexError(level)
        return self._pixels[top_px : top_px + height_px, left_px : left_px + width_px]

    def read_shrunk(self, *_: int) -> None:
        """Nothing is read twice here."""

    def close(self) -> None:
        """Nothing to release: the file was closed after decoding."""


def check_field_size(path: Path, width_px: int, height_px: int, decoder_bytes_px: int = 0) -> None:
    """Refuse a picture that is too large to be held in memory, or longer than any slide.

    Parameters
    ----------
    path, width_px, height_px
        The picture.
    decoder_bytes_px
        What its decoder holds for each pixel beside the 3 bytes of the result.

    Raises
    ------
    SlideError
        Above ``LARGEST_FIELD_BYTES``, or with a side above ``LONGEST_FIELD_PX``.
    """
    if max(width_px, height_px) > LONGEST_FIELD_PX:
        found = (
            f"is a plain picture of {width_px:,} x {height_px:,} px: a side has at most {LONGEST_FIELD_PX:,} px, "
            "more than a whole glass slide at any magnification"
        )
        raise SlideError(path, found, "Check what it is: no camera or scanner writes such a picture")
    needed = width_px * height_px * (RGB_BYTES + decoder_bytes_px)
    if needed > LARGEST_FIELD_BYTES:
        found = (
            f"is a plain picture of {width_px} x {height_px} px: decoding it would hold {needed / 2**30:.1f} GB, "
            f"at most {LARGEST_FIELD_BYTES // 2**30} GB are held for a picture without tiles"
        )
        raise SlideError(path, found, CONVERT)


def over_white(pixels: NDArray[Any], alpha: NDArray[Any]) -> RgbImage:
    """Lay (H, W, 3) uint8 pixels with straight alpha (H, W) uint8 over white."""
    weight = alpha.astype(np.uint16)[..., None]
    blended = pixels.astype(np.uint16) * weight + WHITE * (WHITE - weight)
    return np.asarray((blended + WHITE // 2) // WHITE, dtype=np.uint8)
