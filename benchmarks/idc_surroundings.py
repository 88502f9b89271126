"""How much the patches around have to say: ``python benchmarks/idc_surroundings.py CV_OUT``.

Number of neighbours, reach and weight are chosen on the training patients, each judged by a network of
``idc_cross_validation.py`` (its OUT is named here) that had not seen them: the highest AUC on their random sample.
Scale and threshold are chosen on the validation patients whenever a model is trained (``ki67 idc train``).
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ki67.evaluation.idc import summarise
from ki67.fields.metrics import best_threshold, cross_fitted_balanced_accuracy, rank_auc
from ki67.fields.patches import INDEX_FILE, PatchRow, read_patches
from ki67.idc import ModelCard, load_model
from ki67.idc.surroundings import Surroundings

NEIGHBOURS = (4, 8, 12, 24)
REACHES_UM = (800.0, 1200.0, 1600.0, 2400.0)
WEIGHTS = (0.5, 0.75, 1.0, 1.5, 2.0)
PRIOR = 1.0
# A difference of AUC that other patients would turn round: the fewest neighbours within it are taken, because on a
# slide they reach least far and a small carcinoma keeps its size.
ALIKE = 0.0005


def informed(
    rows: list[PatchRow], probability: NDArray[np.float64], card: ModelCard, options: Surroundings
) -> NDArray[np.float64]:
    """Log-odds of patches in their surroundings."""
    found = options.of_patches(probability, [row.place for row in rows], card.mpp, card.patch_um)
    if found is None:
        raise SystemExit("the patches' names tell no places")
    return np.asarray(logit(np.clip(found, 1e-12, 1 - 1e-12)))


def out_of_fold(folder: Path, rows: list[PatchRow]) -> NDArray[np.float64]:
    """Probability of each patch by the network that had not seen its patient; NaN where no fold holds it."""
    known: dict[str, float] = {}
    for path in sorted(folder.glob("fold*.npz")):
        stored = np.load(path)
        known |= dict(zip(stored["files"].tolist(), stored["margins"].tolist(), strict=True))
    return np.array([expit(known.get(row.path.name, np.nan)) for row in rows])


def main(folder: Path) -> None:
    """Choose and print."""
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    sample = [row for row in read_patches(root, root / INDEX_FILE) if row.columns["random_sample"] == "1"]
    unseen = out_of_fold(folder, sample)
    training = [place for place, row in enumerate(sample) if row.columns["split"] == "train"]
    training = [place for place in training if not np.isnan(unseen[place])]
    rows, seen = [sample[place] for place in training], unseen[training]
    labels = np.array([row.label for row in rows])
    model = load_model()
    print(f"{len(rows)} patches of {len({row.patient for row in rows})} training patients")
    print(f"alone: AUC {rank_auc(labels, seen):.4f}")
    table: dict[Surroundings, float] = {}
    for neighbours, reach_um, weight in product(NEIGHBOURS, REACHES_UM, WEIGHTS):
        options = Surroundings(neighbours, reach_um, weight, PRIOR, 1.0)
        table[options] = rank_auc(labels, informed(rows, seen, model.card, options))
    for neighbours, reach_um in product(NEIGHBOURS, REACHES_UM):
        line = [f"{table[Surroundings(neighbours, reach_um, weight, PRIOR, 1.0)]:.4f}" for weight in WEIGHTS]
        print(f"{neighbours:2d} neighbours within {reach_um:4.0f} um, weights {WEIGHTS}: {'  '.join(line)}")
    best = max(table.values())
    alike = [options for options, auc in table.items() if auc >= best - ALIKE]
    chosen = min(alike, key=lambda options: (options.neighbours, options.weight, options.reach_um))
    print(f"chosen: {chosen}, AUC {table[chosen]:.4f}, best {best:.4f}")
    held_out(sample, unseen, model.card, chosen)


def held_out(rows: list[PatchRow], unseen: NDArray[np.float64], card: ModelCard, chosen: Surroundings) -> None:
    """Print the cross-validation over all patients, each patch alone and with its neighbours."""
    known = np.flatnonzero(~np.isnan(unseen))
    rows, alone = [rows[place] for place in known], unseen[known]
    labels = np.array([row.label for row in rows])
    patients = np.array([row.patient for row in rows])
    for name, margins in (("alone", logit(alone)), ("with neighbours", informed(rows, alone, card, chosen))):
        figures = summarise(labels, expit(margins), patients, float(expit(best_threshold(labels, margins))))
        auc, balanced = (figures["pooled"][key] for key in ("auc", "balanced_accuracy"))
        low, high = figures["intervals"]["auc"]
        other = cross_fitted_balanced_accuracy(labels, margins, patients)
        print(
            f"cross-validation, {len(set(patients.tolist()))} patients, {name}: AUC {auc:.4f} ({low:.3f}-{high:.3f}),"
        )
        print(f"  balanced accuracy {balanced:.4f}, {other:.4f} at thresholds from other patients")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
