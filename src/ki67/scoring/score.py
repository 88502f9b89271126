"""From the cell table to the index."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ki67.errors import ScoreError
from ki67.scoring.intervals import wilson_interval
from ki67.vocabulary import MINIMUM_CELLS, OTHER, RECOMMENDED_CELLS, TUMOUR_CLASSES

SCORE_COLUMNS: Final = ("label", "region_id", "in_region")
"""What a score needs of the cell table."""

_LABELS: Final = (*TUMOUR_CLASSES, OTHER.label)


class _Counts(BaseModel):
    """Counts and index; ``cells`` are tumour cells, positive and negative, others are not among them."""

    model_config = ConfigDict(frozen=True)

    index_percent: float | None
    """Positive of all tumour cells in percent, not rounded; any intensity counts. None where there is no cell."""
    positive: int
    negative: int
    other: int
    cells: int
    ci95_percent: tuple[float, float] | None
    """Wilson 95 % interval of the index in percent."""


class RegionScore(_Counts):
    """Counts and index of one region; no guard on the number of cells, which holds for the whole case."""

    region_id: str


class AverageScore(_Counts):
    """Ki-67 index of a case over all its regions, pooled: every tumour cell weighs the same."""

    area_mm2: float
    """Area in which cells were counted."""
    area_lost_mm2: dict[str, float]
    """Area of the region that was left out, by kind."""
    cells_per_mm2: float | None
    """Tumour cells per mm² of counted area; None where all of the region was left out."""
    regions: tuple[RegionScore, ...]
    warnings: tuple[str, ...]


def score_cells(
    table: pa.Table,
    area_mm2: float,
    *,
    area_lost_mm2: Mapping[str, float] | None = None,
    region_ids: Iterable[str] = (),
    minimum_cells: int = MINIMUM_CELLS,
    recommended_cells: int = RECOMMENDED_CELLS,
    allow_few: bool = False,
    allow_none: bool = False,
) -> AverageScore:
    """Compute the Ki-67 index of the cells inside the region.

    The index is 100 × positive / (positive + negative) over all tumour cells of all regions (Dowsett et al. 2011:
    any intensity counts, the average over the section). Rows outside the region (``in_region`` false) do not count.

    Parameters
    ----------
    table
        Cell table with the columns ``label`` (positive, negative, other), ``region_id`` and ``in_region``.
    area_mm2
        Counted area of the region in mm².
    area_lost_mm2
        Area of the region that was left out, by kind (pen, fold, focus); None where nothing was.
    region_ids
        Regions that were counted in: those without a single cell are listed too.
    minimum_cells
        Below this many tumour cells the index is refused, unless ``allow_few``.
    recommended_cells
        Below this many the index carries a warning.
    allow_few
        Give the index with a warning where it would be refused for too few cells; never on no cell at all.
    allow_none
        Without a single tumour cell, return a score whose index is None instead of refusing.

    Returns
    -------
    AverageScore
        Equal tables give equal scores, whatever the order of their rows.

    Raises
    ------
    ScoreError
        Where there are too few tumour cells, the area is no positive number, or the table is not a cell table.
    """
    lost = dict(area_lost_mm2 or {})
    _require_cell_table(table)
    _require_area(area_mm2, lost, allow_none=allow_none)
    numbers = _numbers(table)
    counts = _counts(numbers.values())
    names = {name for name in numbers if name is not None} | set(region_ids)
    warnings = _guard(counts, minimum_cells, recommended_cells, allow_few=allow_few, allow_none=allow_none)
    return AverageScore(
        **counts.model_dump(),
        area_mm2=area_mm2,
        area_lost_mm2=lost,
        cells_per_mm2=counts.cells / area_mm2 if area_mm2 > 0 else None,
        regions=tuple(
            RegionScore(region_id=name, **_counts([numbers.get(name, Counter())]).model_dump())
            for name in sorted(names)
        ),
        warnings=tuple(warnings),
    )


def _require_cell_table(table: pa.Table) -> None:
    missing = [name for name in SCORE_COLUMNS if name not in table.column_names]
    if missing:
        msg = f"the cell table lacks the column {missing[0]!r}, found {', '.join(table.column_names) or 'none'}"
        raise ScoreError(msg)
    empty = [name for name in ("label", "in_region") if table[name].null_count]
    if empty:
        msg = f"the cell table has {table[empty[0]].null_count} cells without a value in {empty[0]!r}"
        raise ScoreError(msg)
    unknown = sorted(set(pc.unique(table["label"]).to_pylist()) - set(_LABELS))
    if unknown:
        msg = f"the cell table has the unknown label {unknown[0]!r}, expected {', '.join(_LABELS)}"
        raise ScoreError(msg)


def _require_area(area_mm2: float, lost: Mapping[str, float], *, allow_none: bool) -> None:
    if math.isfinite(area_mm2) and area_mm2 > 0:
        return
    total = sum(lost.values())
    if area_mm2 == 0 and total > 0:
        if allow_none:
            return
        parts = ", ".join(f"{kind} {area:.2f}" for kind, area in lost.items() if area > 0)
        msg = (
            f"all of the region is unusable ({parts} mm²), so there is no index. Scan it again or take another "
            "region, or count it all the same with --keep-artefacts"
        )
        raise ScoreError(msg)
    msg = f"the region has no area to score ({area_mm2} mm²). Check the region file and the pixel size (--mpp)"
    raise ScoreError(msg)


def _numbers(table: pa.Table) -> dict[str | None, Counter[str]]:
    """Cells of each label in each region; None for cells whose region is not named."""
    inside = table.select(SCORE_COLUMNS).filter(table["in_region"])
    grouped = inside.group_by(["region_id", "label"]).aggregate([([], "count_all")])
    numbers: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
    for row in grouped.to_pylist():
        numbers[row["region_id"]][row["label"]] = row["count_all"]
    return dict(numbers)


def _counts(numbers: Collection[Counter[str]]) -> _Counts:
    positive, negative, other = (sum(counted[label] for counted in numbers) for label in _LABELS)
    total = positive + negative
    if total == 0:
        return _Counts(index_percent=None, positive=0, negative=0, other=other, cells=0, ci95_percent=None)
    low, high = wilson_interval(positive, total)
    return _Counts(
        index_percent=100 * positive / total,
        positive=positive,
        negative=negative,
        other=other,
        cells=total,
        ci95_percent=(100 * low, 100 * high),
    )


def _guard(counts: _Counts, minimum: int, recommended: int, *, allow_few: bool, allow_none: bool) -> list[str]:
    """Refuse too few cells, or say what to think of them."""
    if counts.cells == 0:
        found = f"no tumour cell was found in the region ({counts.other} other cells)"
        if allow_none:
            return [f"{found}: there is no index"]
        msg = f"{found}, so there is no index. Check that the region lies on stained tumour"
        raise ScoreError(msg)
    source = "International Ki67 in Breast Cancer Working Group, 2011"
    if counts.cells < minimum:
        found = f"only {counts.cells} tumour cells were found in the region; an index needs {minimum} ({source})"
        if allow_few:
            return [f"{found}: this index is not reliable"]
        msg = f"{found}. Take a larger region, or accept so few with --allow-few-cells"
        raise ScoreError(msg)
    if counts.cells < recommended:
        return [f"{counts.cells} tumour cells were counted; {recommended} are recommended ({source})"]
    return []
