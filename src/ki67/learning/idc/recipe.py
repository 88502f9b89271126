"""The whole way from labelled patches to a model that can be shipped.

``ki67 idc train PATCHES OUT`` reads ``PATCHES/index.csv`` (columns ``patient``, ``label``, ``file``, ``split``:
``train`` or ``val``, and perhaps ``random_sample``), trains in ``OUT`` or goes on with what is there, chooses
temperature and threshold on the validation patches and writes ``OUT/idc_ARCHITECTURE.onnx`` with its card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from ki67.errors import DataSetError, ModelError
from ki67.fields.metrics import (
    alike,
    area_thresholds,
    best_threshold,
    cross_fitted_balanced_accuracy,
    fit_temperature,
    rank_auc,
)
from ki67.fields.patches import PatchRow, read_patches
from ki67.fields.slide_list import SPLITS
from ki67.files import write_json
from ki67.idc.appearance import LEAST_PATCHES, Appearance
from ki67.idc.model import AREA_THRESHOLDS, MARKS_BEFORE, IdcModel, ModelCard, load_model, patient_mark
from ki67.idc.surroundings import Surroundings
from ki67.learning.idc.checkpoint import TrainingOptions
from ki67.learning.idc.network import NetworkOptions, PatchNetwork
from ki67.learning.idc.network_export import export
from ki67.learning.idc.training import PatchSet, margins_of, predict_logits, train
from ki67.learning.quantisation import add_int8, patches_pixels
from ki67.progress import message
from ki67.vocabulary import IdcArchitecture

INDEX = "index.csv"

EVEN = 0.5
"""Probability at even odds."""

MOST_APART = 0.01
"""Weights are stored in half precision, which moves probabilities of a full-size network by 0.0003 at most."""

AROUND = Surroundings(neighbours=4, reach_um=1600.0, weight=1.0, prior=1.0, scale=1.0)
"""How a model listens to the patches around; chosen by cross-validation of the public patches (decision 012)."""

AROUND_PATCHES = 8
"""Its reach in edges of a patch."""

LEAST_PATIENTS = 5
"""With fewer on either side there is no saying how far patients lie apart."""

REPORT = "Do not use it: this is a fault of the program or of its libraries; please report it."


def train_model(
    directory: str | Path,
    out: str | Path,
    options: TrainingOptions,
    *,
    mpp: float,
    data: str,
    start: PatchNetwork | None = None,
    marks_before: Collection[str] = (),
) -> Path:
    """Train on labelled patches, calibrate, and export.

    Parameters
    ----------
    directory
        Patches with their ``index.csv``.
    out
        Folder for the training and the model; a training found there is continued.
    options
        How to train.
    mpp
        µm per pixel of the patches.
    data
        What the patches are, for the model's card.
    start
        Network to go on from; None starts from random weights, or from those of ImageNet.
    marks_before
        Marks of the patients that ``start`` was trained on.

    Returns
    -------
    pathlib.Path
        The ONNX file; its card lies beside it.

    Raises
    ------
    DataSetError
        Where the index lacks the column ``split``, or a split is empty or lacks a class.
    """
    rows = read_patches(directory, Path(directory) / INDEX)
    training, validation = split_rows(rows, Path(directory) / INDEX)
    patches = PatchSet.load(validation, options.patch_px)
    known = PatchSet.load(training, options.patch_px)
    network = train(known, patches, out, options, start=start)
    target = Path(out) / f"{options.network.model_name}.onnx"
    card = make_card(training, validation, options, data, from_scratch=start is None)
    card[MARKS_BEFORE] = sorted(marks_before)
    finish(network, patches, target, card, options, mpp=mpp)
    # What is measured from here on is what runs.
    add_int8(target, patches_pixels(known.pixels))
    add_appearance(target, known, patches)
    add_surroundings(target, validation, patches)
    return target


def split_rows(rows: Sequence[PatchRow], index: Path) -> tuple[list[PatchRow], list[PatchRow]]:
    """Training rows, and the validation rows that are an unbiased draw.

    Parameters
    ----------
    rows
        Every row of the index.
    index
        For messages.

    Returns
    -------
    tuple of list
        Rows with ``split`` = train; rows with ``split`` = val and, where the column exists, ``random_sample`` = 1.

    Raises
    ------
    DataSetError
        Where the column is missing, a split is empty, or another word than train, val, test stands in the column.
    """
    unknown = sorted({row.columns.get("split", "") for row in rows} - {"", *SPLITS})
    if unknown:
        raise DataSetError(
            index, f"holds the split {unknown[0]!r}, expected {', '.join(SPLITS)} or nothing", "Correct the column."
        )
    training = [row for row in rows if row.columns.get("split") == "train"]
    validation = [
        row for row in rows if row.columns.get("split") == "val" and row.columns.get("random_sample", "1") == "1"
    ]
    for name, chosen in (("train", training), ("val", validation)):
        if not chosen:
            raise DataSetError(index, f"has no rows with split = {name}", "Split the patients into train and val.")
    return training, validation


def finish(
    network: PatchNetwork,
    validation: PatchSet,
    target: Path,
    card: dict[str, Any],
    options: TrainingOptions,
    *,
    mpp: float,
) -> None:
    """Choose temperature and threshold on the validation patches and export the model with its card.

    The graph is then run on the same patches, and must say what the network says.

    Parameters
    ----------
    network
        Trained network.
    validation
        Validation patches.
    target
        ``.onnx`` file.
    card
        What is known of data and training.
    options
        Patch size and classes.
    mpp
        µm per pixel of the patches.

    Raises
    ------
    ModelError
        Where the exported graph gives other probabilities than the network.
    """
    logits = predict_logits(network, validation.pixels)
    temperature = fit_temperature(validation.labels, logits)
    truth = (validation.labels == options.tumour).astype(np.int64)
    margins = margins_of(logits, options.tumour)
    choices = {
        "chosen_on": "validation patches; temperature: cross-entropy, classes weighing the same; threshold: "
        "highest balanced accuracy of IDC against the rest, of which each class weighs the same; of thresholds about "
        "as good the one nearest to even odds, where smoothing the map leaves a border in its place",
        "balanced_accuracy_threshold_from_other_patients": cross_fitted_balanced_accuracy(
            truth, margins, validation.patients, alike(validation.labels)
        ),
        "auc": rank_auc(truth, margins),
    }
    scores = expit(margins_of(logits / temperature, options.tumour))
    export(
        network,
        target,
        card | {"validation": choices} | _areas(truth, scores, validation.patients),
        patch_px=options.patch_px,
        core_px=options.core,
        mpp=mpp,
        threshold=_inside(best_threshold(truth, scores, alike(validation.labels), near=EVEN)),
        temperature=temperature,
        classes=options.class_names,
    )
    probabilities = softmax(logits / temperature, axis=1)
    apart = float(np.abs(load_model(target).all_probabilities(validation.pixels) - probabilities).max())
    if apart > MOST_APART:
        raise ModelError(target, f"gives probabilities that differ by {apart:.3f} from the network's", REPORT)


def add_appearance(target: Path, training: PatchSet, validation: PatchSet) -> None:
    """Write into a model's card how its patients look to it (:class:`ki67.idc.appearance.Appearance`).

    Means and spread come from the training patients, the distance that is usual from the validation patients, whom
    the network never saw: the largest among them, of carcinoma alone and of other tissue alone.

    Parameters
    ----------
    target
        The exported model.
    training, validation
        The patches it was made with.
    """
    model = load_model(target)
    known, unseen = patient_means(model, training), patient_means(model, validation)
    counts = *map(len, known), sum(map(len, unseen))
    if min(counts) < LEAST_PATIENTS:
        message(
            f"the model will not tell a slide unlike its own: that needs {LEAST_PATIENTS} patients or more, with "
            f"{LEAST_PATCHES} patches, in training without and within carcinoma and in validation, found "
            f"{', '.join(map(str, counts))}"
        )
        return
    draft = Appearance.of(*known)
    appearance = Appearance.of(*known, usual=max(draft.distance(mean) for means in unseen for mean in means))
    card = dict(model.card.details) | {
        "appearance": {
            "what": "features averaged over each patient's patches, without and within carcinoma: means and standard "
            "deviation over the training patients; usual: largest distance of a validation patient's, of either kind",
            "patients": {"other": counts[0], "tumour": counts[1]},
            "usual": round(appearance.usual, 3),
            "believable": round(appearance.believable, 3),
            **{
                name: [float(f"{value:.4g}") for value in getattr(appearance, name)]
                for name in ("other", "tumour", "spread")
            },
        }
    }
    write_json(target.with_suffix(".json"), card)


def add_surroundings(target: Path, rows: Sequence[PatchRow], validation: PatchSet) -> None:
    """Let a model listen to the patches around, where their places are known and it tells carcinoma better so.

    Number, reach and weight of the neighbours are those of decision 012.

    Parameters
    ----------
    target
        The exported model; its card is written anew.
    rows, validation
        The validation patches.
    """
    model = load_model(target)
    alone = model.probabilities(validation.pixels).astype(np.float64)
    chosen = replace(AROUND, reach_um=AROUND_PATCHES * model.card.patch_um)
    fields = fit_surroundings(model.card, rows, alone, chosen)
    if fields is None:
        return
    figures = fields["validation"]["with_surroundings"]
    if figures["auc"] > figures["auc_alone"]:
        write_json(target.with_suffix(".json"), dict(model.card.details) | fields)


def fit_surroundings(
    card: ModelCard, rows: Sequence[PatchRow], alone: NDArray[np.float64], chosen: Surroundings
) -> dict[str, Any] | None:
    """Fit scale and threshold of a model that listens to the patches around on the validation patches.

    Parameters
    ----------
    card
        Of the model.
    rows, alone
        The validation patches, and the probability of IDC of each by itself, float64 (N,).
    chosen
        Number, reach and weight of the neighbours; its scale is not looked at.

    Returns
    -------
    dict or None
        Fields of the card; None where a patch's name does not tell its place.
    """
    plain = replace(chosen, scale=1.0)
    found = plain.of_patches(alone, [row.place for row in rows], card.mpp, card.patch_um)
    if found is None:
        return None
    truth = (np.array([row.label for row in rows]) == card.tumour_output).astype(np.int64)
    margins = logit(np.clip(found, 1e-12, 1 - 1e-12))
    scale = 1.0 / fit_temperature(truth, margins)
    scores = expit(scale * margins)
    patients, weights = [row.patient for row in rows], alike([row.label for row in rows])
    figures = {
        "auc": rank_auc(truth, scores),
        "auc_alone": rank_auc(truth, alone),
        "balanced_accuracy_threshold_from_other_patients": cross_fitted_balanced_accuracy(
            truth, scores, patients, weights
        ),
    }
    return {
        "surroundings": asdict(replace(plain, scale=round(scale, 4))),
        "threshold": _inside(best_threshold(truth, scores, weights, near=EVEN)),
        "threshold_alone": card.threshold_alone,
        "validation": card.details["validation"] | {"with_surroundings": figures},
        **_areas(truth, scores, patients),
    }


def _areas(truth: NDArray[np.int64], scores: NDArray[np.float64], patients: Sequence[str]) -> dict[str, Any]:
    """Field of the card that says at which thresholds the right area is called; empty with too few patients."""
    found = area_thresholds(truth, scores, patients)
    return {AREA_THRESHOLDS: [_inside(float(one)) for one in found]} if len(found) >= LEAST_PATIENTS else {}


def patient_means(model: IdcModel, patches: PatchSet) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Mean features, float64 (channels,), without and within carcinoma, of patients with enough such patches."""
    patients = np.array(patches.patients)
    found: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for patient in dict.fromkeys(patches.patients):
        for kind, means in enumerate(found):
            chosen = (patients == patient) & ((patches.labels == model.card.tumour_output) == kind)
            if np.count_nonzero(chosen) >= LEAST_PATCHES:
                means.append(model.features(patches.pixels[chosen])[1].mean(axis=0, dtype=np.float64))
    return found


