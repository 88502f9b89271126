"""How far two labellers of the same cells agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.errors import DataSetError
from ki67.evaluation.agreement import kappa_of_table
from ki67.evaluation.matches import (
    bootstrap_draws,
    bootstrap_interval,
    class_figures,
    confuse,
    detection_counts,
    percent,
    share,
)
from ki67.evaluation.rois import Roi, by_slide
from ki67.fields.matching import count_matches
from ki67.vocabulary import TUMOUR_CLASSES

_NAMES_SHOWN: Final = 5


@dataclass(frozen=True)
class _SlideComparison:
    """Sums over the ROIs of a slide: hits, false alarms and misses (3,), confusion (2, 2), cells of either (2,)."""

    slide: str
    counts: Mapping[str, NDArray[np.int64]]
    detection: NDArray[np.int64]
    confusion: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @property
    def indices_percent(self) -> tuple[float | None, float | None]:
        return percent(*self.first.tolist()), percent(*self.second.tolist())


def compare_labellers(
    first_folder: Path, first: Sequence[Roi], second_folder: Path, second: Sequence[Roi], radius_um: float
) -> dict[str, Any]:
    """Compare what two people labelled, nucleus by nucleus and slide by slide.

    Labels are matched one to one within the radius: each class by itself for its F1, which is the same whoever counts
    as right, and once more whatever their class for the kappa and for tumour cells found at all. Where only part of a
    picture is labelled (:meth:`ki67.fields.labelled_fields.LabelledField.can_judge`), labels that the other had no
    reason to set do not count.

    Parameters
    ----------
    first_folder, second_folder
        Where they were read from, for messages.
    first, second
        The same ROIs, in any order.
    radius_um
        How far apart two labels of one nucleus may be.

    Returns
    -------
    dict
        ``radius_um``, ``slides`` (number); ``classes`` and ``detection``:
        :func:`ki67.evaluation.matches.class_figures`; ``confusion`` of nuclei that both labelled, by the first's
        class and the second's, ``same_class_percent`` and Cohen's ``kappa`` of these; ``index_difference_points``,
        mean over the slides of the second's index less the first's, and ``index_mae_points``, mean of its size;
        ``per_slide``.
        Intervals (``…_ci95``, ``…_ci95_points``) are a bootstrap's over slides, None with a single one.

    Raises
    ------
    DataSetError
        Where the two did not label the same, or the radius is none.
    """
    if not 0 < radius_um < math.inf:
        raise DataSetError(first_folder, f"cannot be matched within {radius_um:g} µm", "Give a positive --radius-um.")
    _require_same(first_folder, first, second_folder, second)
    others = {(roi.slide, roi.name): roi for roi in second}
    slides = [
        _compare(slide, [(roi, others[slide, roi.name]) for roi in own], radius_um)
        for slide, own in by_slide(first).items()
    ]
    confusion = np.stack([slide.confusion for slide in slides])
    total = confusion.sum(axis=0)
    same = share(int(total.trace()), int(total.sum()))
    return {
        "radius_um": radius_um,
        "slides": len(slides),
        "classes": {name: class_figures(np.stack([s.counts[name] for s in slides])) for name in TUMOUR_CLASSES},
        "detection": class_figures(np.stack([slide.detection for slide in slides])),
        "confusion": {
            name: dict(zip(TUMOUR_CLASSES, row, strict=True))
            for name, row in zip(TUMOUR_CLASSES, total.tolist(), strict=True)
        },
        "same_class_percent": None if same is None else 100 * same,
        "kappa": kappa_of_table(total),
        "kappa_ci95": _kappa_interval(confusion),
        **_index_differences(slides),
        "per_slide": [_slide_figures(slide) for slide in slides],
    }


def _compare(slide: str, pairs: Sequence[tuple[Roi, Roi]], radius_um: float) -> _SlideComparison:
    counts = {name: np.zeros(3, np.int64) for name in TUMOUR_CLASSES}
    detection, confusion = np.zeros(3, np.int64), np.zeros((2, 2), np.int64)
    cells = np.zeros((2, 2), np.int64)
    for one, other in pairs:
        first, second = _judged_by(other, one, radius_um), _judged_by(one, other, radius_um)
        for name in TUMOUR_CLASSES:
            hits = count_matches(first[name], second[name], radius_um)
            counts[name] += (hits, len(second[name]) - hits, len(first[name]) - hits)
        table = confuse(first, second, radius_um)
        confusion += table
        detection += detection_counts(first, second, table)
        cells += [[len(own[name]) for name in TUMOUR_CLASSES] for own in (first, second)]
    return _SlideComparison(slide, counts, detection, confusion, cells[0], cells[1])


def _judged_by(judge: Roi, roi: Roi, radius_um: float) -> dict[str, NDArray[np.float64]]:
    """Tumour cells that the labels of another can be asked about."""
    points = {name: roi.points[name] for name in TUMOUR_CLASSES}
    if judge.field is None:
        return points
    return {name: places[judge.field.can_judge(places, radius_um)] for name, places in points.items()}


def _kappa_interval(confusion: NDArray[np.int64]) -> list[float] | None:
    """Of tables by slide (slides, 2, 2)."""
    if len(confusion) < 2:
        return None
    tables = confusion[bootstrap_draws(len(confusion))].sum(axis=1)
    values = [value for value in map(kappa_of_table, tables) if value is not None]
    return bootstrap_interval(np.array(values))


def _index_differences(slides: Sequence[_SlideComparison]) -> dict[str, Any]:
    pairs = [slide.indices_percent for slide in slides]
    differences = np.array([second - first for first, second in pairs if first is not None and second is not None])
    result: dict[str, Any] = {}
    for name, values in (("index_difference", differences), ("index_mae", np.abs(differences))):
        result[f"{name}_points"] = float(values.mean()) if len(values) else None
        spread = values[bootstrap_draws(len(values))].mean(axis=1) if len(values) > 1 else np.empty(0)
        result[f"{name}_ci95_points"] = bootstrap_interval(spread)
    return result


def _slide_figures(slide: _SlideComparison) -> dict[str, Any]:
    first, second = slide.indices_percent
    return {
        "slide": slide.slide,
        "first_percent": first,
        "second_percent": second,
        **{f"{name}_f1": class_figures(slide.counts[name][None])["f1"] for name in TUMOUR_CLASSES},
        "kappa": kappa_of_table(slide.confusion),
    }


def _require_same(first_folder: Path, first: Sequence[Roi], second_folder: Path, second: Sequence[Roi]) -> None:
    names = [{(roi.slide, roi.name) for roi in rois} for rois in (first, second)]
    for folder, missing in ((second_folder, names[0] - names[1]), (first_folder, names[1] - names[0])):
        if missing:
            shown = ", ".join(sorted(name for _, name in missing)[:_NAMES_SHOWN])
            more = ", …" if len(missing) > _NAMES_SHOWN else ""
            raise DataSetError(
                folder,
                f"lacks labels that the other labeller has: {shown}{more}",
                "Give both the same ROIs, or slides, under the same names.",
            )
