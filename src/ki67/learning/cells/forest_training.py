"""Training the forest from labelled fields.

Candidates of every field are measured exactly as in counting. A candidate takes the class of the labelled point it is
centred on; one that covers two points, or none, is "other". Every data set weighs the same, however many fields it
has. Lymphocytes and stroma labelled as such weigh more than what is merely unlabelled: they are few, and they
look most like tumour. Thresholds are chosen by cross-validation by patient on the real training fields alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ki67.cells.candidates import FEATURE_NAMES, find_candidates
from ki67.cells.card import CARD_SCHEMA
from ki67.cells.channels import WORKING_MPP, TilePixels, make_channels
from ki67.cells.sampling import sample_slide
from ki67.cells.stains import estimate_stains
from ki67.cells.suppression import suppress
from ki67.cells.tiling import plan_tiles
from ki67.errors import DataSetError, MissingExtraError
from ki67.fields.labelled_fields import LabelledField
from ki67.files import atomic_path, sha256_of, write_json
from ki67.learning.cells.cross_validation import GroupedField, assign_folds, count_by_group, describe_folds
from ki67.learning.cells.thresholds import Counts, choose_thresholds
from ki67.progress import track
from ki67.vocabulary import CLASSES, NEGATIVE, OTHER, POSITIVE, Layout

# A candidate is centred on a point within this share of its own radius, and at least this far.
_CENTRED_SHARE = 0.6
_CENTRED_UM = 1.5
# A second point within this share of its radius makes it a clump.
_CLUMP_SHARE = 0.8
# Thresholds that cross-validation chooses among.
FOREST_STEPS = tuple(round(0.20 + 0.05 * step, 2) for step in range(8))
# Larger than any field: fields are measured in one piece.
_WHOLE_FIELD_PX = 1 << 20


@dataclass(frozen=True)
class TrainingOptions:
    """How the forest is grown; ``seed`` makes it repeatable."""

    trees: int = 60
    minimum_leaf: int = 6
    maximum_depth: int = 14
    folds: int = 4
    overlap: float = 0.75
    simulated_weight: float = 1.0
    named_other_weight: float = 4.0
    seed: int = 1


@dataclass(frozen=True)
class TrainingField(GroupedField):
    """Candidates of one field with their labels.

    ``named`` marks candidates whose label is a labelled point's, "other" for want of one is not.
    """

    features: NDArray[np.float32]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    size_um: NDArray[np.float64]
    labels: NDArray[np.int8]
    named: NDArray[np.bool_]


def measure_field(field: LabelledField, group: str, patient: str) -> TrainingField:
    """Find, measure and label the candidates of one field."""
    with field.open() as slide:
        stains = estimate_stains(sample_slide(slide, None).pixels)
        (tile,) = plan_tiles(slide.bounds_um, None, 0, _WHOLE_FIELD_PX)
        pixels = TilePixels(slide.read(tile.rect, WORKING_MPP), stains)
        candidates = find_candidates(make_channels(pixels), stains)
    x_um, y_um = candidates.x_px * WORKING_MPP, candidates.y_px * WORKING_MPP
    size_um = candidates.radius_px * WORKING_MPP
    radius, places = GroupedField(group, patient, field).radius_um, np.column_stack([x_um, y_um])
    labels, named = _labels(places, size_um, field.points, radius)
    own = field.can_judge(places, radius)
    return TrainingField(
        group, patient, field, candidates.features[own], x_um[own], y_um[own], size_um[own], labels[own], named[own]
    )


def _labels(
    places: NDArray[np.float64],
    size_um: NDArray[np.float64],
    points: dict[str, NDArray[np.float64]],
    radius_um: float,
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    labels = np.full(len(places), OTHER, np.int8)
    known = np.concatenate([points[name] for name in CLASSES])
    classes = np.repeat(np.arange(len(CLASSES)), [len(points[name]) for name in CLASSES]).astype(np.int8)
    if len(known) == 0 or len(places) == 0:
        return labels, np.zeros(len(places), np.bool_)
    distance, nearest = cKDTree(known).query(places, k=2)
    reach = np.minimum(radius_um, np.maximum(_CENTRED_SHARE * size_um, _CENTRED_UM))
    centred = (distance[:, 0] <= reach) & (distance[:, 1] >= _CLUMP_SHARE * size_um)
    labels[centred] = classes[nearest[centred, 0]]
    return labels, centred


def train(
    fields: Sequence[TrainingField], path: str | Path, card: dict[str, Any], options: TrainingOptions
) -> dict[str, Any]:
    """Grow the forest on all fields, choose its thresholds by cross-validation, write graph and card.

    Parameters
    ----------
    fields
        From :func:`measure_field`.
    path
        The ``.onnx`` file; the card goes beside it.
    card
        Further fields of the card: name, data, licence, command.
    options
        How it is grown.

    Returns
    -------
    dict
        The card as written; ``cross_validation`` holds the figures.

    Raises
    ------
    DataSetError
        Where there is nothing to learn from.
    MissingExtraError
        Where scikit-learn or onnx is not installed.
    """
    present = set(np.unique(np.concatenate([field.labels for field in fields]))) if fields else set()
    if present != {OTHER, POSITIVE, NEGATIVE}:
        raise DataSetError(
            path, "cannot be trained: the fields lack positive or negative cells", "Add labelled fields."
        )
    folds = assign_folds(fields, options.folds)
    probabilities = _cross_validated(fields, folds, options)
    judged = [row[:2] for row in zip(fields, probabilities, folds, strict=True) if row[2] is not None]

    def counts(label: int, threshold: float) -> Counts:
        found = ((field, _places(field, shares, label, threshold, options.overlap)) for field, shares in judged)
        return count_by_group(found, label)

    thresholds, figures = choose_thresholds(counts, FOREST_STEPS)
    forest = _fit(fields, options)
    from ki67.learning.cells.forest_export import as_onnx

    target = Path(path)
    with atomic_path(target) as temporary:
        temporary.write_bytes(as_onnx(forest))
    full = card | {
        "schema": CARD_SCHEMA,
        "engine": "forest",
        "mpp": WORKING_MPP,
        "classes": list(CLASSES),
        "features": list(FEATURE_NAMES),
        "positive_threshold": thresholds[0],
        "negative_threshold": thresholds[1],
        "overlap": options.overlap,
        "options": asdict(options),
        "cross_validation": figures | describe_folds(fields, options.folds),
        "fields": [f"{field.group}/{field.field.name}" for field in fields],
        "sha256": sha256_of(target),
    }
    write_json(target.with_suffix(".json"), full)
    return full


def _cross_validated(
    fields: Sequence[TrainingField], folds: Sequence[int | None], options: TrainingOptions
) -> list[NDArray[np.float64]]:
    """Probabilities of each field from a forest that has not seen its patient; none where a field only teaches."""
    result: list[NDArray[np.float64]] = [np.empty((0, len(CLASSES)))] * len(fields)
    parts = sorted({fold for fold in folds if fold is not None})
    for part in track(parts, "Cross-validation", len(parts)):
        forest = _fit([field for field, fold in zip(fields, folds, strict=True) if fold != part], options)
        for index, (field, fold) in enumerate(zip(fields, folds, strict=True)):
            if fold == part:
                result[index] = _probabilities(forest, field.features)
    return result


def _probabilities(forest: Any, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of all classes, (N, 3), whichever of them the forest has met."""
    shares = np.zeros((len(features), len(CLASSES)))
    if len(features):
        shares[:, forest.classes_] = forest.predict_proba(features)
    return shares


