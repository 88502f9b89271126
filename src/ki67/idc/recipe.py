"""The whole way from labelled patches to a model that can be shipped (training only).

    python -m ki67.idc.recipe PATCHES OUT

reads ``PATCHES/index.csv`` (columns ``patient``, ``label``, ``file``, ``split``: ``train`` or ``val``, and perhaps
``random_sample``), trains in ``OUT`` or goes on with what is there, chooses temperature and threshold on the
validation patients and writes ``OUT/idc_inception_v1.onnx`` with its card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ki67.errors import DataSetError
from ki67.idc.dataset import PatchRow, read_patches
from ki67.idc.export import export
from ki67.idc.metrics import best_threshold, cross_fitted_balanced_accuracy, fit_temperature, rank_auc
from ki67.idc.network import InceptionV1
from ki67.idc.training import PatchSet, TrainingOptions, predict_margins, train
from ki67.progress import configure

MODEL_FILE = "idc_inception_v1.onnx"
PUBLIC_SET_MPP = 4.0
"""Estimated pixel size of the public patches: fat cells are 14 to 16 px across (60 µm); not the authors' word."""

PUBLIC_SET = (
    "IDC_regular_ps50_idx5 (Cruz-Roa et al., SPIE 9041, 2014; Janowczyk and Madabhushi, J Pathol Inform 7:29, "
    "2016), a part of it; labels from coarse outlines, no DCIS class"
)


def train_model(
    directory: str | Path, out: str | Path, options: TrainingOptions | None = None, *, mpp: float = PUBLIC_SET_MPP
) -> Path:
    """Train on labelled patches, calibrate, and export.

    Parameters
    ----------
    directory
        Patches with their ``index.csv``.
    out
        Folder for the training and the model; a training found there is continued.
    options
        None takes the recipe of the shipped model.
    mpp
        µm per pixel of the patches.

    Returns
    -------
    pathlib.Path
        The ONNX file; its card lies beside it.

    Raises
    ------
    DataSetError
        Where the index lacks the column ``split``, or a split is empty or of one class.
    """
    used = TrainingOptions() if options is None else options
    rows = read_patches(directory, Path(directory) / "index.csv")
    training, validation = split_rows(rows, Path(directory) / "index.csv")
    patches = PatchSet.load(validation, used.patch_px)
    network = train(PatchSet.load(training, used.patch_px), patches, out, used)
    target = Path(out) / MODEL_FILE
    finish(network, patches, target, _card(training, validation, used), patch_px=used.patch_px, mpp=mpp)
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
        Where the column is missing or a split is empty.
    """
    training = [row for row in rows if row.columns.get("split") == "train"]
    validation = [
        row for row in rows if row.columns.get("split") == "val" and row.columns.get("random_sample", "1") == "1"
    ]
    for name, chosen in (("train", training), ("val", validation)):
        if not chosen:
            raise DataSetError(index, f"has no rows with split = {name}", "Split the patients into train and val.")
    return training, validation


def finish(
    network: InceptionV1, validation: PatchSet, target: Path, card: dict[str, Any], *, patch_px: int, mpp: float
) -> None:
    """Choose temperature and threshold on the validation patches and export the model with its card.

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
    patch_px, mpp
        Of the input.
    """
    margins = predict_margins(network, validation.pixels)
    temperature = fit_temperature(validation.labels, margins)
    scores = 1.0 / (1.0 + np.exp(-margins / temperature))
    turned = predict_margins(network, validation.pixels, flips=True)
    choices = {
        "chosen_on": "validation patches; temperature: cross-entropy, classes weighing the same; threshold: "
        "highest balanced accuracy",
        "balanced_accuracy_threshold_from_other_patients": cross_fitted_balanced_accuracy(
            validation.labels, margins, validation.patients
        ),
        "auc": rank_auc(validation.labels, margins),
        "auc_eight_views": rank_auc(validation.labels, turned),
    }
    export(
        network,
        target,
        card | {"validation": choices},
        patch_px=patch_px,
        mpp=mpp,
        threshold=round(best_threshold(validation.labels, scores), 4),
        temperature=temperature,
    )


def _card(training: Sequence[PatchRow], validation: Sequence[PatchRow], options: TrainingOptions) -> dict[str, Any]:
    return {
        "name": "idc_inception_v1",
        "architecture": "GoogLeNet Inception v1 (Szegedy et al., CVPR 2015) with batch normalisation, "
        f"first stride {options.network.stem_stride}, width {options.network.width:g}; trained from scratch with "
        "both auxiliary heads, which are not exported",
        "licence": "research use",
        "data": PUBLIC_SET,
        "split": {
            "by": "patient",
            "training_patients": len({row.patient for row in training}),
            "training_patches": len(training),
            "validation_patients": len({row.patient for row in validation}),
            "validation_patches": len(validation),
        },
        "probability": "refers to an even share of both classes, as drawn in training",
        "training": {"command": "python -m ki67.idc.recipe PATCHES OUT", "options": asdict(options)},
        "limits": "pixel size of the data is an estimate; DCIS, edges and fat inside tumour are not labelled apart",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ki67.idc.recipe", description=train_model.__doc__)
    parser.add_argument("patches", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=TrainingOptions().epochs)
    parser.add_argument("--threads", type=int, default=None)
    chosen = parser.parse_args(arguments)
    configure(quiet=False)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    train_model(chosen.patches, chosen.out, TrainingOptions(epochs=chosen.epochs))


if __name__ == "__main__":
    main()
