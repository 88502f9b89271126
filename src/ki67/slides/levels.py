"""Whether a coarser level shows what the finer one shows.

A page of the right shape may be another picture: a mask, a second section, the other stain. Read as a level, it would
give this slide that one's tissue.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.slides.sources import Source

# Places at which the two are compared, as parts of width and height.
PLACES: Final = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
FINE_PX: Final = 512
SMALLEST_PX, LARGEST_PX = 32, 64
BLOCK_PX: Final = 8  # of the coarser level: shifts of a pixel, sharpening and JPEG hardly move means of such blocks
# Mean difference of blocks, of 255. Levels of one picture stay below 2 (JPEG at low quality 4), two sections stained
# alike differ by 20 and more wherever there is tissue in one of them.
LARGEST_DIFFERENCE: Final = 12.0


def shows_the_same(source: Source, fine: int, coarse: int) -> bool:
    """Compare two levels at a few places; False where they differ at one of them."""
    width, height = source.level_sizes_px[coarse]
    fine_width, fine_height = source.level_sizes_px[fine]
    factor = max(fine_width / width, fine_height / height)
    side = int(np.clip(FINE_PX / factor, SMALLEST_PX, LARGEST_PX))
    across, down = min(side, width), min(side, height)
    for part_x, part_y in PLACES:
        left, top = int((width - across) * part_x), int((height - down) * part_y)
        below = source.read(coarse, left, top, across, down)
        x0, x1 = (round(x * fine_width / width) for x in (left, left + across))
        y0, y1 = (round(y * fine_height / height) for y in (top, top + down))
        above = source.read(fine, x0, y0, max(x1 - x0, 1), max(y1 - y0, 1))
        if np.abs(_blocks(above, across, down) - _blocks(below, across, down)).mean() > LARGEST_DIFFERENCE:
            return False
    return True


def _blocks(pixels: NDArray[np.uint8], across: int, down: int) -> NDArray[np.float32]:
    size = (max(1, across // BLOCK_PX), max(1, down // BLOCK_PX))
    return np.asarray(cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA))
