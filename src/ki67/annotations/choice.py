"""Which regions of a file are counted, and what drawn over them is cut out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

from ki67.annotations.regions import UNCLASSIFIED, Region, Regions, shown, tumour_label
from ki67.errors import RegionError
from ki67.geometry import area_mm2, as_multipolygon, union_of

NOT_TUMOUR: Final = frozenset(
    {
        # QuPath's default classes (PathClass.StandardPathClasses) that are no tumour.
        "stroma", "immune cells", "necrosis", "other", "ignore",
        # Ours, and what people call the same.
        "dcis", "lcis", "in situ", "normal", "benign", "necrotic", "background", "whitespace",
        "artefact", "artefacts", "artifact", "artifacts", "pen", "fold", "out of focus", "fat", "blood", "exclude",
    }
)  # fmt: skip
"""Classes, in lower case, whose areas are cut out of the regions that they are drawn over."""

GENERAL: Final = "region"
"""QuPath's ``Region*``: an area in general, which says nothing of what is in it, although its name has a star."""

_INSIDE_SHARE: Final = 0.99
"""A region with this share of its area in a larger one was drawn inside it: hands do not follow a line exactly."""

_ROUNDING: Final = 1e-9
"""Share of an area that is rounding, not an area."""


def is_not_tumour(label: str) -> bool:
    """Whether an area of this class is cut out of tumour that it is drawn over.

    So are the classes of :data:`NOT_TUMOUR`, alone or in a derived class ("Tumor: Necrosis"), and all whose name ends
    in a star, which QuPath ignores (``PathClassTools.isIgnoredClass``), except ``Region*``.
    """
    names = [name.strip().casefold() for name in label.split(":")]
    return any(
        name in NOT_TUMOUR or name.startswith("ignore") or (name.endswith("*") and name.rstrip("* ") != GENERAL)
        for name in names
    )


def choose_regions(regions: Regions, label: str | None, path: Path) -> tuple[Regions, list[str]]:
    """Pick the regions of the invasive carcinoma, or of another label, without what is no tumour inside them.

    Areas that are no tumour (:func:`is_not_tumour`) are cut out of the regions they are drawn over, whether or not
    the file nests them. As in QuPath the inner one of two nested areas holds: a tumour drawn inside a necrosis is
    counted.

    Parameters
    ----------
    regions
        All regions of the file.
    label
        The label asked for; None takes :func:`tumour_label`.
    path
        Their file, for messages.

    Returns
    -------
    tuple
        The regions, and warnings on what was left out, cut out, counted all the same or taken without a label.

    Raises
    ------
    RegionError
        Where no region carries such a label, or nothing is left of those that do.
    """
    name = tumour_label(regions) if label is None else label
    chosen = Regions() if name is None else regions.with_label(name)
    if not chosen or name is None:
        found = _quoted(sorted(regions.labels)) or "no region at all"
        expected = repr(label) if label is not None else "'IDC'"
        msg = f"{path}: no region is labelled {expected}, found {found}. Name the label to count with --label"
        raise RegionError(msg)
    if label is None and name == UNCLASSIFIED:
        return chosen, [f"{path.name}: the regions carry no label; they were taken for invasive carcinoma"]
    others = [region for region in regions if region.label.casefold() != name.casefold()]
    if not others:
        return chosen, []
    over = _counted_all_the_same(chosen, [region for region in others if not is_not_tumour(region.label)], name)
    chosen, cut = _cut_out(chosen, [region for region in others if is_not_tumour(region.label)], name, path)
    left_out = sorted({region.label for region in others} - over.keys())
    counted = f"counted '{shown(name)}'" + (f"; left out {_quoted(left_out)}" if left_out else "")
    return chosen, [f"{path.name}: {note}" for note in (counted, *over.values(), *cut)]


