"""Whole sections put together again from their patches: heat map and outlined region against the labels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.annotations import Regions
from ki67.errors import DataSetError
from ki67.evaluation.idc_regions import compare_regions
from ki67.fields.metrics import rank_auc
from ki67.fields.patches import PatchRow, load_pixels
from ki67.geometry import as_multipolygon
from ki67.idc import HeatMap, IdcModel, OutlineOptions, outline, predict
from ki67.slides import open_slide, tissue_mask, write_pyramid

UNLABELLED, OTHER, INVASIVE = -1, 0, 1
WHITE = 255
BAND_ROWS = 512


@dataclass(frozen=True)
class PatchedSection:
    """A section put together from patches.

    Parameters
    ----------
    name
        The patient.
    pixels
        uint8 RGB (H, W, 3); white where there is no patch.
    truth
        int8 (H / patch, W / patch): :data:`INVASIVE`, :data:`OTHER` or :data:`UNLABELLED`.
    patch_px, mpp
        Edge of a patch in pixels, µm per pixel.
    """

    name: str
    pixels: NDArray[np.uint8]
    truth: NDArray[np.int8]
    patch_px: int
    mpp: float

    @property
    def patch_um(self) -> float:
        """Edge of a patch."""
        return self.patch_px * self.mpp


@dataclass(frozen=True)
class SectionResult:
    """A model on one section.

    Parameters
    ----------
    heatmap, regions
        As :func:`ki67.idc.predict` and :func:`ki67.idc.outline` give them.
    measures
        ``auc`` of the heat map over the labelled patches, and what
        :func:`ki67.evaluation.idc_regions.compare_regions` says of the outlined region within the labelled area.
    """

    heatmap: HeatMap
    regions: Regions
    measures: dict[str, float]


def assemble(rows: Sequence[PatchRow], patch_px: int, mpp: float) -> PatchedSection:
    """Put the patches of one section back into their places.

    Parameters
    ----------
    rows
        Patches of one patient, named as published.
    patch_px, mpp
        Edge of a patch in pixels and µm per pixel.

    Returns
    -------
    PatchedSection

    Raises
    ------
    DataSetError
        Where a file's name holds no place, the place is not on the grid, or an image is missing.
    """
    places = np.array([_place(row, patch_px) for row in rows])
    columns, lines = places.max(axis=0) + 1
    truth = np.full((lines, columns), UNLABELLED, dtype=np.int8)
    pixels = np.full((lines * patch_px, columns * patch_px, 3), WHITE, dtype=np.uint8)
    for row, patch, (column, line) in zip(rows, load_pixels(rows, patch_px), places, strict=True):
        truth[line, column] = row.label
        top, left = line * patch_px, column * patch_px
        pixels[top : top + patch_px, left : left + patch_px] = patch
    return PatchedSection(rows[0].patient, pixels, truth, patch_px, mpp)


def _place(row: PatchRow, patch_px: int) -> tuple[int, int]:
    if row.place is None:
        raise DataSetError(row.path, "its name holds no place", "Expected …_x<X>_y<Y>_class<0|1>.png.")
    _, x_px, y_px = row.place
    if x_px % patch_px or y_px % patch_px:
        raise DataSetError(row.path, f"({x_px}, {y_px}) is not on a grid of {patch_px} px", "Check the patch size.")
    return x_px // patch_px, y_px // patch_px


def evaluate_section(
    section: PatchedSection, model: IdcModel, *, stride_px: int | None = None, options: OutlineOptions | None = None
) -> SectionResult:
    """Run the model over a section as over any slide, and compare with the labels.

    Parameters
    ----------
    section
        From :func:`assemble`.
    model
        IDC model.
    stride_px
        As in :func:`ki67.idc.predict`.
    options
        As in :func:`ki67.idc.outline`.

    Returns
    -------
    SectionResult
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{section.name}.tif"
        height, width = section.pixels.shape[:2]
        write_pyramid(path, _bands(section.pixels), (width, height), section.mpp, compression="deflate")
        with open_slide(path) as slide:
            heatmap = predict(slide, tissue_mask(slide), model, stride_px=stride_px)
    regions = outline(heatmap, model, OutlineOptions() if options is None else options)
    return SectionResult(heatmap, regions, compare(section, heatmap, regions))


def _bands(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for row in range(0, len(pixels), BAND_ROWS):
        yield pixels[row : row + BAND_ROWS]


def compare(section: PatchedSection, heatmap: HeatMap, regions: Regions) -> dict[str, float]:
    """Compare heat map and region with the labels of a section's patches.

    Parameters
    ----------
    section
        PatchedSection with its labels.
    heatmap, regions
        What a model made of it.

    Returns
    -------
    dict
        As in :class:`SectionResult`.
    """
    labelled = section.truth != UNLABELLED
    labels = section.truth[labelled] == INVASIVE
    boxes = _boxes(section, labelled)
    here, true = (as_multipolygon(shapely.union_all(own)) for own in (boxes, boxes[labels]))
    found = as_multipolygon(shapely.intersection(regions.union(), here))
    return {"auc": rank_auc(labels, _patch_means(section, heatmap)[labelled])} | compare_regions(found, true)


def _boxes(section: PatchedSection, labelled: NDArray[np.bool_]) -> NDArray[np.object_]:
    lines, columns = np.nonzero(labelled)
    left, top = columns * section.patch_um, lines * section.patch_um
    boxes: NDArray[np.object_] = shapely.box(left, top, left + section.patch_um, top + section.patch_um)
    return boxes


def _patch_means(section: PatchedSection, heatmap: HeatMap) -> NDArray[np.float64]:
    """Mean of the heat map over each patch; a patch without tissue counts as 0."""
    cover = round(section.patch_um / heatmap.mpp)
    lines, columns = section.truth.shape
    values = np.zeros((lines * cover, columns * cover))
    height, width = heatmap.probability.shape
    rows, cols = min(height, lines * cover), min(width, columns * cover)
    values[:rows, :cols] = np.nan_to_num(heatmap.probability[:rows, :cols])
    return np.asarray(values.reshape(lines, cover, columns, cover).mean(axis=(1, 3)))
