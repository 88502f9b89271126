"""Figure of where the index is high: hexagons over the Ki-67 slide, hot spots and the guideline's fields on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ki67.annotations import Regions
from ki67.geometry import polygons_of
from ki67.report.data import SlideLike
from ki67.report.drawing import Frame, Picture, draw_regions, draw_scale_bar, font, frame_of, viridis
from ki67.report.overview import OVERVIEW_PX
from ki67.scoring.local import HEXAGON_CELLS, HexagonMap, TumourCells, hexagon_corners, hexagon_map

TOP_PERCENT: Final = (10.0, 20.0, 30.0, 50.0, 75.0, 100.0)
"""Ends that the colour scale may have: the smallest that holds nine tenths of the hexagons is taken."""

_HELD_PERCENTILE: Final = 90.0
_OPACITY: Final = 0.6
_SPOT_COLOR: Final = (214, 39, 40)
_FIELD_COLOR: Final = (20, 20, 20)
_HALO: Final = (255, 255, 255)


def index_hexagons(cells: pa.Table, slide: SlideLike, regions: Regions | None) -> HexagonMap:
    """Index map of a cell table, over the region or the whole slide."""
    region = slide.bounds_um.polygon if regions is None else regions.union()
    return hexagon_map(TumourCells.of(cells), region).judged(HEXAGON_CELLS)


def scale_end(hexagons: HexagonMap) -> float:
    """Index in percent at the upper end of the colour scale."""
    high = float(np.percentile(hexagons.index_percent, _HELD_PERCENTILE))
    return next((end for end in TOP_PERCENT if end >= high), TOP_PERCENT[-1])


def index_picture(
    slide: SlideLike, regions: Regions | None, hexagons: HexagonMap, score: Mapping[str, Any]
) -> Picture:
    """Whole slide in grey with the index of each hexagon in colour, hot spots (red, numbered) and fields (black).

    Parameters
    ----------
    slide, regions
        The Ki-67 slide and its region.
    hexagons
        :func:`index_hexagons`, not empty.
    score
        Content of ``score.json``: ``hot_spots`` and ``guideline``.
    """
    frame = frame_of(slide.bounds_um, OVERVIEW_PX, slide.mpp)
    grey = cv2.cvtColor(slide.read(frame.rect_um, frame.mpp), cv2.COLOR_RGB2GRAY)
    picture: Picture = np.repeat(grey[:, :, None], 3, axis=2)
    colored = picture.copy()
    corners = hexagon_corners(hexagons.centres_um, hexagons.side_um)
    for shape, color in zip(corners, viridis(hexagons.index_percent / scale_end(hexagons)), strict=True):
        cv2.fillPoly(colored, [np.rint(frame.to_px(shape)).astype(np.int32)], color.tolist(), cv2.LINE_AA)
    counted = _inside(picture.shape[:2], frame, regions)
    mixed = np.asarray(_OPACITY * colored + (1 - _OPACITY) * picture).astype(np.uint8)
    picture = np.where(counted[:, :, None], mixed, picture)
    if regions is not None:
        draw_regions(picture, frame, regions, width_px=1)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for field in (score.get("guideline") or {}).get("fields", ()):
        _circle(draw, frame, field, _FIELD_COLOR, field["type"][0].upper())
    for number, spot in enumerate(score.get("hot_spots") or (), start=1):
        _circle(draw, frame, spot, _SPOT_COLOR, str(number))
    return draw_scale_bar(np.asarray(image), frame.mpp)


def _inside(shape: tuple[int, int], frame: Frame, regions: Regions | None) -> NDArray[np.bool_]:
    """Pixels of the region; all of them where there is none."""
    if regions is None:
        return np.ones(shape, bool)
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons_of(regions.union()):
        for ring, value in ((polygon.exterior, 1), *((hole, 0) for hole in polygon.interiors)):
            corners = np.rint(frame.to_px(np.asarray(ring.coords)[:, :2])).astype(np.int32)
            cv2.fillPoly(mask, [corners], value)
    return mask.astype(bool)


def _circle(
    draw: ImageDraw.ImageDraw, frame: Frame, spot: Mapping[str, Any], color: tuple[int, int, int], text: str
) -> None:
    place: NDArray[np.float64] = frame.to_px(np.array([[spot["x_um"], spot["y_um"]]]))[0]
    x, y = float(place[0]), float(place[1])
    radius = max(4.0, float(spot["radius_um"]) / frame.mpp)
    for ink, width, reach in ((_HALO, 5, radius + 1), (color, 3, radius)):
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=ink, width=width)
    draw.text((x + radius + 4, y), text, fill=color, font=font(20), anchor="lm", stroke_width=3, stroke_fill=_HALO)
