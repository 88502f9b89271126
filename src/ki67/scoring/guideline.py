"""The scores of the International Ki67 in Breast Cancer Working Group: unweighted and weighted global, hot spot.

A scorer estimates which shares of the invasive carcinoma have negligible, low, medium and high Ki-67, takes up to
four fields among these types, counts up to 100 nuclei in each, and up to 500 in the hot spot (Leung et al., npj
Breast Cancer 2016;2:16014). How many fields of each type, and what is done with them, follows the group's own counter
(GPEC/Ki67Counter); it names no limits between the types, so those here are our own and stand beside the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67.scoring.local import FIELD_DIAMETER_UM, Points, TumourCells, cover_points

TYPES: Final = ("negligible", "low", "medium", "high")
FIELDS: Final = 4
FIELD_CELLS: Final = 100
"""Nuclei counted in a field."""

UNEVEN_POINTS: Final = 25.0
"""With two types, three fields go to the larger one from this difference of their shares on (the group's counter)."""

TYPE_SHARES: Final = (0.1, 1 / 3, 2 / 3)
"""Limits between the types as shares of the section's own high end: our choice, since the names are relative."""

HIGH_END_PERCENTILE: Final = 95.0
ESTIMATE_STEP_PERCENT: Final = 5
"""Steps in which a scorer estimates shares of the area."""

STEP_UM: Final = 100.0
"""Distance of the high-power fields that tell the shares of the area."""

_CANDIDATES: Final = 400
"""Most places of a type that are tried, the most typical first."""


def allocate_fields(shares_percent: Sequence[float]) -> tuple[int, int, int, int]:
    """Fields of each type, as the group's counter allocates them.

    Each type that is there gets one of four. With three types the fourth goes to the strictly largest, but only where
    the other three shares, the zero among them, all differ: 60/30/10/0 takes four fields, 60/20/20/0 three. With two
    types each gets two, or three and one where the shares differ by 25 points or more.

    Parameters
    ----------
    shares_percent
        Shares of negligible, low, medium and high, in percent; the counter does not ask that they add up to 100.

    Raises
    ------
    ValueError
        Where there are not four shares of at least 0.
    """
    shares = [float(share) for share in shares_percent]
    if len(shares) != len(TYPES) or not all(math.isfinite(share) and share >= 0 for share in shares):
        msg = f"four shares of at least 0 % are needed ({', '.join(TYPES)}), got {shares_percent}"
        raise ValueError(msg)
    there = [number for number, share in enumerate(shares) if share > 0]
    fields = [int(number in there) for number in range(len(TYPES))]
    if len(there) == 1:
        fields[there[0]] = FIELDS
    elif len(there) == 2:
        first, second = there
        difference = shares[first] - shares[second]
        fields[first], fields[second] = 2, 2
        if abs(difference) >= UNEVEN_POINTS:
            fields[first], fields[second] = (3, 1) if difference > 0 else (1, 3)
    elif len(there) == 3:
        largest = int(np.argmax(shares))
        others = [share for number, share in enumerate(shares) if number != largest]
        if len(set(others)) == len(others) and max(others) < shares[largest]:
            fields[largest] += 1
    return fields[0], fields[1], fields[2], fields[3]


@dataclass(frozen=True)
class Field:
    """One counted field: the circle that holds its nuclei, in µm of the slide; a person can count it again."""

    type: str
    x_um: float
    y_um: float
    radius_um: float
    positive: int
    cells: int

    @property
    def index_percent(self) -> float:
        """Index rounded to 0.1 as the counter does, halves up."""
        return math.floor(1000 * self.positive / self.cells + 0.5) / 10


@dataclass(frozen=True)
class GlobalScores:
    """Unweighted and weighted global scores of one section.

    Parameters
    ----------
    limits_percent
        Limits of the index between the four types, on this section.
    shares_percent
        Measured share of the area of each type.
    estimated_percent
        The same in steps of 5 %, as a scorer would estimate them: these are what the counter is given.
    allocated
        Fields that each type should have had.
    fields
        Fields that were counted.
    unweighted_percent
        All positive of all counted cells of the fields.
    weighted_percent
        Index of each type weighted by its share of the area, the shares of the types counted adding up to one.
    counter_weighted_percent
        The same as the group's counter computes it: a type without a counted cell adds 0 and the shares are not
        renormalised, so that the result is too low then.
    """

    limits_percent: tuple[float, float, float]
    shares_percent: tuple[float, ...]
    estimated_percent: tuple[int, ...]
    allocated: tuple[int, ...]
    fields: tuple[Field, ...]
    unweighted_percent: float | None
    weighted_percent: float | None
    counter_weighted_percent: float | None

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Types that are there and have no counted field."""
        counted = {field.type for field in self.fields}
        return tuple(
            name for name, wanted in zip(TYPES, self.allocated, strict=True) if wanted and name not in counted
        )


def global_scores(
    cells: TumourCells, region: BaseGeometry, diameter_um: float = FIELD_DIAMETER_UM
) -> GlobalScores | None:
    """Choose fields across the spectrum of staining, count 100 nuclei in each, and score as the group does.

    High-power fields all over the region, :data:`STEP_UM` apart, tell the shares of the area and the limits between
    the types. A field is taken where its index is nearest to the middle of its type's, so that it is typical of it.
    Its nuclei are the 100 tumour cells nearest to its middle; no nucleus is counted twice, and where there is room
    the fields do not overlap.

    Parameters
    ----------
    cells, region
        Tumour cells of the region, and the region in µm.
    diameter_um
        Diameter of a high-power field.

    Returns
    -------
    GlobalScores or None
        None where no field has 100 tumour cells.
    """
    places, index = _fields_everywhere(cells, region, diameter_um / 2)
    if not len(places):
        return None
    limits = type_limits(index)
    kinds = np.searchsorted(limits, index, side="right")
    counts = np.bincount(kinds, minlength=len(TYPES))
    shares = tuple(float(share) for share in 100 * counts / counts.sum())
    estimated = in_steps(shares)
    allocated = allocate_fields(estimated)
    fields: list[Field] = []
    for kind, wanted in enumerate(allocated):
        own = np.flatnonzero(kinds == kind)
        if wanted and len(own):
            typical = own[np.argsort(np.abs(index[own] - np.median(index[own])), kind="stable")][:_CANDIDATES]
            candidates = [_field(cells, places[place], TYPES[kind]) for place in typical]
            fields += _choose(candidates, wanted, fields, diameter_um)
    unweighted, weighted, _ = weigh(fields, shares)
    counter = weigh(fields, estimated)[2]
    return GlobalScores(limits, shares, estimated, allocated, tuple(fields), unweighted, weighted, counter)


def in_steps(shares_percent: Sequence[float], step_percent: int = ESTIMATE_STEP_PERCENT) -> tuple[int, ...]:
    """Shares in whole steps that add up to 100, by largest remainder."""
    steps = np.asarray(shares_percent, np.float64) / step_percent
    whole = np.floor(steps).astype(int)
    missing = round(100 / step_percent) - int(whole.sum())
    for place in np.argsort(whole - steps, kind="stable")[:missing]:
        whole[place] += 1
    return tuple(int(count) * step_percent for count in whole)


def type_limits(index_percent: NDArray[np.float64]) -> tuple[float, float, float]:
    """Limits between the four types: :data:`TYPE_SHARES` of the 95th percentile of local indices (M,)."""
    top = float(np.percentile(index_percent, HIGH_END_PERCENTILE))
    # Without any positive cell all is negligible: the limits lie above every index.
    top = top if top > 0 else 100.0
    low, medium, high = (share * top for share in TYPE_SHARES)
    return low, medium, high


def weigh(
    fields: Sequence[Field], shares_percent: Sequence[float]
) -> tuple[float | None, float | None, float | None]:
    """Unweighted, weighted and the counter's weighted score of counted fields, in percent; None without a field."""
    positive = {name: sum(field.positive for field in fields if field.type == name) for name in TYPES}
    counted = {name: sum(field.cells for field in fields if field.type == name) for name in TYPES}
    if not sum(counted.values()):
        return None, None, None
    share = dict(zip(TYPES, shares_percent, strict=True))
    known = [name for name in TYPES if counted[name]]
    weighted = sum(share[name] * positive[name] / counted[name] for name in known)
    total = sum(share[name] for name in known)
    unweighted = 100 * sum(positive.values()) / sum(counted.values())
    return unweighted, 100 * weighted / total if total > 0 else None, weighted


def _fields_everywhere(
    cells: TumourCells, region: BaseGeometry, radius_um: float
) -> tuple[Points, NDArray[np.float64]]:
    """Middles of the fields with at least 100 tumour cells, and the index of each in percent."""
    places = cover_points(region, STEP_UM)
    if not len(places) or len(cells) < FIELD_CELLS:
        return np.empty((0, 2)), np.empty(0)
    total = cells.tree.query_ball_point(places, radius_um, return_length=True)
    hits = cells.part(cells.positive)
    positive = hits.tree.query_ball_point(places, radius_um, return_length=True) if len(hits) else 0 * total
    enough = total >= FIELD_CELLS
    return places[enough], 100 * positive[enough] / total[enough]


def _choose(candidates: Sequence[Field], wanted: int, others: Sequence[Field], diameter_um: float) -> list[Field]:
    """First candidates that fit: fields apart if there is room, and else at least without a common nucleus."""
    chosen: list[Field] = []
    for least_um in (diameter_um, 0.0):
        for candidate in candidates:
            if len(chosen) < wanted and all(_apart(candidate, field, least_um) for field in (*others, *chosen)):
                chosen.append(candidate)
    return chosen


def _apart(first: Field, second: Field, least_um: float) -> bool:
    """Whether two fields share no nucleus and their middles are at least so far apart."""
    distance = math.hypot(first.x_um - second.x_um, first.y_um - second.y_um)
    return distance >= max(least_um, first.radius_um + second.radius_um)


def _field(cells: TumourCells, place: NDArray[np.float64], kind: str) -> Field:
    distance, neighbour = cells.tree.query(place, k=FIELD_CELLS)
    positive = int(cells.positive[neighbour].sum())
    return Field(kind, float(place[0]), float(place[1]), float(distance[-1]), positive, FIELD_CELLS)