def _fit(fields: Sequence[TrainingField], options: TrainingOptions) -> Any:
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise MissingExtraError("train", "Training the cell classifier") from error
    labels = np.concatenate([field.labels for field in fields])
    groups = np.concatenate([np.full(len(field.labels), field.group) for field in fields])
    weights = np.zeros(len(labels))
    for group in np.unique(groups):
        own = groups == group
        weights[own] = (options.simulated_weight if group == Layout.simulated else 1.0) / np.count_nonzero(own)
    named = np.concatenate([field.named for field in fields])
    weights[named & (labels == OTHER)] *= options.named_other_weight
    forest = RandomForestClassifier(
        options.trees,
        min_samples_leaf=options.minimum_leaf,
        max_depth=options.maximum_depth,
        n_jobs=-1,
        random_state=options.seed,
    )
    return forest.fit(np.concatenate([field.features for field in fields]), labels, weights * len(labels))


def _places(
    field: TrainingField, probability: NDArray[np.float64], label: int, threshold: float, overlap: float
) -> NDArray[np.float64]:
    """Centres (N, 2) in µm of the cells of one class, as they would be counted."""
    score = probability[:, POSITIVE] + probability[:, NEGATIVE]
    likely = np.flatnonzero(score >= threshold)
    kept = likely[suppress(field.x_um[likely], field.y_um[likely], field.size_um[likely], score[likely], overlap)]
    positive = probability[kept, POSITIVE] >= probability[kept, NEGATIVE]
    own = kept[positive if label == POSITIVE else ~positive]
    return np.column_stack([field.x_um[own], field.y_um[own]])
