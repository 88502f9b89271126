"""The model over the tissue of a slide.

The slide is read once, in overlapping blocks at the model's resolution; patches are cut from a block on a regular
grid and go through the model together. Each patch is then judged in the light of those around it, where the model's
card says how. Where patches overlap, a place takes the mean of all patches whose cores cover it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ki67.errors import PixelSizeError, TissueError
from ki67.geometry import RectUm
from ki67.idc.appearance import FeatureMean
from ki67.idc.classes import with_tumour
from ki67.idc.heatmap import HeatMap
from ki67.idc.model import TUMOUR_CLASS, IdcModel, ModelCard
from ki67.progress import track
from ki67.slides import Slide, TissueMask, read_ahead

BLOCK_PATCHES = 10
"""Patch lengths along a block's edge: at 50 px of 4 µm a block is 2 mm or 500 px wide, 0.75 MB."""

FINEST_SHARE: Final = 0.9
"""A slide may be this much coarser than the model, for scanners' odd pixel sizes; beyond, its detail is made up."""

CUT_PATCHES = 512
"""Patches cut at once: 4 MB at 50 px, 25 MB at 128 px."""

MOST_OFTEN = (2, 3, 4)
"""Patches over a place along each axis, the first that divides the core."""

MINIMUM_TISSUE = 0.1
"""A patch with less tissue than this is not judged: the training patches hold hardly any such."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where patches lie: ``rows`` x ``columns`` of them, ``stride_px`` apart; the first core is in a slide's corner.

    The heat map has one pixel per stride; the core of a patch covers ``cover`` x ``cover`` of them.
    """

    rows: int
    columns: int
    stride_px: int
    patch_px: int
    core_px: int
    mpp: float

    @property
    def cover(self) -> int:
        """Heat map pixels along the edge of a core."""
        return self.core_px // self.stride_px

    @property
    def apart(self) -> int:
        """Strides from a patch to the next that shares no pixel with it."""
        return math.ceil(self.patch_px / self.stride_px)

    @property
    def stride_um(self) -> float:
        """Distance of two neighbouring patches."""
        return self.stride_px * self.mpp

    def rect(self, row: int, column: int, rows: int, columns: int) -> RectUm:
        """Return the part of the slide that a block of patches covers."""
        edge = self.patch_px - self.stride_px
        margin_um = (self.patch_px - self.core_px) / 2 * self.mpp
        return RectUm(
            column * self.stride_um - margin_um,
            row * self.stride_um - margin_um,
            (columns * self.stride_px + edge) * self.mpp,
            (rows * self.stride_px + edge) * self.mpp,
        )


def predict(
    slide: Slide,
    tissue: TissueMask,
    model: IdcModel,
    *,
    stride_px: int | None = None,
    seen: FeatureMean | None = None,
) -> HeatMap:
    """Map the probability of invasive carcinoma over the tissue; all else is as in :func:`predict_classes`."""
    return predict_classes(slide, tissue, model, stride_px=stride_px, seen=seen)[TUMOUR_CLASS]


