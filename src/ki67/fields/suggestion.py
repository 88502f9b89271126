"""Fields of a slide whose labelling would teach a network most: where it is least sure of what it finds.

A network that is trained on from the shipped one learns from nuclei that it misses or calls wrongly. Where these are
is not known without labels, but it is likelier where other nuclei are found when the picture is changed a little
(:mod:`ki67.cells.checks.agreement`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Region, Regions, point_features, write_regions
from ki67.cells.channels import WORKING_MPP
from ki67.cells.checks.agreement import agreement_on, busy_squares
from ki67.cells.engine import NetworkEngine
from ki67.csv_rows import csv_text
from ki67.errors import DataSetError
from ki67.fields.labelled_area import AREA_SUFFIX
from ki67.files import make_folder, write_json, write_text
from ki67.geometry import RectUm, as_multipolygon
from ki67.jobs import Pool
from ki67.progress import track
from ki67.slides import PixelFrame, Slide, write_pyramid
from ki67.vocabulary import TUMOUR_CLASSES

LOOKED_AT: Final = 60
"""Squares of a slide that are looked at: enough to find the odd ones, half a minute on two cores."""

APART_UM: Final = 512.0
"""Fields lie at least this far apart, middle to middle, as long as there are enough: neighbours teach the same."""

MARK_LETTERS: Final = 6
"""Of a slide's fingerprint, in the names of its fields."""

FINEST_MPP: Final = 0.25
"""Fields are written no finer: nuclei are told at twice that, and people see them well."""


@dataclass(frozen=True)
class SuggestedField:
    """A square of a slide that is worth labelling.

    Parameters
    ----------
    rect
        In µm of the slide.
    tumour_cells
        Counted in it.
    found_again
        Share of the nuclei found again on the changed picture, 0 to 1.
    """

    rect: RectUm
    tumour_cells: int
    found_again: float

    @property
    def doubtful(self) -> float:
        """Nuclei that are not found again: what there is to learn."""
        return self.tumour_cells * (1.0 - self.found_again)


def suggest_fields(
    slide: Slide,
    table: pa.Table,
    background_rgb: tuple[float, float, float],
    engine: NetworkEngine,
    count: int,
) -> list[SuggestedField]:
    """Choose fields of a counted slide, those with most doubtful nuclei first.

    Parameters
    ----------
    slide
        The Ki-67 slide.
    table
        Its cells, at least :data:`ki67.cells.AGREEMENT_COLUMNS`.
    background_rgb
        Of the slide.
    engine
        The network that is to learn.
    count
        How many; fewer where the slide has not so many squares with tumour cells.

    Raises
    ------
    DataSetError
        Where no square of the region has enough tumour cells.
    """
    squares = busy_squares(table, slide.bounds_um, LOOKED_AT)
    if not squares:
        raise DataSetError(
            slide.path, "has no field with 30 tumour cells or more in its region", "Count a larger region first."
        )

    def judged(rect: RectUm) -> SuggestedField:
        share = agreement_on(engine, slide.read(rect, WORKING_MPP), background_rgb).share
        return SuggestedField(rect, len(_within(table, rect)), 0.0 if share is None else share)

    with Pool("suggest") as pool:
        found = list(track(pool.map(judged, squares), "Looking at fields", len(squares)))
    return _apart(sorted(found, key=lambda one: (-one.doubtful, one.rect.y_um, one.rect.x_um)), count)


def _apart(fields: Sequence[SuggestedField], count: int) -> list[SuggestedField]:
    """The first of them that lie far enough from each other; nearer ones only where there are not enough."""
    chosen: list[SuggestedField] = []
    for least_um in (APART_UM, 0.0):
        for one in fields:
            if len(chosen) == count:
                return chosen
            if one not in chosen and all(_distance_um(one.rect, other.rect) >= least_um for other in chosen):
                chosen.append(one)
    return chosen


def _distance_um(one: RectUm, other: RectUm) -> float:
    return float(np.hypot(one.x_um - other.x_um, one.y_um - other.y_um))


