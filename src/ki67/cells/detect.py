"""Counting: from a slide and a region to the cell table."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67 import slides
from ki67.annotations import Regions
from ki67.cells.channels import WORKING_MPP, TilePixels, check_resolution
from ki67.cells.counted_region import CountedRegion, counted_region
from ki67.cells.engine import Engine, load_engine
from ki67.cells.exclusion import NOTHING_LOST, Exclusion, loss_warnings, pen_and_folds, usable_mm2
from ki67.cells.focus import REACH_PX, focus_limit
from ki67.cells.measurements import column, measure
from ki67.cells.sampling import is_field, sample_slide
from ki67.cells.stains import Stains, brown_density, estimate_stains
from ki67.cells.table import CellRows, cell_schema, gather_cells, make_table, write_cells
from ki67.cells.tiling import CORE_PX, GRID_PX, Tile, plan_tiles
from ki67.files import atomic_path
from ki67.geometry import area_mm2
from ki67.jobs import Pool, current
from ki67.parquet import parquet_file
from ki67.progress import track
from ki67.slides import Slide, TissueMask
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

MARGIN_UM = 50.0
"""Cells this far outside the region are kept too, so that a slightly moved region needs no recount."""

LEAST_DAB_OD = 0.05
"""With less DAB on the average no nucleus is positive, whatever the engine says: it is not brown. Of 1,236 nuclei
that the network calls positive on the BCData and SHIDC fields none has less than 0.08."""

FOCUS_HALO_PX = -(-REACH_PX // GRID_PX) * GRID_PX
"""Pixels around a tile's core by which it is known whether the core is out of focus."""


