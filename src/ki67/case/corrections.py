"""What people corrected in a case: a log that only grows, and the cells as they are with it.

``cells.parquet`` is never changed. Each entry of ``corrections.json`` says who, when, why and what; undoing is an
entry too, so that nothing is ever lost. Cells are named by their place (:func:`ki67.cells.cell_ids`), and each entry
holds the place besides: after a recount it finds its cell again where there is one within :data:`ATTACH_UM`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.spatial import cKDTree
from shapely import affinity
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from ki67.cells import MARGIN_UM, cell_ids
from ki67.errors import BeyondCountedError, CaseError, CorrectionError, first_fault
from ki67.files import json_text, read_json
from ki67.geometry import as_multipolygon
from ki67.vocabulary import BY_HAND, CLASSES

CORRECTIONS: Final = "corrections.json"
FORMAT: Final = 1
ATTACH_UM: Final = 2.0
"""A cell found this near to where one was corrected is that cell: half the radius of a small nucleus."""

MOST_AT_ONCE: Final = 5000
"""Cells that one entry may correct: more than a brush covers, and its text stays below a megabyte."""

WAY_OUT: Final = "Restore the file from a copy, or remove it to be left with the automatic count."

Label = Literal["other", "positive", "negative"]


class _What(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _OfCell(_What):
    """Of one cell, by its name, and by its place in µm."""

    cell: int
    x_um: float
    y_um: float


class Relabel(_OfCell):
    """A cell is of another class."""

    kind: Literal["relabel"] = "relabel"
    to: Label


class Remove(_OfCell):
    """What was found is no cell."""

    kind: Literal["remove"] = "remove"


class Add(_What):
    """A cell was missed; its place in µm."""

    kind: Literal["add"] = "add"
    x_um: float
    y_um: float
    label: Label


class Several(_What):
    """Several cells are corrected at once, as with a brush; undone at once too."""

    kind: Literal["several"] = "several"
    of: tuple[Annotated[Relabel | Remove | Add, Field(discriminator="kind")], ...] = Field(
        min_length=1, max_length=MOST_AT_ONCE
    )


class _OfArea(_What):
    """Of an area of the Ki-67 slide: a GeoJSON geometry in µm of the slide."""

    area: dict[str, Any]

    @property
    def geometry(self) -> MultiPolygon:
        """The area."""
        return as_multipolygon(shapely.make_valid(shape(self.area)))


class Exclude(_OfArea):
    """What lies in an area does not count."""

    kind: Literal["exclude"] = "exclude"


class Include(_OfArea):
    """What lies in an area counts after all, where it lies in the region."""

    kind: Literal["include"] = "include"


class ReplaceRegion(_OfArea):
    """Another region is counted."""

    kind: Literal["region"] = "region"


class Nudge(_What):
    """The region is moved by µm (right, down) and turned clockwise about its middle."""

    kind: Literal["nudge"] = "nudge"
    shift_um: tuple[float, float]
    rotate_deg: float


class Undo(_What):
    """The last correction that holds does not hold any more."""

    kind: Literal["undo"] = "undo"


class Redo(_What):
    """The correction that was undone last holds again."""

    kind: Literal["redo"] = "redo"


class SignOut(_What):
    """The case is signed out with this index: nothing is corrected before it is opened again."""

    kind: Literal["sign_out"] = "sign_out"
    index_percent: float | None
    score_sha256: str


class Reopen(_What):
    """The case is opened again for corrections."""

    kind: Literal["reopen"] = "reopen"


OfCells = Relabel | Remove | Add | Several
OfAreas = Exclude | Include | ReplaceRegion | Nudge
OfLog = Undo | Redo | SignOut | Reopen
What = Annotated[OfCells | OfAreas | OfLog, Field(discriminator="kind")]


class Correction(BaseModel):
    """One entry: its number, who made it, when (ISO 8601), why, and what it is."""

    model_config = ConfigDict(frozen=True)

    number: int
    by: str = Field(min_length=1)
    when: str
    why: str = Field(min_length=1)
    what: What


class CorrectedIndex(BaseModel):
    """What the corrections that hold make of the index; ``score_sha256`` tells of which automatic score."""

    model_config = ConfigDict(frozen=True)

    index_percent: float | None
    ci95_percent: tuple[float, float] | None
    positive: int
    negative: int
    score_sha256: str


class CorrectionLog(BaseModel):
    """Content of ``corrections.json``: all entries, and the index with them for those who do not score anew."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    corrections: tuple[Correction, ...] = ()
    result: CorrectedIndex | None = None


def read_corrections(folder: Path) -> tuple[Correction, ...]:
    """Entries of :func:`read_log`."""
    return read_log(folder).corrections


def read_log(folder: Path) -> CorrectionLog:
    """Read the corrections of a case, undone ones and undoing included; none where there is no file.

    Raises
    ------
    CaseError
        Where the file is damaged.
    """
    path = folder / CORRECTIONS
    if not path.exists():
        return CorrectionLog()
    try:
        return CorrectionLog.model_validate(read_json(path, CaseError, WAY_OUT, "the corrections of a case"))
    except ValidationError as error:
        raise CaseError(path, f"is damaged ({first_fault(error.errors())})", WAY_OUT) from error


