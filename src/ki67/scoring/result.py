"""All that is said of a section's index: what stands in ``score.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from shapely.geometry.base import BaseGeometry

from ki67.domain import Check, Verdict, checks_of, checks_part, doubts, worst
from ki67.errors import CaseError, first_fault
from ki67.html import table_of
from ki67.intensity import INTENSITY_CUTS_OD, NEEDS, IntensityCounts, count
from ki67.scoring.enough import FewerCells
from ki67.scoring.heterogeneity import Heterogeneity
from ki67.scoring.hot_spots import HotSpot
from ki67.scoring.intervals import ModelDeviation, combined_interval, corrected_share
from ki67.scoring.local import LOCAL_COLUMNS
from ki67.scoring.own_laboratory import OwnValidation
from ki67.scoring.score import SCORE_COLUMNS, AverageScore, score_cells
from ki67.scoring.section import GuidelineScores, InvasiveEdge, cut_off_classes, section_scores
from ki67.scoring.spread import SPREAD_COLUMNS, widened
from ki67.scoring.surroundings import SURROUNDINGS_COLUMNS, surroundings_checks

TABLE_COLUMNS = tuple(sorted({*SCORE_COLUMNS, *SPREAD_COLUMNS, *LOCAL_COLUMNS, *SURROUNDINGS_COLUMNS, *NEEDS}))
"""What :func:`score_section` reads of the cell table."""

Interval = tuple[float, float] | None


class Intervals(BaseModel):
    """95 % intervals of the index in percent; None for what is not known.

    ``wilson`` is chance in counting, ``clustered`` knows that neighbouring cells are alike, ``registration`` is where
    the indices lie when the region is carried over as far off as the registration may be, ``outline`` where they lie
    when the carcinoma is outlined as tightly as would be right for patients whose labels are known, ``model`` where
    the truth lies when the model is as far off as on patients and laboratories it had not seen, or as in a
    laboratory's own validation (around ``index_corrected_percent``).
    """

    model_config = ConfigDict(frozen=True)

    wilson: Interval
    clustered: Interval
    registration: Interval
    outline: Interval = None
    model: Interval = None


class CutOffClass(BaseModel):
    """Class of the index at one published cut-off; ``equivocal`` where an interval holds a limit."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    id: str
    values_percent: tuple[float, ...]
    name: str = Field(alias="class")
    equivocal: bool
    source: str
    year: int
    population: str


class Domain(BaseModel):
    """Whether the case is what the program was validated on: the worst verdict, and every check by its name."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    checks: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Domain:
        """Put checks together."""
        found = tuple(checks)
        return cls(verdict=worst(found), checks=checks_part(found))

    def all_checks(self) -> tuple[Check, ...]:
        """The checks one by one."""
        return checks_of(self.checks)


class Score(AverageScore):
    """Ki-67 index of a case with all that qualifies it; ``score.json`` holds it, and :meth:`load` reads it whole.

    Where a check forbids an index every number made of the counts is None, and the counts stand alone.
    """

    index_corrected_percent: float | None = None
    """The index without what the model found too much or too little on patients it had not seen, or in a laboratory's
    own validation; None where that is not known."""
    registration_spread_percent: Interval = None
    """95 % of the indices when the region is carried over as far off as the registration may be."""
    guideline: GuidelineScores | None
    hot_spots: tuple[HotSpot, ...] | None
    invasive_edge: InvasiveEdge | None
    heterogeneity: Heterogeneity | None
    fewer_cells: tuple[FewerCells, ...] | None = None
    """What fewer cells would have given."""
    intensity: IntensityCounts | None = None
    """How brown the cells are."""
    intervals: Intervals | None
    own_validation: OwnValidation | None = None
    """Whose validation the model's part of the interval rests on; None for the model's card."""
    cut_offs: tuple[CutOffClass, ...] | None
    domain: Domain

    def to_dict(self) -> dict[str, Any]:
        """Content of ``score.json``; the spread is left out where no region was carried over."""
        unused = set() if "registration_spread_percent" in self.model_fields_set else {"registration_spread_percent"}
        return self.model_dump(mode="json", by_alias=True, exclude=unused)

    @classmethod
    def load(cls, content: object, path: Path, way_out: str) -> Score:
        """Build it again from the content of ``score.json``.

        Raises
        ------
        CaseError
            Where something is missing or of another kind, as in a file of a much older version.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise CaseError(path, f"is no score of this version ({first_fault(error.errors())})", way_out) from error

    def without_index(self) -> Score:
        """Only the counts, for a stain that gives no index."""
        nothing: dict[str, Any] = dict.fromkeys(("index_percent", "ci95_percent"))
        regions = tuple(region.model_copy(update=nothing) for region in self.regions)
        places = (
            *("guideline", "hot_spots", "invasive_edge", "heterogeneity", "fewer_cells", "intensity"),
            *("index_corrected_percent", "intervals", "own_validation", "cut_offs"),
        )
        spread = {name: None for name in ("registration_spread_percent",) if name in self.model_fields_set}
        return self.model_copy(update={**nothing, **dict.fromkeys(places), **spread, "regions": regions})

    def _repr_html_(self) -> str:
        index = "none" if self.index_percent is None else f"{self.index_percent:.1f} %"
        rows: dict[str, object] = {"Ki-67 index": index}
        named = (("95 % interval", self.ci95_percent), ("Spread by registration", self.registration_spread_percent))
        rows |= {name: f"{ends[0]:.1f} to {ends[1]:.1f} %" for name, ends in named if ends is not None}
        rows["Tumour cells"] = f"{self.positive:,} positive, {self.negative:,} negative"
        rows["Area counted"] = f"{self.area_mm2:.3g} mm²"
        return table_of(rows | {f"Warning {place}": text for place, text in enumerate(self.warnings, start=1)})


