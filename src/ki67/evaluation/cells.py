"""How well cells are found and classified: labelled fields against the chain's own count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.cells import Engine, load_engine
from ki67.cells.card import learnt_from
from ki67.errors import DataSetError
from ki67.evaluation.agreement import icc_a1
from ki67.evaluation.calibration import reliability
from ki67.evaluation.cell_pictures import draw_field
from ki67.evaluation.index import positive_rate_accuracy
from ki67.evaluation.limits import LIMITS_Z
from ki67.evaluation.matches import (
    bootstrap_draws,
    bootstrap_interval,
    class_figures,
    confuse,
    detection_counts,
    percent,
)
from ki67.evaluation.predictions import FoundCells, read_predictions
from ki67.fields.field_count import count_field
from ki67.fields.labelled_fields import DEFAULT_RADIUS_UM, LabelledField, read_fields
from ki67.fields.matching import match
from ki67.files import atomic_path, printable
from ki67.progress import track
from ki67.vocabulary import TUMOUR_CLASSES


@dataclass(frozen=True)
class _FieldResult:
    field: LabelledField
    found: dict[str, NDArray[np.float64]]
    probability: NDArray[np.float64]
    right: NDArray[np.bool_]
    counts: dict[str, NDArray[np.int64]]
    confusion: NDArray[np.int64]

    @property
    def detection(self) -> NDArray[np.int64]:
        """Hits, false alarms and misses of tumour cells whatever their class."""
        return detection_counts(self.field.points, self.found, self.confusion)

    @property
    def gold_percent(self) -> float | None:
        return percent(*(len(self.field.points[name]) for name in TUMOUR_CLASSES))

    @property
    def index_percent(self) -> float | None:
        return percent(*(len(self.found[name]) for name in TUMOUR_CLASSES))


def evaluate_cells(
    directory: str | Path,
    layout: str,
    mpp: float | None = None,
    radius_um: float | None = None,
    images: Sequence[str] | None = None,
    figures: str | Path | None = None,
    engine: Engine | None = None,
    *,
    predictions: str | Path | None = None,
    mpp_overrides_file: bool = False,
) -> dict[str, Any]:
    """Count labelled fields, or take what another program found there, and compare the cells with the labels.

    Cells are matched one to one within the radius, each class by itself (Hungarian method), so a nucleus found with
    the wrong class is a miss in one and a false alarm in the other. Matched once more whatever their class they tell
    how well tumour cells are found at all, and how often one class is taken for the other. Where a field says where
    its labelling is complete (:meth:`ki67.fields.labelled_fields.LabelledField.can_judge`), what is found elsewhere
    counts for nothing, the index included. A blank picture on which
    nothing is labelled counts as one on which nothing is found.

    Parameters
    ----------
    directory
        The data set.
    layout
        One of :class:`ki67.vocabulary.Layout`.
    mpp
        Pixel size of the fields in µm (:func:`ki67.fields.labelled_fields.read_fields`).
    radius_um
        Matching radius; that of the layout (:data:`ki67.fields.labelled_fields.DEFAULT_RADIUS_UM`) where None.
    images
        Names (without suffix) of the fields to use; all where None.
    figures
        Folder for the figures (:mod:`ki67.evaluation.cell_figures`) and, under ``fields/``, one PNG per field with
        hits, misses and false alarms.
    engine
        What finds the cells (:func:`ki67.cells.load_engine`); None for the default.
    predictions
        What another program found instead (:mod:`ki67.evaluation.predictions`).
    mpp_overrides_file
        Take ``mpp`` although a picture's file says otherwise.

    Returns
    -------
    dict
        ``classes``: precision, recall, f1, tp, fp, fn and the 95 % bootstrap interval of f1 over fields, for
        positive and negative, None where there is no cell to divide by; ``detection``: the same for tumour cells
        whatever their class, and ``confusion`` of those matched, labelled by called;
        ``cells_rightly_classed_percent`` of these, and ``positive_rate_accuracy_percent``
        (:func:`ki67.evaluation.index.positive_rate_accuracy`, over fields): two readings of the paper's "accuracy of
        the positive rate"; ``index_mae_points``,
        ``index_rmse_points``, ``index_icc`` (ICC(2,1)), ``index_bias_points`` with its limits of agreement, over the
        fields that have tumour cells; ``reliability``: how often counted cells are right, by probability;
        ``index_pooled_percent`` and ``gold_pooled_percent`` over all cells; ``images``, ``cells`` (labelled tumour
        cells), ``per_image``, ``warnings``.

    Raises
    ------
    MissingExtraError
        Where figures are asked for and the extra ``figures`` is not installed.
    DataSetError
        Where the data set is not as described, or the radius is none.
    PixelSizeError
        Where a picture has no pixel size, or one that is too coarse for nuclei.
    TissueError
        Where a picture on which cells are labelled shows no tissue.
    """
    if figures is not None:
        # Here, so that the work is not done in vain where matplotlib is missing.
        from ki67.evaluation.cell_figures import draw_cell_figures
    if radius_um is not None and not 0 < radius_um < math.inf:
        raise DataSetError(directory, f"cannot be matched within {radius_um:g} µm", "Give a positive --radius-um.")
    fields = read_fields(directory, layout, mpp, images, overrides_file=mpp_overrides_file)
    radius = DEFAULT_RADIUS_UM[layout] if radius_um is None else radius_um
    if predictions is None:
        engine = engine or load_engine()
        found = {field.name: _counted(field, engine) for field in track(fields, "Counting fields", len(fields))}
        judged = {"engine": engine.card.engine, "model_sha256": engine.card.sha256, "predictions": None}
        warnings = learnt_from(engine.card, [f"{layout}/{field.name}" for field in fields])
    else:
        found, warnings = read_predictions(predictions, fields)
        judged = {"engine": None, "model_sha256": None, "predictions": printable(str(predictions))}
    results = [_judge(field, found[field.name], radius) for field in fields]
    summary = _summary(results)
    if figures is not None:
        draw_cell_figures(figures, summary)
        for result in results:
            with atomic_path(Path(figures) / "fields" / f"{result.field.name}.png") as path:
                draw_field(path, result.field, result.found, radius)
    return summary | {
        "radius_um": radius,
        **judged,
        "warnings": [*(text for field in fields for text in field.warnings), *warnings],
    }


def _counted(field: LabelledField, engine: Engine) -> FoundCells:
    table = count_field(field, engine)
    places = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()])
    labels = np.array(table["label"].to_pylist(), np.object_)
    return FoundCells(places, labels, table["probability"].to_numpy().astype(np.float64))


def _judge(field: LabelledField, cells: FoundCells, radius_um: float) -> _FieldResult:
    places, labels, probability = cells.places_um, cells.labels, cells.probability
    judged = field.can_judge(places, radius_um)
    places, labels, probability = places[judged], labels[judged], probability[judged]
    found = {name: places[labels == name] for name in TUMOUR_CLASSES}
    counts, probabilities, rights = {}, [], []
    for name in TUMOUR_CLASSES:
        right = np.zeros(len(found[name]), np.bool_)
        right[match(field.points[name], found[name], radius_um)[1]] = True
        hits = int(right.sum())
        counts[name] = np.array([hits, len(right) - hits, len(field.points[name]) - hits])
        probabilities.append(probability[labels == name])
        rights.append(right)
    confusion = confuse(field.points, found, radius_um)
    return _FieldResult(field, found, np.concatenate(probabilities), np.concatenate(rights), counts, confusion)


def _summary(results: Sequence[_FieldResult]) -> dict[str, Any]:
    counts = {name: np.array([result.counts[name] for result in results]) for name in TUMOUR_CLASSES}
    confusion = np.sum([result.confusion for result in results], axis=0)
    right, probability = (
        np.concatenate(values)
        for values in zip(*((result.right, result.probability) for result in results), strict=True)
    )
    # A class that the density of DAB decided has no probability.
    said = np.isfinite(probability)
    return {
        "classes": {name: class_figures(counts[name]) for name in TUMOUR_CLASSES},
        "detection": class_figures(np.array([result.detection for result in results])),
        "confusion": {
            name: dict(zip(TUMOUR_CLASSES, row, strict=True))
            for name, row in zip(TUMOUR_CLASSES, confusion.tolist(), strict=True)
        },
        "cells_rightly_classed_percent": percent(int(confusion.trace()), int(confusion.sum() - confusion.trace())),
        **_index_figures(results),
        "index_pooled_percent": percent(*(sum(len(r.found[name]) for r in results) for name in TUMOUR_CLASSES)),
        "gold_pooled_percent": percent(*(sum(len(r.field.points[name]) for r in results) for name in TUMOUR_CLASSES)),
        "reliability": reliability(right[said], probability[said]),
        "images": len(results),
        "cells": sum(len(r.field.points[name]) for r in results for name in TUMOUR_CLASSES),
        "per_image": [_image_figures(result) for result in results],
    }


def _index_figures(results: Sequence[_FieldResult]) -> dict[str, Any]:
    """Errors over the fields with labelled tumour cells; a field where none was found counts as index 0.

    A single field has no spread, so no ICC and no limits of agreement.
    """
    pairs = [(r.gold_percent, r.index_percent or 0.0) for r in results if r.gold_percent is not None]
    if not pairs:
        names = ("mae_points", "rmse_points", "icc", "bias_points", "lower_points", "upper_points", "mae_ci95_points")
        return dict.fromkeys([*(f"index_{name}" for name in names), "positive_rate_accuracy_percent"])
    ratings = np.array(pairs, np.float64)
    difference = ratings[:, 1] - ratings[:, 0]
    bias, spread = float(difference.mean()), float(difference.std(ddof=1)) if len(pairs) > 1 else None
    agreement = None if spread is None else icc_a1(ratings)
    interval = bootstrap_interval(np.abs(difference)[bootstrap_draws(len(pairs))].mean(axis=1))
    return {
        "index_mae_points": float(np.abs(difference).mean()),
        "index_mae_ci95_points": interval,
        "index_rmse_points": float(np.sqrt((difference**2).mean())),
        "index_icc": None if agreement is None else agreement.value,
        "positive_rate_accuracy_percent": positive_rate_accuracy(ratings[:, 0], ratings[:, 1]),
        "index_bias_points": bias,
        "index_lower_points": None if spread is None else bias - LIMITS_Z * spread,
        "index_upper_points": None if spread is None else bias + LIMITS_Z * spread,
    }


def _image_figures(result: _FieldResult) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "image": result.field.name,
        "gold_percent": result.gold_percent,
        "index_percent": result.index_percent,
    }
    for name, (hits, false, missed) in result.counts.items():
        figures[name] = {"tp": int(hits), "fp": int(false), "fn": int(missed)}
    return figures