@dataclass(frozen=True)
class CellDetection:
    """The cells of a slide: their table in its file or in memory, counted area, stains, warnings.

    ``lost`` is what was left out of the region, in µm, by kind: pen, fold, focus; ``area_mm2`` is the rest.
    ``brown_od`` is the median DAB from which a tumour nucleus that has less haematoxylin is positive, whatever the
    engine says.
    """

    table: Path | pa.Table
    area_mm2: float
    lost: dict[str, MultiPolygon]
    stains: Stains
    brown_od: float
    warnings: tuple[str, ...]

    def read_table(self) -> pa.Table:
        """All of the cell table (see :func:`ki67.cells.table.cell_schema`)."""
        if not isinstance(self.table, Path):
            return self.table
        with parquet_file(self.table) as stream:
            return pq.read_table(stream).cast(cell_schema())

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of the cell table."""
        if not isinstance(self.table, Path):
            return self.table.select([*columns])
        with parquet_file(self.table) as stream:
            return pq.read_table(stream, columns=[*columns])

    @property
    def area_lost_mm2(self) -> dict[str, float]:
        """Area of the region in which cells were not counted, by kind."""
        return {kind: area_mm2(geometry) for kind, geometry in self.lost.items()}


def detect_cells(
    slide: Slide,
    region: BaseGeometry | Regions | None,
    path: str | Path | None = None,
    *,
    tissue: TissueMask | None = None,
    margin_um: float = MARGIN_UM,
    engine: Engine | None = None,
    dab_threshold: float | None = None,
    keep_artefacts: bool = False,
    core_px: int = CORE_PX,
) -> CellDetection:
    """Find and classify every nucleus in a region of a Ki-67 slide.

    Parameters
    ----------
    slide
        The Ki-67 slide, or a plain picture of a field.
    region
        Polygon or multipolygon in µm, or named regions, whose ids go into the table; None for all tissue (all of the
        picture where it is a field).
    path
        The Parquet file to write the cell table to; None keeps it in memory, about 400 bytes a cell.
    tissue
        The slide's tissue where it is known already; None looks for it, but not on a field.
    margin_um
        Cells this far outside the region are kept with ``in_region`` False.
    engine
        What finds the nuclei (:func:`ki67.cells.load_engine`); None for the default.
    dab_threshold
        Mean DAB density (OD) of a tumour nucleus from which it is positive; None leaves that to the engine, which
        calls any brown nuclear stain positive, from :data:`LEAST_DAB_OD` on; and what is plainly brown on this slide
        (:func:`ki67.cells.stains.brown_density`) is positive whatever the engine says. A cell whose class the engine
        saw otherwise has no probability.
    keep_artefacts
        Count what lies under pen, in folds and out of focus like everything else; otherwise such cells are kept in
        the table with ``excluded`` saying why, and ``in_region`` False.
    core_px
        Edge of a tile's core at the working resolution. The result does not depend on it.

    Raises
    ------
    RegionError
        Where the region is empty or outside the slide.
    TissueError
        Where there is no tissue.
    PixelSizeError
        Where the slide is too coarse for nuclei.
    ModelError, SlideError
        Where the model or the slide cannot be read.
    WriteError
        Where the file cannot be written.
    """
    check_resolution(slide.path, slide.mpp)
    engine = engine or load_engine()
    tissue = None if is_field(slide) else tissue or slides.tissue_mask(slide)
    if region is not None:
        counted = counted_region(region, slide.bounds_um, margin_um)
    elif tissue is None:
        counted = counted_region(slide.bounds_um.polygon, slide.bounds_um, 0.0)
    else:
        counted = counted_region(tissue.geometry, slide.bounds_um, margin_um)
    with Pool("exclusion", 1) as aside:
        kinds = None if keep_artefacts else aside.submit(pen_and_folds, slide, tissue)
        sample = sample_slide(slide, tissue)
        stains = estimate_stains(sample.pixels)
        brown = brown_density(sample.pixels, stains)
        exclusion = Exclusion(kinds.result(), focus_limit(sample, stains)) if kinds else None
    job = _Job(engine, stains, counted, brown, dab_threshold, exclusion)
    tiles = plan_tiles(slide.bounds_um, counted.kept, max(engine.halo_px, FOCUS_HALO_PX), core_px)
    # Closed before the slide is: where the table cannot be written no tile goes on reading.
    with closing(_in_parallel(slide, tiles, job)) as tables:
        found = zip((tile.row_px for tile in tiles), track(tables, "Counting cells", len(tiles)), strict=True)
        if path is None:
            table: Path | pa.Table = gather_cells(found)
        else:
            table = Path(path)
            with atomic_path(path) as file:
                write_cells(file, found)
    lost = exclusion.lost(counted.whole) if exclusion else dict(NOTHING_LOST)
    warnings = (*(tissue.warnings if tissue else ()), *loss_warnings(lost, counted.area_mm2))
    area = usable_mm2(lost, counted.area_mm2)
    return CellDetection(table, area, lost, stains, brown, warnings)


@dataclass(frozen=True)
class _Job:
    """What is the same for every tile."""

    engine: Engine
    stains: Stains
    counted: CountedRegion
    brown_od: float
    dab_threshold: float | None
    exclusion: Exclusion | None


def _in_parallel(slide: Slide, tiles: Sequence[Tile], job: _Job) -> Generator[pa.Table]:
    """Tables in the order of the tiles; one more tile than there are workers is under way, so memory stays flat."""
    under_way: deque[Future[pa.Table]] = deque()
    workers = current().workers
    with Pool("cells") as pool:
        try:
            for tile in tiles:
                under_way.append(pool.submit(_count_tile, slide, tile, job))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _count_tile(slide: Slide, tile: Tile, job: _Job) -> pa.Table:
    rgb = slide.read(tile.rect, WORKING_MPP)
    pixels = TilePixels(rgb, job.stains)
    found = job.engine.find(pixels, tile.core)
    if job.exclusion:
        job.exclusion.judge_focus(pixels.smooth_density, tile)
    x_um = (found.x_px + tile.left_px) * WORKING_MPP
    y_um = (found.y_px + tile.top_px) * WORKING_MPP
    kept = np.flatnonzero(job.counted.keeps(x_um, y_um))
    measurements, outlines = measure(rgb, job.stains, found.masks[kept])
    label = _by_density(found.label[kept], measurements, job.brown_od, job.dab_threshold)
    origin = np.array([tile.left_px, tile.top_px], np.float32)
    rows = CellRows(
        x_um[kept],
        y_um[kept],
        label,
        np.where(label == found.label[kept], found.probability[kept], np.nan).astype(np.float32),
        job.counted.locate(x_um[kept], y_um[kept]),
        job.exclusion.at(x_um[kept], y_um[kept]) if job.exclusion else np.zeros(len(kept), np.uint8),
        measurements,
        [(outline + origin) * np.float32(WORKING_MPP) for outline in outlines],
    )
    return make_table(rows, job.counted.region_ids)


def _by_density(
    label: NDArray[np.int8], measurements: NDArray[np.float32], brown_od: float, threshold: float | None
) -> NDArray[np.int8]:
    """Labels where the density of DAB has the last word: none is not brown, much is, and a threshold decides.

    Medians tell what is brown: the mean of a blue nucleus beside a black one may hold some of its rim. And it must be
    brown rather than blue, since of much haematoxylin some is taken for DAB.
    """
    mean, median = column(measurements, "Mean_DAB"), column(measurements, "Median_DAB")
    if threshold is not None:
        positive = mean >= threshold
    else:
        brown = (median >= brown_od) & (median > column(measurements, "Median_Hematoxylin"))
        positive = ((label == POSITIVE) & (mean >= LEAST_DAB_OD)) | brown
    return np.where(label == OTHER, OTHER, np.where(positive, POSITIVE, NEGATIVE)).astype(np.int8)