@dataclass(frozen=True)
class CarriedOver:
    """What a score must know of a region that a registration carried over.

    Parameters
    ----------
    spread_percent
        95 % spread of the index (:func:`ki67.scoring.index_spread`), None where it is not known.
    unknown_share
        Share of the region that has no believable place on the counted slide, 0 to 1.
    margin_um
        How far around the region cells were kept.
    outline_percent
        95 % spread of the index over outlines of the carcinoma (:func:`ki67.scoring.outline_spread`), None where a
        person drew it or that is not known.
    """

    spread_percent: tuple[float, float] | None
    unknown_share: float
    margin_um: float
    outline_percent: tuple[float, float] | None = None


def score_section(
    table: pa.Table,
    region: BaseGeometry,
    area_mm2: float,
    *,
    area_lost_mm2: Mapping[str, float],
    region_ids: Iterable[str] = (),
    checks: Sequence[Check] = (),
    warnings: Sequence[str] = (),
    carried: CarriedOver | None = None,
    deviation: ModelDeviation | None = None,
    allow_few: bool = False,
    allow_none: bool = False,
    intensity_cuts_od: tuple[float, float] = INTENSITY_CUTS_OD,
) -> Score:
    """Score a section with all that is known of it.

    Parameters
    ----------
    table
        Cell table with :data:`TABLE_COLUMNS`.
    region
        Where cells were counted, in µm, less what was left out of it.
    area_mm2, area_lost_mm2, region_ids, allow_few, allow_none
        As for :func:`ki67.scoring.score_cells`.
    checks
        What was thought of the slides and the region; without an index where one of them forbids it.
    warnings
        What else was said on the way here.
    carried
        Where a registration carried the region over: how well.
    deviation
        How far the model's index is off where it had not seen the patient or the laboratory, or by a laboratory's own
        validation; None where that is not known.
    intensity_cuts_od
        Mean DAB density from which a positive cell is 2+ and 3+.

    Raises
    ------
    ScoreError
        As :func:`ki67.scoring.score_cells`.
    """
    average = score_cells(
        table,
        area_mm2,
        area_lost_mm2=area_lost_mm2,
        region_ids=region_ids,
        allow_few=allow_few,
        allow_none=allow_none,
    )
    found, told = list(checks), list(warnings)
    facts = {name: getattr(average, name) for name in AverageScore.model_fields}
    spread = None if carried is None else widened(carried.spread_percent, carried.unknown_share)
    if carried is not None:
        facts["registration_spread_percent"] = spread
        if not carried.unknown_share:
            # Beside what was cut off the region lies the rest of it.
            found += surroundings_checks(table, region, carried.margin_um)
            told = list(dict.fromkeys([*doubts(found), *told]))
    by_place = section_scores(table, region)
    names = ("guideline", "hot_spots", "invasive_edge", "heterogeneity", "fewer_cells")
    facts |= {name: getattr(by_place, name) for name in names}
    facts["intensity"] = count(table, intensity_cuts_od)
    corrected, model = _by_model(average, deviation)
    intervals = Intervals(
        wilson=average.ci95_percent,
        clustered=by_place.clustered_percent,
        registration=spread,
        outline=None if carried is None else carried.outline_percent,
        model=model,
    )
    facts["index_corrected_percent"] = corrected
    if deviation is not None and deviation.laboratory is not None:
        facts["own_validation"] = OwnValidation(deviation.laboratory, deviation.patients)
    facts["ci95_percent"] = _combined(average, intervals, corrected)
    known = (*(getattr(intervals, name) for name in Intervals.model_fields), facts["ci95_percent"])
    facts["cut_offs"] = cut_off_classes(average.index_percent, known)
    facts["warnings"] = (*told, *average.warnings, *by_place.warnings)
    score = Score(**facts, intervals=intervals, domain=Domain.of(found))
    return score.without_index() if any(check.forbids for check in checks) else score


def _by_model(average: AverageScore, deviation: ModelDeviation | None) -> tuple[float | None, Interval]:
    """The index without the model's bias, and where its errors leave the truth, in percent."""
    if deviation is None or average.cells == 0:
        return None, None
    share, limits = corrected_share(average.positive, average.cells, deviation)
    return 100 * share, (100 * limits[0], 100 * limits[1])


def _combined(average: AverageScore, intervals: Intervals, corrected_percent: float | None) -> Interval:
    """Interval of all causes together; around the corrected index where there is one."""
    if average.cells == 0:
        return None
    found = (average.positive + 0.5) / (average.cells + 1)
    sampling = intervals.clustered or intervals.wilson
    parts = [(found, limits) for limits in (sampling, intervals.registration, intervals.outline)]
    middle = found if corrected_percent is None else corrected_percent / 100
    parts.append((middle, intervals.model))
    known = [(share, (limits[0] / 100, limits[1] / 100)) for share, limits in parts if limits is not None]
    low, high = combined_interval(middle, known)
    return 100 * low, 100 * high