def version_of(corrections: Sequence[Correction]) -> str:
    """Name of the state that a log is in; another for any other log."""
    text = json_text([one.model_dump(mode="json") for one in corrections], sort_keys=True)
    return f"{len(corrections)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def signed_out(corrections: Iterable[Correction]) -> Correction | None:
    """Return the entry that signed a case out, where it was not opened again."""
    last = None
    for one in corrections:
        if isinstance(one.what, SignOut):
            last = one
        elif isinstance(one.what, Reopen):
            last = None
    return last


def holding(corrections: Iterable[Correction]) -> tuple[list[Correction], list[Correction]]:
    """Corrections that hold, in order, and those that were undone and may be redone, the last undone at the end.

    A new correction ends what could be redone. Undoing where nothing holds, and redoing where nothing was undone,
    change nothing.
    """
    hold: list[Correction] = []
    undone: list[Correction] = []
    for one in corrections:
        if isinstance(one.what, Undo):
            if hold:
                undone.append(hold.pop())
        elif isinstance(one.what, Redo):
            if undone:
                hold.append(undone.pop())
        elif not isinstance(one.what, SignOut | Reopen):
            hold.append(one)
            undone = []
    return hold, undone


@dataclass(frozen=True)
class Counted:
    """Cells and where they were counted.

    Parameters
    ----------
    table
        Cell table with ``cell_id``, ``x_um``, ``y_um``, ``label``, ``region_id``, ``in_region``, ``excluded`` and
        ``dab_od_mean``.
    region
        The region in µm, what was left out of it included.
    left_out
        What was left out of it in µm, by kind; the kinds do not overlap.
    unattached
        Corrections whose cell is not there any more.
    moved
        Whether the area is another than the automatic count's.
    motion
        How the region was nudged, float64 (3, 3), µm to µm.
    drawn_by_model
        Whether the region has still the shape that it was counted in; not where a person drew another.
    """

    table: pa.Table
    region: BaseGeometry
    left_out: Mapping[str, BaseGeometry]
    unattached: tuple[Correction, ...] = ()
    moved: bool = False
    motion: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    drawn_by_model: bool = True

    @property
    def where(self) -> BaseGeometry:
        """The region without what was left out of it."""
        return self.region.difference(shapely.union_all([*self.left_out.values()]))


def effective(counted: Counted, corrections: Sequence[Correction]) -> Counted:
    """Apply corrections that hold (:func:`holding`) to an automatic count, which stays as it is.

    Parameters
    ----------
    counted
        The automatic count.
    corrections
        What to apply, in order.

    Raises
    ------
    CorrectionError
        Where a region reaches beyond what was counted.
    """
    if not corrections:
        return counted
    work = _Work(counted)
    for one in corrections:
        work.apply(one)
    return work.result()


