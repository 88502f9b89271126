"""Pixels that stand for a slide: blocks of tissue, spread evenly, from which its stains are estimated once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import WORKING_MPP
from ki67.errors import TissueError
from ki67.geometry import RectUm
from ki67.slides import Slide

if TYPE_CHECKING:
    from ki67.slides import TissueMask

FIELD_AREA_MM2 = 1.0
"""Pictures up to this size are fields chosen by a person: all of it counts as tissue."""

# Blocks of 128 µm hold some 50 to 150 nuclei; 64 of them (1 mm²) settle a slide's stains to the second digit.
_BLOCK_UM = 128.0
_BLOCKS = 64
# A block at the edge of the tissue still helps (it shows the background); mostly glass it does not.
_MINIMUM_TISSUE = 0.5
# Middle of a field that is looked at pixel by pixel.
_FIELD_BLOCK_UM = 512.0


_BLANK_RANGE = 20.0
"""A blank field spans fewer grey levels: sensor noise of 3 levels spans 19, the palest of our labelled fields 140."""

_CHECK = "Check that this is the Ki-67 slide and that it is in focus."


@dataclass(frozen=True)
class Sample:
    """Blocks (H, W, 3) of a slide."""

    blocks: tuple[NDArray[np.uint8], ...]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """All pixels, (N, 3)."""
        return np.concatenate([block.reshape(-1, 3) for block in self.blocks])


def grey_range(pixels: NDArray[np.uint8]) -> float:
    """Grey levels between the darkest and the brightest thousandth of (H, W, 3) pixels, in the widest channel."""
    low, high = np.percentile(pixels.reshape(-1, 3), (0.1, 99.9), axis=0)
    return float((high - low).max())


def is_field(slide: Slide) -> bool:
    """Whether a picture is one field rather than a slide."""
    bounds = slide.bounds_um
    return bounds.width_um * bounds.height_um <= FIELD_AREA_MM2 * 1e6


def sample_slide(
    slide: Slide, tissue: TissueMask | None, mpp: float = WORKING_MPP, most_blocks: int = _BLOCKS
) -> Sample:
    """Read the blocks at ``mpp``; without a tissue mask (a field) the whole picture is one block.

    The choice depends on the slide alone, never on the region that is counted, so a moved region is counted alike.

    Raises
    ------
    TissueError
        Where the mask holds no tissue.
    """
    if tissue is None:
        pixels = slide.read(slide.bounds_um, mpp)
        if grey_range(pixels) < _BLANK_RANGE:
            raise TissueError(slide.path, "shows no tissue, only an even background", _CHECK)
        return Sample((pixels,))
    return Sample(tuple(slide.read(rect, mpp) for rect in _chosen_blocks(slide, tissue, most_blocks)))


def _chosen_blocks(slide: Slide, tissue: TissueMask, most_blocks: int) -> list[RectUm]:
    rects, fractions = _blocks(slide.bounds_um, tissue)
    found = np.flatnonzero(fractions >= min(_MINIMUM_TISSUE, fractions.max()))
    if fractions.max() <= 0:
        raise TissueError(slide.path, "shows no tissue", _CHECK)
    chosen = found[np.unique(np.linspace(0, len(found) - 1, min(most_blocks, len(found))).astype(int))]
    return [rects(index) for index in chosen.tolist()]


def own_pixels(
    slide: Slide, tissue: TissueMask | None, most_blocks: int, multiple_px: int
) -> tuple[NDArray[np.uint8], ...]:
    """Blocks (H, W, 3) of the slide's own pixels, each from columns and rows on that are multiples of a number.

    Chosen as by :func:`sample_slide`, with its errors; of a field one block, at most 512 µm wide, in its middle.
    """
    bounds = slide.bounds_um
    if tissue is None:
        sides = [min(side, _FIELD_BLOCK_UM) for side in (bounds.width_um, bounds.height_um)]
        middle = bounds.x_um + bounds.width_um / 2, bounds.y_um + bounds.height_um / 2
        chosen = [RectUm(middle[0] - sides[0] / 2, middle[1] - sides[1] / 2, *sides)]
    else:
        chosen = _chosen_blocks(slide, tissue, most_blocks)
    unit = multiple_px * slide.mpp
    corners = [(round(rect.x_um / unit) * unit, round(rect.y_um / unit) * unit, rect) for rect in chosen]
    return tuple(slide.read(RectUm(x, y, rect.width_um, rect.height_um), slide.mpp) for x, y, rect in corners)


def _blocks(bounds: RectUm, tissue: TissueMask) -> tuple[Callable[[int], RectUm], NDArray[np.float64]]:
    """Blocks of a slide, row by row, those at its edges cut off, and the part of each that is tissue."""
    x_um, y_um = (np.arange(0.0, side, _BLOCK_UM) for side in (bounds.width_um, bounds.height_um))

    def block(index: int) -> RectUm:
        row, column = divmod(index, len(x_um))
        left, top = float(x_um[column]), float(y_um[row])
        return RectUm(left, top, min(_BLOCK_UM, bounds.right_um - left), min(_BLOCK_UM, bounds.bottom_um - top))

    # On a slide of 50 x 25 mm there are 80,000: all at once, and only the cut ones by themselves.
    fractions = tissue.fractions(x_um, y_um, _BLOCK_UM)
    cut = (x_um + _BLOCK_UM > bounds.right_um)[None, :] | (y_um + _BLOCK_UM > bounds.bottom_um)[:, None]
    for index in np.flatnonzero(cut).tolist():
        fractions.flat[index] = tissue.fraction(block(index))
    return block, fractions.ravel()