def _within(table: pa.Table, rect: RectUm) -> pa.Table:
    x, y = table["x_um"], table["y_um"]
    across = pc.and_(pc.greater_equal(x, rect.x_um), pc.less(x, rect.right_um))
    down = pc.and_(pc.greater_equal(y, rect.y_um), pc.less(y, rect.bottom_um))
    tumour = pc.is_in(table["label"], pa.array(TUMOUR_CLASSES))
    return table.filter(pc.and_(pc.and_(across, down), pc.and_(tumour, table["in_region"])))


def require_fresh(out: Path) -> None:
    """Refuse a folder that holds fields already: somebody may have labelled them, or they are another slide's.

    Raises
    ------
    DataSetError
        Where it does.
    """
    if (out / "fields").is_dir() and any((out / "fields").iterdir()):
        raise DataSetError(out / "fields", "holds fields already, perhaps labelled by now", "Give another --out.")


def write_suggested(
    out: Path,
    slide: Slide,
    fields: Sequence[SuggestedField],
    table: pa.Table,
    *,
    labels: bool,
    counted: BaseGeometry | None = None,
) -> list[str]:
    """Write fields to be labelled; returns their names.

    ``out/fields/NAME.tif`` are the pictures, with their pixel size, and with ``labels`` ``NAME.geojson`` beside each
    the cells that were counted, as points to be corrected in QuPath, and where only a part of a field was counted
    (``counted``, in µm of the slide) ``NAME_labelled.geojson`` with that part; ``out/fields.geojson`` the squares on
    the slide; ``out/fields.csv`` where they lie and why. The pictures are named after the slide and its content, so
    that training keeps them together as one patient's, and apart from those of another slide of the same name.

    Raises
    ------
    DataSetError
        As :func:`require_fresh`.
    WriteError
        Where the folder cannot be written to.
    """
    require_fresh(out)
    make_folder(out / "fields")
    mark = str(slide.fingerprint()["sampled_sha256"])[:MARK_LETTERS]
    mpp = max(slide.mpp, FINEST_MPP)
    rows = [["name", "x_um", "y_um", "side_um", "tumour_cells", "found_again_percent"]]
    names = []
    for number, one in enumerate(fields, start=1):
        name = f"{slide.path.stem}-{mark}_{number:02d}"
        pixels = slide.read(one.rect, mpp)
        write_pyramid(
            out / "fields" / f"{name}.tif", [pixels], (pixels.shape[1], pixels.shape[0]), mpp, compression="deflate"
        )
        if labels:
            write_json(out / "fields" / f"{name}.geojson", _points(_within(table, one.rect), one.rect, mpp))
            part = None if counted is None else one.rect.polygon & counted
            if part is not None and part.area < one.rect.polygon.area:
                moved = as_multipolygon(affinity.translate(part, -one.rect.x_um, -one.rect.y_um))
                area = Regions([Region("Region*", moved, "labelled")])
                write_regions(out / "fields" / f"{name}{AREA_SUFFIX}.geojson", area, PixelFrame(mpp))
        rows.append([name, *(f"{value:.1f}" for value in (one.rect.x_um, one.rect.y_um, one.rect.width_um))])
        rows[-1] += [str(one.tumour_cells), f"{100 * one.found_again:.1f}"]
        names.append(name)
    squares = Regions(
        Region("Region*", one.rect.polygon, name, name) for name, one in zip(names, fields, strict=True)
    )
    write_regions(out / "fields.geojson", squares, slide.frame)
    write_text(out / "fields.csv", csv_text(rows))
    return names


def _points(cells: pa.Table, rect: RectUm, mpp: float) -> dict[str, Any]:
    places = np.column_stack([cells["x_um"].to_numpy() - rect.x_um, cells["y_um"].to_numpy() - rect.y_um])
    labels = np.array(cells["label"].to_pylist(), object)
    there = {label: places[labels == label] for label in TUMOUR_CLASSES}
    return point_features({label: PixelFrame(mpp).to_px(own) for label, own in there.items() if len(own)})