class _Work:
    """Columns of the table while corrections are applied."""

    def __init__(self, counted: Counted) -> None:
        table = counted.table
        self._counted = counted
        self._x, self._y = (np.asarray(table[name], np.float64) for name in ("x_um", "y_um"))
        self._label = np.array(table["label"].to_pylist(), object)
        self._region_id = np.array(table["region_id"].to_pylist(), object)
        self._excluded = np.array(table["excluded"].to_pylist(), object)
        self._in_region = np.array(table["in_region"], bool)
        self._ids = np.asarray(table["cell_id"], np.int64)
        self._dab_od = np.asarray(table["dab_od_mean"], np.float64)
        self._kept = np.ones(len(self._ids), bool)
        self._reach = counted.region.buffer(MARGIN_UM)
        self._region, self._left_out = counted.region, dict(counted.left_out)
        self._moved, self._motion, self._redrawn = False, np.eye(3), False
        self._unattached: list[Correction] = []
        self._order = np.argsort(self._ids, kind="stable")
        self._sorted = self._ids[self._order]

    def apply(self, one: Correction) -> None:
        what = one.what
        if isinstance(what, Several):
            missing = [part for part in what.of if not self._of_cell(part)]
            if missing:
                self._unattached.append(one)
        elif isinstance(what, Relabel | Remove | Add):
            if not self._of_cell(what):
                self._unattached.append(one)
        elif isinstance(what, Exclude):
            self._exclude(what.geometry)
        elif isinstance(what, Include):
            self._include(what.geometry)
        elif isinstance(what, ReplaceRegion):
            self._move(what.geometry)
            self._redrawn = True
        elif isinstance(what, Nudge):
            motion = _motion(self._region, what)
            (a, b, x_um), (d, e, y_um) = motion[:2].tolist()
            self._move(as_multipolygon(affinity.affine_transform(self._region, (a, b, d, e, x_um, y_um))))
            self._motion = motion @ self._motion

    def result(self) -> Counted:
        kept = self._kept
        changed = {
            "cell_id": pa.array(self._ids[kept]),
            "x_um": pa.array(self._x[kept]),
            "y_um": pa.array(self._y[kept]),
            "label": pa.array(self._label[kept], pa.string()),
            "region_id": pa.array(self._region_id[kept], pa.string()),
            "in_region": pa.array(self._in_region[kept]),
            "excluded": pa.array(self._excluded[kept], pa.string()),
            "dab_od_mean": pa.array(self._dab_od[kept], from_pandas=True),
        }
        return replace(
            self._counted,
            table=pa.table(changed),
            region=self._region,
            left_out=self._left_out,
            unattached=tuple(self._unattached),
            moved=self._moved,
            motion=self._motion,
            drawn_by_model=not self._redrawn,
        )

    def _of_cell(self, what: Relabel | Remove | Add) -> bool:
        """Correct one cell; False where it is not there any more."""
        if isinstance(what, Add):
            self._add(what)
            return True
        row = self._find(what)
        if row is None:
            return False
        if isinstance(what, Relabel):
            self._label[row] = what.to
        else:
            self._kept[row] = False
        return True

    def _find(self, what: _OfCell) -> int | None:
        first, last = np.searchsorted(self._sorted, [what.cell, what.cell + 1])
        counted = len(self._sorted)
        added = counted + np.flatnonzero(self._ids[counted:] == what.cell)
        for row in (*self._order[first:last], *added):
            if self._kept[row]:
                return int(row)
        there = np.flatnonzero(self._kept)
        if not len(there):
            return None
        points = np.column_stack([self._x[there], self._y[there]])
        near, place = cKDTree(points).query([what.x_um, what.y_um], distance_upper_bound=ATTACH_UM)
        return int(there[place]) if np.isfinite(near) else None

    def _add(self, what: Add) -> None:
        x_um, y_um = np.array([what.x_um]), np.array([what.y_um])
        inside = bool(shapely.contains_xy(self._region, x_um, y_um)[0])
        kind = next((name for name, area in self._left_out.items() if shapely.contains_xy(area, x_um, y_um)[0]), "")
        self._ids = np.append(self._ids, cell_ids(x_um, y_um))
        self._x, self._y = np.append(self._x, x_um), np.append(self._y, y_um)
        self._label = np.append(self._label, np.array([what.label], object))
        self._region_id = np.append(self._region_id, np.array([None], object))
        self._excluded = np.append(self._excluded, np.array([kind], object))
        self._in_region = np.append(self._in_region, inside and not kind)
        self._dab_od = np.append(self._dab_od, np.nan)
        self._kept = np.append(self._kept, True)

    def _exclude(self, area: MultiPolygon) -> None:
        known = shapely.union_all([*self._left_out.values()])
        fresh = as_multipolygon(self._region.intersection(area).difference(known))
        self._left_out[BY_HAND.name] = as_multipolygon(self._left_out.get(BY_HAND.name, MultiPolygon()).union(fresh))
        here = self._within(area) & (self._excluded == "")
        self._excluded[here] = BY_HAND.name
        self._in_region &= ~here
        self._moved = True

    def _include(self, area: MultiPolygon) -> None:
        self._left_out = {name: as_multipolygon(old.difference(area)) for name, old in self._left_out.items()}
        here = self._within(area)
        self._excluded[here] = ""
        self._in_region |= here & self._within(self._region)
        self._moved = True

    def _move(self, region: MultiPolygon) -> None:
        beyond_mm2 = region.difference(self._reach).area / 1e6
        if region.is_empty or beyond_mm2 > 0:
            msg = (
                f"{beyond_mm2:.3f} mm² of the region lie more than {MARGIN_UM:.0f} µm beside what was counted. Count "
                "it anew into another folder: ki67 count KI67 --regions FILE --out CASE"
            )
            raise BeyondCountedError(msg)
        # What was left out was known in the old region only; beyond it the cells' own column says it.
        self._region = region
        self._left_out = {name: as_multipolygon(old.intersection(region)) for name, old in self._left_out.items()}
        self._in_region = self._within(region) & (self._excluded == "")
        self._moved = True

    def _within(self, area: BaseGeometry) -> NDArray[np.bool_]:
        shapely.prepare(area)
        return np.asarray(shapely.contains_xy(area, self._x, self._y), np.bool_)


def _motion(region: BaseGeometry, nudge: Nudge) -> NDArray[np.float64]:
    """Matrix (3, 3) of a nudge: a turn about the region's middle, then a shift."""
    turn = math.radians(nudge.rotate_deg)
    matrix = np.array([[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0], [0, 0, 1]])
    middle = np.array([region.centroid.x, region.centroid.y])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + np.array(nudge.shift_um)
    return matrix


def check_label(label: str) -> str:
    """Return a class of cells, or say which there are.

    Raises
    ------
    CorrectionError
        Where it is none.
    """
    if label not in CLASSES:
        raise CorrectionError(f"there is no class of cells {label!r}; name one of {', '.join(CLASSES)}")
    return label