def predict_classes(
    slide: Slide,
    tissue: TissueMask,
    model: IdcModel,
    *,
    stride_px: int | None = None,
    seen: FeatureMean | None = None,
) -> dict[str, HeatMap]:
    """Map the probability of each class over the tissue.

    Parameters
    ----------
    slide
        H&E slide.
    tissue
        Its tissue; nothing else is read.
    model
        From :func:`ki67.idc.load_model`.
    stride_px
        Distance of neighbouring patches in pixels of the model's resolution; a divisor of the core's edge. None
        takes half the edge, so that each place is judged by four patches (:func:`usual_stride`).
    seen
        Gathers what the network sees, to judge the slide by; None where the model's graph does not give it.

    Returns
    -------
    dict
        By the classes' names: one pixel per stride; NaN where it holds no tissue or no core over it held enough. The
        last of two classes is left out, which is 1 less that of IDC.

    Raises
    ------
    PixelSizeError
        Where the slide is coarser than what the model looks at.
    TissueError
        Where the slide is smaller than a patch, or no patch holds enough tissue.
    ValueError
        Where the stride does not divide the core.
    """
    check_resolution(slide.path, slide.mpp, model.card)
    grid = make_grid(slide, model, stride_px)
    # The border patches start outside the slide on the left and above, so that edges are judged as often as the rest.
    share = tissue_share(tissue, grid)
    wanted = judged_patches(share, grid)
    if not wanted.any():
        raise TissueError(
            slide.path,
            f"holds no tissue that fills {MINIMUM_TISSUE:.0%} of a patch of {grid.core_px * grid.mpp:.0f} µm",
            "Check the slide and its pixel size (--mpp).",
        )
    card = model.card
    scores = np.full((*wanted.shape, len(card.classes)), np.nan, dtype=np.float32)
    for rows, columns, values in _score_blocks(slide, grid, model, wanted, seen):
        scores[rows, columns] = values
    if card.surroundings is not None:
        informed = card.surroundings.on_grid(scores[..., card.tumour_output], grid.stride_um, grid.apart)
        scores[wanted] = with_tumour(scores[wanted], card.tumour_output, informed[wanted])
    told = card.classes if len(card.classes) > 2 else (TUMOUR_CLASS,)
    return {
        name: HeatMap(spread(scores[..., card.classes.index(name)], share, grid.cover), grid.stride_um)
        for name in told
    }


def check_resolution(path: str | Path, mpp: float, card: ModelCard) -> None:
    """Refuse a slide that does not show what a model looks at.

    Raises
    ------
    PixelSizeError
        Where its pixels are larger than the model's.
    """
    if mpp * FINEST_SHARE > card.mpp:
        raise PixelSizeError(
            path,
            f"has pixels of {mpp:g} µm, too large to find invasive carcinoma by; the model looks at {card.mpp:g} µm",
            "Scan or export it finer, correct the pixel size with --mpp (--he-mpp), or outline the carcinoma by hand "
            "and give it with --regions",
        )


def make_grid(slide: Slide, model: IdcModel, stride_px: int | None = None) -> Grid:
    """Lay the grid of patches over a slide.

    Raises
    ------
    ValueError
        Where the stride does not divide the core's edge.
    """
    card = model.card
    stride = usual_stride(card.core_px) if stride_px is None else stride_px
    if stride < 1 or card.core_px % stride:
        msg = f"the stride must divide the edge of what a patch is judged for, {card.core_px} px, got {stride}"
        raise ValueError(msg)
    step_um = stride * card.mpp
    bounds = slide.bounds_um
    return Grid(
        max(1, math.ceil(bounds.height_um / step_um - 1e-9)),
        max(1, math.ceil(bounds.width_um / step_um - 1e-9)),
        stride,
        card.patch_px,
        card.core_px,
        card.mpp,
    )


