"""Where the carcinoma lies on a Ki-67 slide alone: the places where most nuclei are tumour cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon

from ki67.annotations import Region, Regions
from ki67.cells.counted_region import CountedRegion, counted_region
from ki67.cells.detect import MARGIN_UM, CellDetection
from ki67.cells.exclusion import loss_warnings, usable_mm2
from ki67.cells.table import cell_schema
from ki67.errors import RegionError
from ki67.files import atomic_path
from ki67.geometry import UM2_PER_MM2, RectUm, as_multipolygon, polygons_of
from ki67.parquet import parquet_file
from ki67.slides.mask_polygons import outline_um
from ki67.vocabulary import TUMOUR_CLASSES

NEST_COLUMNS: Final = ("x_um", "y_um", "label", "excluded")
"""What the outline needs of the cell table."""

LABEL: Final = "Tumour"
"""What such a region is called: invasive carcinoma and carcinoma in situ look alike here."""

GRID_UM: Final = 10.0
SMOOTHING_UM: Final = 50.0
"""Nuclei are counted with Gaussian weights of this standard deviation: three to four nests' width of cells."""

LEAST_SHARE: Final = 0.5
LEAST_PER_MM2: Final = 500.0
"""Where at least so much of all nuclei are tumour cells, and so many per mm², it is carcinoma."""

LEAST_NEST_MM2: Final = 0.05
LEAST_HOLE_MM2: Final = 0.02
"""Smaller outlines are left out, smaller holes filled: some hundred cells."""

NOTE: Final = (
    "the carcinoma was outlined from its own cells, without an H&E section: carcinoma in situ and atypical ducts are "
    "in it. Look at the outline in the report, or give one with --regions"
)
"""Said of every count in such an outline."""

_TUMOUR = pa.array(TUMOUR_CLASSES)


def tumour_nests(table: pa.Table, bounds_um: RectUm) -> Regions:
    """Outline where most nuclei are tumour cells.

    Parameters
    ----------
    table
        Cells of the whole slide, with :data:`NEST_COLUMNS`. What is excluded has no say.
    bounds_um
        The slide.

    Returns
    -------
    Regions
        Label :data:`LABEL`, the largest first, in µm.

    Raises
    ------
    RegionError
        Where there is no such place.
    """
    usable = table.filter(pc.equal(table["excluded"], ""))
    places = np.column_stack([np.asarray(usable["x_um"]), np.asarray(usable["y_um"])])
    tumour = np.asarray(pc.is_in(usable["label"], _TUMOUR))
    per_mm2 = _per_mm2(places[tumour], bounds_um)
    others = _per_mm2(places[~tumour], bounds_um)
    found = (per_mm2 >= LEAST_PER_MM2) & (per_mm2 >= LEAST_SHARE * (per_mm2 + others))
    cell_mm2 = GRID_UM**2 / UM2_PER_MM2
    found = ~_large(~_large(found, LEAST_NEST_MM2 / cell_mm2), LEAST_HOLE_MM2 / cell_mm2)
    outline = as_multipolygon(outline_um(found, GRID_UM).intersection(bounds_um.polygon))
    nests = sorted(polygons_of(outline), key=lambda polygon: -polygon.area)
    if not nests:
        raise RegionError(
            f"nowhere on {LEAST_NEST_MM2:g} mm² are most nuclei tumour cells, so no carcinoma can be outlined. "
            "Outline it by hand (QuPath, saved as GeoJSON, classified IDC) and give the file with --regions"
        )
    return Regions(
        Region(LABEL, MultiPolygon([nest]), f"tumour-{number}") for number, nest in enumerate(nests, start=1)
    )


def keep_within(found: CellDetection, regions: Regions, bounds_um: RectUm) -> CellDetection:
    """Take what was counted in all tissue as counted in these regions.

    The table keeps their cells and those of the margin around them. It is written anew where it is a file, row group
    by row group, so that memory stays flat.
    """
    counted = counted_region(regions, bounds_um, MARGIN_UM)
    if isinstance(found.table, Path):
        with (
            atomic_path(found.table) as path,
            parquet_file(found.table) as stream,
            parquet_file(path, "wb") as sink,
            pq.ParquetWriter(sink, cell_schema(), compression="zstd") as out,
        ):
            source = pq.ParquetFile(stream)
            for number in range(source.num_row_groups):
                out.write_table(_within(source.read_row_group(number).cast(cell_schema()), counted))
        table: Path | pa.Table = found.table
    else:
        table = _within(found.table, counted)
    lost = {kind: as_multipolygon(shapely.intersection(part, counted.whole)) for kind, part in found.lost.items()}
    of_all_tissue = loss_warnings(found.lost, found.area_mm2 + sum(found.area_lost_mm2.values()))
    told = [line for line in found.warnings if line not in of_all_tissue]
    return replace(
        found,
        table=table,
        area_mm2=usable_mm2(lost, counted.area_mm2),
        lost=lost,
        warnings=(*told, *loss_warnings(lost, counted.area_mm2), NOTE),
    )


def _within(table: pa.Table, counted: CountedRegion) -> pa.Table:
    x_um, y_um = np.asarray(table["x_um"]), np.asarray(table["y_um"])
    kept = counted.keeps(x_um, y_um)
    index = counted.locate(x_um[kept], y_um[kept])
    table = table.filter(pa.array(kept))
    ids = np.array([*counted.region_ids, ""], dtype=object)
    inside = (index >= 0) & np.asarray(pc.equal(table["excluded"], ""))
    for name, values in (("region_id", pa.array(ids[index], pa.string())), ("in_region", pa.array(inside))):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), values)
    return table


def _per_mm2(places_um: NDArray[np.float64], bounds_um: RectUm) -> NDArray[np.float32]:
    """Nuclei per mm² around each place of a grid of :data:`GRID_UM`."""
    shape = [int(np.ceil(side / GRID_UM)) for side in (bounds_um.height_um, bounds_um.width_um)]
    counts = np.zeros(shape, np.float32)
    columns, rows = np.clip((places_um.T / GRID_UM).astype(np.int64), 0, np.array(shape[::-1])[:, None] - 1)
    np.add.at(counts, (rows, columns), 1.0)
    around = cv2.GaussianBlur(counts, (0, 0), SMOOTHING_UM / GRID_UM, borderType=cv2.BORDER_REFLECT)
    return np.asarray(around * (UM2_PER_MM2 / GRID_UM**2), np.float32)


def _large(mask: NDArray[np.bool_], least_px: float) -> NDArray[np.bool_]:
    """The parts of a mask that have at least so many pixels."""
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    kept = sizes >= least_px
    kept[0] = False
    return np.asarray(kept[parts])