def _cut_out(chosen: Regions, others: Sequence[Region], name: str, path: Path) -> tuple[Regions, list[str]]:
    """Regions without what is drawn over them, and what to say of it."""
    over = _Over(chosen, others)
    kept: list[Region] = []
    gone: list[Region] = []
    inner: list[tuple[Region, str]] = []
    cutting: set[int] = set()
    lost_um2 = 0.0
    for number, region in enumerate(chosen):
        around, cutters = over.of(number)
        inner += [(region, others[int(first)].label) for first in around[:1]]
        if not len(cutters):
            kept.append(region)
            continue
        left = as_multipolygon(shapely.difference(region.geometry, _outermost(over.geometries[cutters])))
        lost = region.geometry.area - left.area
        if lost <= _ROUNDING * region.geometry.area:
            kept.append(region)
            continue
        lost_um2 += lost
        cutting.update(cutters.tolist())
        if left.area <= _ROUNDING * region.geometry.area:
            gone.append(region)
        else:
            kept.append(replace(region, geometry=left.geoms[0] if len(left.geoms) == 1 else left))
    labels = _quoted(sorted({others[number].label for number in cutting}))
    if not kept:
        msg = f"{path}: nothing is left of '{shown(name)}': all of it lies under {labels}. Mend the regions in QuPath"
        raise RegionError(msg)
    notes = []
    if cutting:
        notes.append(f"cut out of '{shown(name)}' what is {labels}: {lost_um2 / 1e6:.3g} mm²")
    if gone:
        notes.append(f"nothing is left of {_few([region.describe() for region in gone])}")
    if inner:
        said = [f"{region.describe()} inside '{shown(label)}'" for region, label in inner]
        notes.append(f"counted all the same, being the inner one, {_few(said)}")
    return Regions(kept, notes=chosen.notes, source=chosen.source), notes


def _counted_all_the_same(chosen: Regions, others: Sequence[Region], name: str) -> dict[str, str]:
    """What to say of areas of other classes that lie over what is counted but do not take it away, by class."""
    over = _Over(chosen, others)
    inside = sorted({int(one) for number in range(len(chosen)) for one in over.of(number)[1]})
    notes = {}
    for label in sorted({others[number].label for number in inside}):
        areas = union_of(others[number].geometry for number in inside if others[number].label == label)
        common = area_mm2(shapely.intersection(areas, chosen.union()))
        if common > 0:
            notes[label] = f"'{shown(label)}' lies over {common:.3g} mm² of '{shown(name)}', counted all the same"
    return notes


class _Over:
    """Which of some other regions lie over each of the chosen ones."""

    def __init__(self, chosen: Regions, others: Sequence[Region]) -> None:
        self.geometries: NDArray[Any] = np.array([region.geometry for region in others], dtype=object)
        self._chosen = [region.geometry for region in chosen]
        shapely.prepare(self.geometries)
        if len(self.geometries):
            first, second = shapely.STRtree(self.geometries).query(self._chosen, predicate="intersects")
            order = np.lexsort((second, first))
            self._starts = np.searchsorted(first[order], np.arange(len(self._chosen) + 1))
            self._met = second[order]

    def of(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of those that a chosen region was drawn inside of, and of those that lie over it or part of it."""
        if not len(self.geometries):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        own = self._chosen[number]
        met = self._met[self._starts[number] : self._starts[number + 1]]
        larger = shapely.area(self.geometries[met]) > own.area
        around = larger & shapely.covers(self.geometries[met], own)
        unsure = np.flatnonzero(larger & ~around)
        if len(unsure):
            common = shapely.area(shapely.intersection(self.geometries[met[unsure]], own))
            around[unsure] = common >= _INSIDE_SHARE * own.area
        return met[around], met[~around]


def _outermost(geometries: NDArray[Any]) -> MultiPolygon:
    """Union of geometries; those inside the larger ones, thousands in a deep nest, are passed over."""
    waiting = geometries[np.argsort(-shapely.area(geometries), kind="stable")]
    outer = []
    while len(waiting):
        outer.append(waiting[0])
        waiting = waiting[1:][~shapely.covers(waiting[0], waiting[1:])]
    return union_of(outer)


def _quoted(labels: Iterable[str]) -> str:
    return ", ".join(f"'{shown(label)}'" for label in labels)


def _few(texts: Sequence[str], most: int = 3) -> str:
    """First ones of a list, and how many there are besides."""
    named = ", ".join(texts[:most])
    return named if len(texts) <= most else f"{named} and {len(texts) - most} more"
