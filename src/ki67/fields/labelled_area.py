"""Where the labels of a picture are complete: outside it nuclei carry no label, so nothing is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.annotations import Regions, read_regions
from ki67.errors import DataSetError
from ki67.slides.frame import PixelFrame

AREA_SUFFIX = "_labelled"
"""Ends the name of the file that says where labelling is complete; such a picture is no field itself."""

_WHITE = 128
_EXPECTED_AREA = "Expected a PNG of its size, white where labelling is complete, or a GeoJSON with outlines of that."


@dataclass(frozen=True)
class LabelledArea:
    """Where every tumour nucleus of a picture is labelled: ``mask`` (H, W), one value per pixel of ``mpp`` µm."""

    mask: NDArray[np.bool_]
    mpp: float

    def contains(self, places_um: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points (N, 2) in µm lie in it."""
        column, row = np.floor(places_um / self.mpp).astype(int).reshape(-1, 2).T
        height, width = self.mask.shape
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        result = np.zeros(len(inside), np.bool_)
        result[inside] = self.mask[row[inside], column[inside]]
        return result

    def resampled(self, shape: tuple[int, int], mpp: float) -> NDArray[np.bool_]:
        """The mask at another pixel size, (H, W) of ``shape``."""
        rows, columns = (
            np.minimum(((np.arange(length) + 0.5) * mpp / self.mpp).astype(int), limit - 1)
            for length, limit in zip(shape, self.mask.shape, strict=True)
        )
        return self.mask[np.ix_(rows, columns)]


def read_mask(path: Path, mode: int) -> NDArray[np.uint8] | None:
    """Pixels of a mask, in colour (B, G, R) or grey by OpenCV's ``mode``; None where the file is no picture."""
    try:
        pixels: NDArray[np.uint8] | None = cv2.imdecode(np.fromfile(path, np.uint8), mode)
    except cv2.error:  # empty, or larger than OpenCV lets pictures be
        return None
    return pixels


def read_labelled_area(image: Path, size_px: tuple[int, int], frame: PixelFrame) -> LabelledArea | None:
    """Read where a picture's labelling is complete; None where nothing beside it says so.

    Parameters
    ----------
    image
        The picture; ``NAME_labelled.png`` or ``NAME_labelled.geojson`` beside it tells.
    size_px, frame
        Its size, and its pixel size and other programs' corner.

    Raises
    ------
    DataSetError
        Where the file is no picture, of another size or empty, or both files are there.
    AnnotationError
        Where the outlines cannot be read.
    """
    drawn = image.with_name(f"{image.stem}{AREA_SUFFIX}.png")
    outlined = drawn.with_suffix(".geojson")
    if drawn.is_file() and outlined.is_file():
        raise DataSetError(drawn, f"and {outlined.name} both say where labelling is complete", "Remove one of them.")
    if drawn.is_file():
        mask = read_mask(drawn, cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise DataSetError(drawn, "is no picture", _EXPECTED_AREA)
        if mask.shape[::-1] != tuple(size_px):
            raise DataSetError(
                drawn,
                f"has {mask.shape[1]} x {mask.shape[0]} pixels, the picture {size_px[0]} x {size_px[1]}",
                _EXPECTED_AREA,
            )
        area = mask >= _WHITE
    elif outlined.is_file():
        area = _filled(read_regions(outlined, frame), size_px, frame.mpp)
    else:
        return None
    if not area.any():
        path = drawn if drawn.is_file() else outlined
        raise DataSetError(path, "leaves nothing of the picture: no part of it is labelled", _EXPECTED_AREA)
    return LabelledArea(area, frame.mpp)


def _filled(regions: Regions, size_px: tuple[int, int], mpp: float) -> NDArray[np.bool_]:
    """Pixels (H, W) whose centre lies in one of the regions."""
    across, down = ((np.arange(length) + 0.5) * mpp for length in size_px)
    whole = shapely.union_all([region.geometry for region in regions])
    shapely.prepare(whole)
    return np.stack([shapely.contains_xy(whole, across, np.full(len(across), y)) for y in down])
