"""What each part of the IDC recipe is worth: ``python benchmarks/idc_ablations.py OUT [EPOCHS]``.

The shipped recipe and the same with one part taken away, trained on the training patients (five epochs where EPOCHS
is not given: eight minutes each on one core) and measured on the validation patients' random sample, each patch
alone. Nothing is chosen there. Of each difference the 95 % interval over patients is given, drawn from both models'
answers to the same patients; it knows nothing of what another seed would do. A training that is done is not repeated;
another EPOCHS needs another OUT.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from idc_adaptation import by_patient
from ki67.fields.metrics import rank_auc
from ki67.fields.patches import read_patches
from ki67.files import write_json
from ki67.learning.idc.checkpoint import TrainingOptions
from ki67.learning.idc.recipe import INDEX, split_rows
from ki67.learning.idc.training import PatchSet, predict_margins, train

EPOCHS = 5
DRAWS = 1000
SEED = 1


def variants(epochs: int) -> dict[str, TrainingOptions]:
    """The recipe, and the recipe without one of its parts."""
    full = TrainingOptions(epochs=epochs)
    gentle = replace(full.augment, stain_gain=0.0, stain_offset=0.0, stain_vector=0.0)
    return {
        "the recipe": full,
        "without MixUp": replace(full, mixup=0.0),
        "without label smoothing": replace(full, label_smoothing=0.0),
        "without stain augmentation": replace(full, augment=gentle),
    }


def difference(
    labels: NDArray[np.bool_], first: NDArray[np.float64], second: NDArray[np.float64], patients: NDArray[np.str_]
) -> list[float]:
    """95 % interval of the second's AUC less the first's, over draws of patients."""
    own = list(by_patient(patients).values())
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(DRAWS):
        rows = np.concatenate([own[place] for place in rng.integers(0, len(own), len(own))])
        found.append(rank_auc(labels[rows], second[rows]) - rank_auc(labels[rows], first[rows]))
    return np.percentile(found, (2.5, 97.5)).tolist()


def main(out: Path, epochs: int) -> None:
    """Train what is missing, measure, print and write."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    rows = read_patches(root, root / INDEX)
    options = TrainingOptions()
    training, validation = (PatchSet.load(part, options.patch_px) for part in split_rows(rows, root / INDEX))
    labels, patients = validation.labels == options.tumour, np.array(validation.patients)
    margins: dict[str, NDArray[np.float64]] = {}
    figures: dict[str, Any] = {}
    for name, chosen in variants(epochs).items():
        network = train(training, validation, out / name.replace(" ", "-"), chosen)
        margins[name] = np.asarray(predict_margins(network, validation.pixels, tumour=options.tumour), np.float64)
        auc = rank_auc(labels, margins[name])
        low, high = difference(labels, margins["as shipped"], margins[name], patients)
        figures[name] = {"auc": auc, "less_the_recipe_ci95": [low, high]}
        print(f"{name}: AUC {auc:.4f}, less the recipe's {low:+.4f} to {high:+.4f}", flush=True)
        write_json(out / "idc_ablations.json", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else EPOCHS)