def usual_stride(core_px: int) -> int:
    """Half of a core, or the next part of it in whole pixels; a core that has none is not overlapped."""
    return next((core_px // parts for parts in MOST_OFTEN if core_px % parts == 0), core_px)


def tissue_share(tissue: TissueMask, grid: Grid) -> NDArray[np.float32]:
    """Share of tissue in each pixel of the heat map, float32 (rows, columns)."""
    mask = np.asarray(tissue.mask, dtype=np.float64)
    step = grid.stride_um / tissue.mpp
    row_edges = np.arange(grid.rows + 1, dtype=np.float64) * step
    column_edges = np.arange(grid.columns + 1, dtype=np.float64) * step
    by_rows = _integrate(mask, row_edges)
    area = _integrate(by_rows.T, column_edges).T
    return np.asarray(area * (tissue.mpp / grid.stride_um) ** 2, dtype=np.float32)


def _integrate(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate along the first axis between consecutive edges (in samples); beyond the end there is nothing."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    clipped = np.clip(edges, 0, len(values))
    below = np.minimum(clipped.astype(int), len(values) - 1)
    at_edges = sums[below] + (clipped - below)[:, None] * values[below]
    return np.asarray(np.diff(at_edges, axis=0))


def judged_patches(share: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """Which patches hold enough tissue in their core (``share``, of each pixel of the heat map) to be judged.

    Cores start up to ``cover - 1`` pixels outside the slide: bool (rows + cover - 1, columns + cover - 1).
    """
    padded = np.pad(share, grid.cover - 1)
    sums = sliding_window_view(padded, (grid.cover, grid.cover)).sum(axis=(2, 3), dtype=np.float32)
    return np.asarray(sums / grid.cover**2 >= MINIMUM_TISSUE, np.bool_)


def spread(scores: NDArray[np.float32], share: NDArray[np.float32], cover: int) -> NDArray[np.float32]:
    """Mean of the patches over each heat map pixel; NaN without tissue or patches.

    Parameters
    ----------
    scores
        The core of patch (i, j) covers heat map pixels i - cover + 1 … i; float32 (rows + cover - 1, columns + cover
        - 1), NaN where a patch was not judged.
    share
        Share of tissue per heat map pixel, (rows, columns).
    cover
        Heat map pixels along the edge of a core.

    Returns
    -------
    numpy.ndarray
        float32 (rows, columns).
    """
    windows = sliding_window_view(scores, (cover, cover))
    known = ~np.isnan(windows)
    count = known.sum(axis=(2, 3))
    total = np.where(known, windows, 0.0).sum(axis=(2, 3))
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=(count > 0) & (share > 0))
    return np.asarray(mean, dtype=np.float32)


def _score_blocks(
    slide: Slide, grid: Grid, model: IdcModel, wanted: NDArray[np.bool_], seen: FeatureMean | None
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    blocks = _blocks(wanted, max(1, (BLOCK_PATCHES - 1) * grid.apart))
    offset = grid.cover - 1
    rects = [
        grid.rect(rows.start - offset, columns.start - offset, rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in blocks
    ]
    reads = read_ahead(slide, rects, grid.mpp)
    for (rows, columns), (_, pixels) in track(
        zip(blocks, reads, strict=True), "Finding invasive carcinoma", total=len(blocks)
    ):
        chosen = wanted[rows, columns]
        values = np.full((*chosen.shape, len(model.card.classes)), np.nan, dtype=np.float32)
        values[chosen] = np.concatenate([_judged(part, model, seen) for part in cut(pixels, grid, chosen)])
        yield rows, columns, values


def _judged(patches: NDArray[np.uint8], model: IdcModel, seen: FeatureMean | None) -> NDArray[np.float32]:
    if seen is None:
        return model.all_probabilities(patches)
    probabilities, features = model.features(patches)
    seen.add(features)
    return probabilities


def _blocks(wanted: NDArray[np.bool_], size: int) -> list[tuple[slice, slice]]:
    """Cut the grid into blocks and keep those with something to judge, each no larger than what it holds."""
    blocks = []
    for top in range(0, wanted.shape[0], size):
        for left in range(0, wanted.shape[1], size):
            part = wanted[top : top + size, left : left + size]
            if part.any():
                rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
                blocks.append(
                    (slice(top + rows[0], top + rows[-1] + 1), slice(left + columns[0], left + columns[-1] + 1))
                )
    return blocks


def cut(pixels: NDArray[np.uint8], grid: Grid, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.uint8]]:
    """Cut patches from a block, :data:`CUT_PATCHES` at a time: with a small stride they are many times its pixels.

    Parameters
    ----------
    pixels
        uint8 RGB (H, W, 3), the block.
    grid
        Patch size and stride.
    chosen
        Which patches of the block, bool (rows, columns).

    Yields
    ------
    numpy.ndarray
        uint8 (N, patch_px, patch_px, 3), row by row.
    """
    windows = sliding_window_view(pixels, (grid.patch_px, grid.patch_px), axis=(0, 1))
    every = windows[:: grid.stride_px, :: grid.stride_px]
    rows, columns = np.nonzero(chosen)
    for first in range(0, len(rows), CUT_PATCHES):
        part = every[rows[first : first + CUT_PATCHES], columns[first : first + CUT_PATCHES]]
        yield np.ascontiguousarray(part.transpose(0, 2, 3, 1))
