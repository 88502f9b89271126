"""The shipped recipe of the IDC model over all shared patients: five trainings, each patient held out once.

    KI67_DATA=../shared/data python benchmarks/idc_cross_validation.py OUT [EPOCHS [ARCHITECTURE]]

Ten epochs of the shipped architecture unless told otherwise: an hour on one core for each training; one that was cut
short is continued, one that is done is not repeated. Nothing is chosen on the held-out patients but, where it says
so, the threshold. AUC and balanced accuracy are those of the patients' random sample, whose share of IDC is the true
one, each patch alone; 95 % intervals over patients. With the patches' neighbours: ``idc_surroundings.py``, which
reads what is written here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from ki67.evaluation.idc import summarise
from ki67.fields.metrics import best_threshold, cross_fitted_balanced_accuracy, rank_auc
from ki67.fields.patches import PatchRow, read_patches
from ki67.files import atomic_path, write_json
from ki67.learning.idc.checkpoint import options_for
from ki67.learning.idc.recipe import INDEX
from ki67.learning.idc.training import PatchSet, predict_margins, train
from ki67.vocabulary import IdcArchitecture

SHIPPED = IdcArchitecture.efficientnet_lite0
EPOCHS = 10
FOLDS = 5
SEED = 2020


def folds_of(rows: list[PatchRow]) -> dict[str, int]:
    """Fold of each patient: a seeded draw, folds of the same size."""
    names = sorted({row.patient for row in rows})
    order = np.random.default_rng(SEED).permutation(len(names))
    return {names[place]: number % FOLDS for number, place in enumerate(order)}


def main(out: Path, epochs: int = EPOCHS, architecture: str = SHIPPED.value) -> None:
    """Train what is missing, measure, print and write."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    rows = read_patches(root, root / INDEX)
    fold = folds_of(rows)
    options = options_for(IdcArchitecture(architecture), epochs=epochs)
    parts = []
    for number in range(FOLDS):
        held_out = [row for row in rows if fold[row.patient] == number and row.columns["random_sample"] == "1"]
        kept = [row for row in rows if fold[row.patient] != number]
        patches = PatchSet.load(held_out, options.patch_px)
        network = train(PatchSet.load(kept, options.patch_px), patches, out / f"fold{number}", options)
        margins = predict_margins(network, patches.pixels, tumour=options.tumour)
        parts.append((patches.labels == options.tumour, margins, np.array(patches.patients)))
        files = np.array([row.path.name for row in held_out])
        with atomic_path(out / f"fold{number}.npz") as path:
            np.savez(path, margins=margins, files=files)
        print(f"fold {number}: AUC {rank_auc(parts[-1][0], margins):.4f}, {len(margins)} patches", flush=True)
    truth, margins, patients = (np.concatenate(values) for values in zip(*parts, strict=True))
    labels = truth.astype(np.int64)
    figures = summarise(labels, expit(margins), patients, float(expit(best_threshold(truth, margins))))
    figures["fold_auc"] = [rank_auc(labels, values) for labels, values, _ in parts]
    figures["balanced_accuracy_threshold_from_other_patients"] = cross_fitted_balanced_accuracy(
        truth, margins, patients
    )
    del figures["per_patient"]
    write_json(out / "cross_validation.json", figures)
    for key in ("auc", "balanced_accuracy"):
        low, high = figures["intervals"][key]
        print(f"{key} {figures['pooled'][key]:.4f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:4])