def _inside(threshold: float) -> float:
    """Round to what a card holds, and keep off 0 and 1, where everything or nothing would be called."""
    return min(0.9999, max(0.0001, round(threshold, 4)))


def make_card(
    training: Sequence[PatchRow],
    validation: Sequence[PatchRow],
    options: TrainingOptions,
    data: str,
    *,
    from_scratch: bool = True,
) -> dict[str, Any]:
    """Return what a card says of architecture, data, split and training."""
    return {
        "name": options.network.model_name,
        "architecture": _architecture(options.network, from_scratch=from_scratch),
        "licence": "research use",
        "data": data,
        "split": {"by": "patient", "training": _count(training), "validation": _count(validation)},
        "probability": "refers to an even share of the classes, as drawn in training",
        "training": {
            "command": f"ki67 idc train PATCHES OUT --architecture {options.network.architecture} "
            f"--epochs {options.epochs}",
            "options": asdict(options),
        },
        "limits": "what the labels do not tell apart, the model does not either",
    }


def _architecture(network: NetworkOptions, *, from_scratch: bool) -> str:
    if network.architecture == IdcArchitecture.efficientnet_lite0:
        begun = "ImageNet weights" if from_scratch else "another model"
        return (
            "EfficientNet-Lite0 (Tan and Le, ICML 2019; no squeeze-and-excitation) on patches enlarged to "
            f"{network.input_px} px; trained on from {begun}"
        )
    return (
        "GoogLeNet Inception v1 (Szegedy et al., CVPR 2015) with batch normalisation, "
        f"first stride {network.stem_stride}, width {network.width:g}; trained "
        f"{'from scratch' if from_scratch else 'on from another model'} with both auxiliary heads, not exported"
    )


def _count(rows: Sequence[PatchRow]) -> dict[str, Any]:
    labels = Counter(row.label for row in rows)
    patients = {row.patient for row in rows}
    return {
        "patients": len(patients),
        "patient_marks": sorted(map(patient_mark, patients)),
        "patches": len(rows),
        "patches_by_label": {str(label): labels[label] for label in sorted(labels)},
    }
