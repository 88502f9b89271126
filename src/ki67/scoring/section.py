"""What one section's cells say beside the average: guideline scores, hot spots, edge, unevenness, cut-offs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pydantic import BaseModel, ConfigDict
from shapely.geometry.base import BaseGeometry

from ki67.scoring.cut_offs import CUT_OFFS
from ki67.scoring.enough import FewerCells, fewer_cells
from ki67.scoring.guideline import FIELD_CELLS, TYPES, Field, GlobalScores, global_scores
from ki67.scoring.heterogeneity import Heterogeneity, heterogeneity
from ki67.scoring.hot_spots import HotSpot, find_hot_spots
from ki67.scoring.intervals import clustered_interval
from ki67.scoring.local import FIELD_DIAMETER_UM, TumourCells, hexagon_map

EDGE_WIDTH_UM = 500.0
"""Width of the invasive edge, inwards from the outline: no source gives a number, so it is an option and told."""


class GlobalScore(BaseModel):
    """A score over fields, in percent; None where no field could be counted."""

    model_config = ConfigDict(frozen=True)

    index_percent: float | None
    counter_index_percent: float | None
    """As the working group's counter computes it; differs where a type has no counted field."""


class GuidelineScores(BaseModel):
    """Scores of the International Ki67 in Breast Cancer Working Group, with everything to count them again."""

    model_config = ConfigDict(frozen=True)

    unweighted_global: GlobalScore
    weighted_global: GlobalScore
    hot_spot: GlobalScore
    field_diameter_um: float
    field_cells: int
    types: dict[str, dict[str, float | int | None]]
    """By type: ``from_percent`` (its lower limit on this section), ``area_share_percent`` as measured,
    ``estimated_share_percent`` in steps of 5 % as the counter is given it, ``fields_wanted``."""
    fields: tuple[dict[str, Any], ...]
    """``type``, ``x_um``, ``y_um``, ``radius_um``, ``positive``, ``cells``, ``index_percent`` of each."""


class InvasiveEdge(BaseModel):
    """Index in a band along the inside of the outline, and further in."""

    model_config = ConfigDict(frozen=True)

    width_um: float
    edge_index_percent: float | None
    edge_cells: int
    centre_index_percent: float | None
    centre_cells: int


class SectionScores(BaseModel):
    """What stands in ``score.json`` beside the average over the section."""

    model_config = ConfigDict(frozen=True)

    clustered_percent: tuple[float, float] | None
    """95 % interval of the index that knows that neighbouring cells are alike; None on too small a region."""
    guideline: GuidelineScores
    hot_spots: tuple[HotSpot, ...]
    invasive_edge: InvasiveEdge
    heterogeneity: Heterogeneity
    fewer_cells: tuple[FewerCells, ...]
    warnings: tuple[str, ...]


def section_scores(
    table: pa.Table,
    region: BaseGeometry,
    *,
    field_diameter_um: float = FIELD_DIAMETER_UM,
    edge_width_um: float = EDGE_WIDTH_UM,
) -> SectionScores:
    """Score one section by place.

    Parameters
    ----------
    table
        Cell table with :data:`ki67.scoring.local.LOCAL_COLUMNS`.
    region
        The counted region in µm of the slide.
    field_diameter_um, edge_width_um
        Diameter of a high-power field and width of the invasive edge.
    """
    cells = TumourCells.of(table)
    hexagons = hexagon_map(cells, region)
    fields = global_scores(cells, region, field_diameter_um)
    spots = find_hot_spots(cells, region)
    interval = clustered_interval(hexagons.positive, hexagons.cells)
    return SectionScores(
        clustered_percent=None if interval is None else (100 * interval[0], 100 * interval[1]),
        guideline=_guideline(fields, spots, field_diameter_um),
        hot_spots=tuple(spots),
        invasive_edge=_edge(cells, region, edge_width_um),
        heterogeneity=heterogeneity(hexagons),
        fewer_cells=fewer_cells(cells, spots),
        warnings=_warnings(fields),
    )


def _guideline(fields: GlobalScores | None, spots: list[HotSpot], diameter_um: float) -> GuidelineScores:
    def both(own: float | None, counter: float | None) -> GlobalScore:
        return GlobalScore(index_percent=own, counter_index_percent=counter)

    hottest = spots[0].index_percent if spots else None
    unweighted = weighted = both(None, None)
    types: dict[str, dict[str, float | int | None]] = {}
    counted: tuple[dict[str, Any], ...] = ()
    if fields is not None:
        unweighted = both(fields.unweighted_percent, fields.unweighted_percent)
        weighted = both(fields.weighted_percent, fields.counter_weighted_percent)
        columns = ((0.0, *fields.limits_percent), fields.shares_percent, fields.estimated_percent, fields.allocated)
        keys = ("from_percent", "area_share_percent", "estimated_share_percent", "fields_wanted")
        types = {
            name: dict(zip(keys, values, strict=True))
            for name, values in zip(TYPES, zip(*columns, strict=True), strict=True)
        }
        counted = tuple(_field(field) for field in fields.fields)
    return GuidelineScores(
        unweighted_global=unweighted,
        weighted_global=weighted,
        hot_spot=both(hottest, hottest),
        field_diameter_um=diameter_um,
        field_cells=FIELD_CELLS,
        types=types,
        fields=counted,
    )


def _field(field: Field) -> dict[str, Any]:
    names = ("type", "x_um", "y_um", "radius_um", "positive", "cells", "index_percent")
    return {name: getattr(field, name) for name in names}


def _edge(cells: TumourCells, region: BaseGeometry, width_um: float) -> InvasiveEdge:
    inner = shapely.buffer(region, -width_um)
    shapely.prepare(inner)
    central = shapely.contains_xy(inner, cells.points_um)
    edge, centre = cells.part(~central), cells.part(central)
    return InvasiveEdge(
        width_um=width_um,
        edge_index_percent=edge.index_percent(),
        edge_cells=len(edge),
        centre_index_percent=centre.index_percent(),
        centre_cells=len(centre),
    )


def _warnings(fields: GlobalScores | None) -> tuple[str, ...]:
    if fields is None or not fields.uncounted:
        return ()
    names = ", ".join(fields.uncounted)
    text = f"no field of {FIELD_CELLS} tumour cells could be placed where the index is {names}"
    return (f"{text}: the guideline's global scores leave that part out",)


def cut_off_classes(
    index_percent: float | None, intervals_percent: Iterable[Sequence[float] | None]
) -> list[dict[str, Any]]:
    """Class of an index at each published cut-off, none where there is no index.

    Parameters
    ----------
    index_percent
        The index.
    intervals_percent
        Its 95 % intervals as far as they are known; it is ``equivocal`` where one of them holds a limit.
    """
    if index_percent is None:
        return []
    ends = [index_percent, *(end for interval in intervals_percent if interval is not None for end in interval)]
    rows = []
    for cut_off in CUT_OFFS:
        kinds = cut_off.classify(np.array(ends))
        rows.append(
            {
                "id": cut_off.id,
                "values_percent": list(cut_off.values_percent),
                "class": cut_off.classes[int(kinds[0])],
                "equivocal": bool(np.ptp(kinds) > 0),
                "source": cut_off.source,
                "year": cut_off.year,
                "population": cut_off.population,
            }
        )
    return rows
