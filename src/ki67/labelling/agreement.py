"""How far two labellings of one slide agree: regions by Dice and boundaries, cells by F1, kappa and index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.evaluation.agreement import kappa_of_table
from ki67.evaluation.matches import bootstrap_draws, bootstrap_interval
from ki67.fields.matching import match
from ki67.labelling.shapes import areas, points
from ki67.labelling.words import LabelKind
from ki67.scoring.intervals import wilson_interval

RADIUS_UM: Final = 6.0
"""Two labels of one nucleus lie no further apart; about the radius of a tumour cell's nucleus."""

_BOUNDARY_STEP_UM: Final = 10.0
_LEAST_STEPS: Final = 64

Labels = Sequence[Mapping[str, Any]]


def compare(kind: LabelKind, first: Labels, second: Labels, radius_um: float = RADIUS_UM) -> dict[str, Any]:
    """Compare two labellings of a slide.

    Returns
    -------
    dict
        ``agreement`` (0 to 1; None where neither labelled anything): of regions the Dice coefficient over all classes
        together, of cells the F1 over all classes together; ``counts``: [hits, errors], by which it is pooled over
        slides: agreement = 2 hits / (2 hits + errors); ``classes``: the same by class; for regions also
        ``boundary_um``, by class median and 95th percentile of the distance between the two boundaries, both ways;
        for cells ``kappa`` of nuclei that both labelled, ``index_percent`` of either and ``index_difference_points``.
    """
    return _regions(first, second) if kind is LabelKind.regions else _cells(first, second, radius_um)


def agreement_of(hits: float, errors: float) -> float | None:
    """Dice coefficient or F1, which are one formula; None of nothing."""
    return 2 * hits / (2 * hits + errors) if hits + errors > 0 else None


def _regions(first: Labels, second: Labels) -> dict[str, Any]:
    one, other = areas(first), areas(second)
    classes: dict[str, float | None] = {}
    boundary: dict[str, dict[str, float] | None] = {}
    hits = errors = 0.0
    for label in sorted(one.keys() | other.keys()):
        a, b = one.get(label), other.get(label)
        common = 0.0 if a is None or b is None else shapely.intersection(a, b).area
        apart = sum(part.area for part in (a, b) if part is not None) - 2 * common
        hits, errors = hits + common, errors + apart
        classes[label] = agreement_of(common, apart)
        boundary[label] = None if a is None or b is None else _boundary(a, b)
    return {
        "agreement": agreement_of(hits, errors),
        "counts": [hits, errors],
        "classes": classes,
        "boundary_um": boundary,
    }


def _boundary(a: Any, b: Any) -> dict[str, float] | None:
    if a.is_empty or b.is_empty:
        return None
    distances = []
    for here, there in ((a.boundary, b.boundary), (b.boundary, a.boundary)):
        count = max(_LEAST_STEPS, int(here.length / _BOUNDARY_STEP_UM))
        along = shapely.points(shapely.get_coordinates(shapely.segmentize(here, here.length / count)))
        shapely.prepare(there)
        distances.append(shapely.distance(along, there))
    all_of = np.concatenate(distances)
    return {"median": float(np.median(all_of)), "p95": float(np.percentile(all_of, 95))}


def _cells(first: Labels, second: Labels, radius_um: float) -> dict[str, Any]:
    one, other = points(first), points(second)
    none = np.empty((0, 2))
    labels = sorted(one.keys() | other.keys())
    classes: dict[str, float | None] = {}
    hits = errors = 0.0
    for label in labels:
        a, b = one.get(label, none), other.get(label, none)
        found = len(match(a, b, radius_um)[0])
        hits, errors = hits + found, errors + len(a) + len(b) - 2 * found
        classes[label] = agreement_of(found, len(a) + len(b) - 2 * found)
    indices = [_index(cells) for cells in (one, other)]
    return {
        "agreement": agreement_of(hits, errors),
        "counts": [hits, errors],
        "classes": classes,
        "kappa": kappa_of_table(_confusion(one, other, labels, radius_um)),
        "index_percent": indices,
        "index_difference_points": None if None in indices else indices[1] - indices[0],  # type: ignore[operator]
    }


def _confusion(
    one: Mapping[str, NDArray[np.float64]],
    other: Mapping[str, NDArray[np.float64]],
    labels: list[str],
    radius_um: float,
) -> NDArray[np.int64]:
    """Nuclei that both labelled, by the class of either."""
    table = np.zeros((len(labels), len(labels)), np.int64)
    if not one or not other:
        return table
    stacked = [
        (np.concatenate(list(side.values())), [name for name, at in side.items() for _ in at])
        for side in (one, other)
    ]
    rows, columns = match(stacked[0][0], stacked[1][0], radius_um)
    for row, column in zip(rows, columns, strict=True):
        table[labels.index(stacked[0][1][row]), labels.index(stacked[1][1][column])] += 1
    return table


def _index(cells: Mapping[str, NDArray[np.float64]]) -> float | None:
    positive, negative = (len(cells.get(name, ())) for name in ("Positive", "Negative"))
    return 100 * positive / (positive + negative) if positive + negative else None


def pooled(kind: LabelKind, comparisons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Agreement over slides, with its 95 % interval.

    Returns
    -------
    dict
        ``agreement``, ``ci95`` ([low, high], a bootstrap over slides; of cells on a single slide Wilson's over the
        cells; None where there is neither), ``slides``.
    """
    counts = np.array([one["counts"] for one in comparisons], np.float64).reshape(-1, 2)
    hits, errors = counts.sum(axis=0)
    interval: list[float] | None = None
    if len(counts) > 1:
        drawn = counts[bootstrap_draws(len(counts))].sum(axis=1)
        with np.errstate(invalid="ignore"):
            values = 2 * drawn[:, 0] / (2 * drawn[:, 0] + drawn[:, 1])
        interval = bootstrap_interval(values[np.isfinite(values)])
    elif kind is LabelKind.cells and hits + errors > 0:
        # F1 is the share of hits among hits and half the errors.
        interval = [float(end) for end in wilson_interval(int(hits), int(np.ceil(hits + errors / 2)))]
    return {"agreement": agreement_of(float(hits), float(errors)), "ci95": interval, "slides": len(counts)}
