"""Whether a region holds the tumour cells of its slide, or another part of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Regions, likely_scale, on_tissue, places_in
from ki67.cells.channels import WORKING_MPP
from ki67.cells.counted_region import counted_region
from ki67.cells.detect import MARGIN_UM, detect_cells
from ki67.cells.engine import Engine
from ki67.cells.tiling import CORE_PX
from ki67.domain import Check, Verdict
from ki67.geometry import UM2_PER_MM2, RectUm, as_multipolygon, polygons_of
from ki67.slides import Slide, TissueMask
from ki67.vocabulary import TUMOUR_CLASSES

DENSITY_COLUMNS: Final = ("x_um", "y_um", "label", "in_region", "excluded")
"""What the check needs of the cell table."""

SQUARE_UM: Final = 50.0
HOLDS_TUMOUR: Final = 2
"""Side of the squares that the region is cut into, and tumour cells from which one holds tumour."""

FULL_SHARE: Final = 0.75
"""Squares with tumour cells, of a region's tissue, from which there is no doubt and nothing more is counted: of 22
outlines drawn rightly on simulated sections the least full one has 0.82, drawn loosely by 0.1 mm 0.63."""

UNUSUAL_RATIO: Final = 1.5
"""Tumour cells per mm² of tissue in the region for one outside. Of 286 outlines as people draw them on 22 simulated
sections, tight or loose by 0.3 mm, the least has 1.8; of 264 squares and discs of 0.2 to 1 mm a sixth is warned."""

UNUSABLE_RATIO: Final = 0.5
"""The same; the least of 550 right regions is 0.56, four fifths of those at half their size have less."""

_MOST_TILES: Final = 16
_LEAST_TISSUE: Final = 0.25
_LEAST_OUTSIDE_MM2: Final = 0.05


def judge_density(
    slide: Slide, regions: Regions, table: pa.Table, counted_mm2: float, tissue: TissueMask | None, engine: Engine
) -> Check:
    """Judge whether tumour cells are denser in a region than outside, as where carcinoma was outlined.

    Where the region is full of tumour cells nothing more is done. Otherwise cells are counted in up to 16 tiles of
    tissue outside, evenly spread.

    Parameters
    ----------
    slide
        The Ki-67 slide, or a field.
    regions
        Where cells were counted.
    table
        Its cells, at least :data:`DENSITY_COLUMNS`, those of the margin included.
    counted_mm2
        Area counted.
    tissue
        The slide's tissue; None for a field, which is tissue altogether.
    engine
        What found the cells.
    """
    name, usual = "region_density", (UNUSUAL_RATIO, None)
    region = regions.union()
    places = places_in(region)
    on = on_tissue(places, tissue) if tissue else np.ones(len(places), bool)
    tumour = pc.is_in(table["label"], pa.array(TUMOUR_CLASSES))
    if _full_share(places[on], table.filter(pc.and_(tumour, pc.equal(table["excluded"], "")))) >= FULL_SHARE:
        return Check(name, Verdict.usual, usual=usual)
    outside = tiles_outside(slide.bounds_um, counted_region(regions, slide.bounds_um, MARGIN_UM).kept, tissue)
    outside_mm2 = _tissue_mm2(outside, tissue)
    if outside_mm2 < _LEAST_OUTSIDE_MM2:
        return Check(name, Verdict.usual, usual=usual)
    with tempfile.TemporaryDirectory(prefix="ki67-") as folder:
        # What lies out of focus there is counted too: it makes the outside look poorer, never richer.
        found = detect_cells(
            slide, outside, Path(folder, "outside.parquet"), tissue=tissue, margin_um=0, engine=engine,
            keep_artefacts=True,
        ).read_table()  # fmt: skip
    there = found.filter(pc.and_(found["in_region"], pc.is_in(found["label"], pa.array(TUMOUR_CLASSES))))
    inside = int(pc.sum(pc.and_(tumour, table["in_region"])).as_py() or 0)
    inside_density = inside / max(counted_mm2 * float(on.mean()), 1.0 / UM2_PER_MM2)
    outside_density = len(there) / outside_mm2
    return _check(inside_density, outside_density, likely_scale(places, tissue, slide.frame) if tissue else "")


def _check(inside: float, outside: float, scale: str) -> Check:
    name, usual = "region_density", (UNUSUAL_RATIO, None)
    if outside <= 0:
        return Check(name, Verdict.usual, usual=usual)
    ratio = inside / outside
    if ratio >= UNUSUAL_RATIO:
        return Check(name, Verdict.usual, value=ratio, usual=usual)
    verdict = Verdict.unusable if ratio < UNUSABLE_RATIO else Verdict.unusual
    text = (
        f"the region holds {inside:,.0f} tumour cells per mm² of tissue, the tissue outside {outside:,.0f}: of "
        f"carcinoma outlined rightly at least {UNUSUAL_RATIO:g} times as many are expected inside as outside"
        f"{scale}"
    )
    return Check(name, verdict, text, ratio, usual)


def _full_share(places: NDArray[np.float64], tumour: pa.Table) -> float:
    """Part of the squares at some places in which there are tumour cells."""
    squares = _squares(places)
    if not len(squares):
        return 0.0
    centres = np.column_stack([tumour["x_um"].to_numpy(), tumour["y_um"].to_numpy()])
    found, count = np.unique(_squares_of(centres), axis=0, return_counts=True)
    full = {tuple(square) for square in found[count >= HOLDS_TUMOUR].tolist()}
    return sum(tuple(square) in full for square in squares.tolist()) / len(squares)


def _squares(places: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(_squares_of(places), axis=0)


def _squares_of(places: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(places / SQUARE_UM).astype(np.int64).reshape(-1, 2)


def tiles_outside(bounds_um: RectUm, kept: BaseGeometry, tissue: TissueMask | None) -> MultiPolygon:
    """Up to 16 tiles on tissue, evenly spread, less a region and its margin, in µm."""
    side = CORE_PX * WORKING_MPP
    shapely.prepare(kept)
    free: list[BaseGeometry] = []
    for top in np.arange(0.0, bounds_um.height_um, side):
        for left in np.arange(0.0, bounds_um.width_um, side):
            rect = RectUm(left, top, side, side).intersection(bounds_um)
            if rect is None or (tissue and tissue.fraction(rect) < _LEAST_TISSUE):
                continue
            tile = rect.polygon
            if not shapely.covers(kept, tile):
                free.append(shapely.difference(tile, kept) if shapely.intersects(kept, tile) else tile)
    chosen = np.linspace(0, len(free) - 1, min(_MOST_TILES, len(free))).round().astype(int)
    return as_multipolygon(MultiPolygon([part for number in chosen for part in polygons_of(free[number])]))


def _tissue_mm2(area: MultiPolygon, tissue: TissueMask | None) -> float:
    if area.is_empty:
        return 0.0
    if tissue is None:
        return float(area.area) / UM2_PER_MM2
    places = places_in(area)
    return float(area.area) * float(on_tissue(places, tissue).mean()) / UM2_PER_MM2
