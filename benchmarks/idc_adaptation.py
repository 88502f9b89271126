"""What adaptation without labels does for the shipped model: real and simulated differences of stain, in one run.

    KI67_DATA=../shared/data python benchmarks/idc_adaptation.py OUT.json [--dann-steps 300]

* Real: of the validation patients, the third whose stain lies farthest from the training patients' (mean optical
  density per colour, in standard deviations of the training patients). Their own patches, without labels, are what
  is adapted to.
* Simulated: all validation patients as another laboratory would have stained and scanned them: eosin half as
  strong, haematoxylin stronger and redder.

Measured on the random sample: AUC, and balanced accuracy at the model's own threshold, with no adaptation, after
stain normalisation (Macenko et al., ISBI 2009, per patient), and adapted by AdaBN and DANN.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ki67.fields.metrics import rank_auc
from ki67.fields.patches import PatchRow, load_pixels, read_patches
from ki67.files import write_json
from ki67.idc import IdcModel, load_model
from ki67.learning.idc.adaptation import AdaptOptions, adapt_adversarial, adapt_statistics, load_network
from ki67.learning.idc.augment import HE_STAINS
from ki67.learning.idc.network import InceptionV1
from ki67.learning.idc.training import PatchSet, predict_margins

LIGHTEST = 0.15
"""Optical density from which pixels count as stained (Macenko et al. 2009)."""

EXTREME_PERCENT = 1.0
STRENGTH_PERCENT = 99.0
SHIFT = np.array([[0.72, 0.65, 0.22], [0.15, 0.95, 0.28], HE_STAINS[2]])
SHIFT_GAIN = np.array([1.25, 0.5, 1.0])

Pixels = NDArray[np.uint8]


def density_of(pixels: Pixels) -> NDArray[np.float64]:
    """Optical density per pixel and colour, (M, 3)."""
    return np.asarray(-np.log(np.maximum(pixels.reshape(-1, 3), 1) / 255.0))


def restain(pixels: Pixels, stains: NDArray[np.float64], new: NDArray[np.float64]) -> Pixels:
    """Replace stain vectors (rows) by others, keeping the amounts."""
    amounts = density_of(pixels) @ np.linalg.pinv(stains)
    colour = 255.0 * np.exp(-(amounts @ new))
    return np.clip(colour, 0, 255).astype(np.uint8).reshape(pixels.shape)


def macenko(pixels: Pixels) -> NDArray[np.float64]:
    """Haematoxylin and eosin of some patches as vectors whose length is their strength, (2, 3)."""
    density = density_of(pixels)
    stained = density[(density > LIGHTEST).all(axis=1)]
    stained = stained if len(stained) > 100 else density
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, :0:-1]
    plane *= np.sign(plane.sum(axis=0))
    angles = np.arctan2(stained @ plane[:, 1], stained @ plane[:, 0])
    ends = np.percentile(angles, [EXTREME_PERCENT, 100 - EXTREME_PERCENT])
    vectors = np.stack([plane @ [np.cos(end), np.sin(end)] for end in ends])
    vectors = vectors[np.argsort(-vectors[:, 0])]  # haematoxylin takes more red light
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.percentile(stained @ np.linalg.pinv(vectors), STRENGTH_PERCENT, axis=0)
    return np.asarray(vectors * np.maximum(strength, LIGHTEST)[:, None])


def by_patient(patients: NDArray[np.str_]) -> dict[str, NDArray[np.int64]]:
    """Places of each patient's patches."""
    return {str(name): np.flatnonzero(patients == name) for name in np.unique(patients)}


def mean_density(pixels: Pixels, patients: NDArray[np.str_]) -> dict[str, NDArray[np.float64]]:
    """Mean optical density of each patient's stained pixels, (3,)."""
    found = {}
    for name, own in by_patient(patients).items():
        density = density_of(pixels[own])
        found[name] = density[density.sum(axis=1) > 3 * LIGHTEST].mean(axis=0)
    return found


def measure(network: InceptionV1, model: IdcModel, pixels: Pixels, labels: NDArray[np.int64]) -> dict[str, float]:
    """AUC, and balanced accuracy at the model's own threshold."""
    margins = predict_margins(network, pixels)
    called = expit(margins / model.card.details["temperature"]) >= model.card.threshold_alone
    balanced = (called[labels == 1].mean() + (~called[labels == 0]).mean()) / 2
    return {"auc": round(rank_auc(labels, margins), 4), "balanced_accuracy": round(float(balanced), 4)}


def compare(
    model: IdcModel, training: PatchSet, test: PatchSet, unlabelled: PatchSet, steps: int
) -> dict[str, dict[str, float]]:
    """Measure every way on ``test``; ``unlabelled`` is what may be looked at, without its labels."""
    rows = {"none": measure(load_network(model), model, test.pixels, test.labels)}
    reference = macenko(training.pixels[:: max(1, len(training.pixels) // 600)])
    normalised = test.pixels.copy()
    own = by_patient(np.array(unlabelled.patients))
    for name, places in by_patient(np.array(test.patients)).items():
        normalised[places] = restain(test.pixels[places], macenko(unlabelled.pixels[own[name]][:200]), reference)
    rows["macenko"] = measure(load_network(model), model, normalised, test.labels)
    for mix in (0.3, 0.6, 1.0):
        network = load_network(model)
        adapt_statistics(network, unlabelled.pixels, mix=mix)
        rows[f"adabn, mix {mix}"] = measure(network, model, test.pixels, test.labels)
    if steps:
        network = load_network(model)
        adapt_adversarial(network, training, unlabelled.pixels, AdaptOptions("dann", steps=steps))
        rows["dann"] = measure(network, model, test.pixels, test.labels)
    return rows


def select(patches: PatchSet, chosen: NDArray[np.int64]) -> PatchSet:
    """Some of the patches."""
    names = np.array(patches.patients)[chosen]
    return PatchSet(patches.pixels[chosen], patches.labels[chosen], tuple(names.tolist()))


def load(rows: list[PatchRow], edge: int) -> PatchSet:
    """Read rows."""
    labels = np.array([row.label for row in rows], dtype=np.int64)
    return PatchSet(load_pixels(rows, edge), labels, tuple(row.patient for row in rows))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--dann-steps", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    rows = read_patches(root, root / "index.csv")
    model = load_model(chosen.model)
    training = load([row for row in rows if row.columns["split"] == "train"], model.card.patch_px)
    sampled = [row.columns["random_sample"] == "1" for row in rows if row.columns["split"] == "val"]
    validation = load([row for row in rows if row.columns["split"] == "val"], model.card.patch_px)
    known = mean_density(training.pixels, np.array(training.patients))
    center, spread = np.mean(list(known.values()), axis=0), np.std(list(known.values()), axis=0)
    distance = {
        name: float(np.linalg.norm((value - center) / spread))
        for name, value in mean_density(validation.pixels, np.array(validation.patients)).items()
    }
    far = set(sorted(distance, key=lambda name: -distance[name])[: len(distance) // 3])
    is_far = np.array([name in far for name in validation.patients])
    random = np.array(sampled)
    stains = np.array(HE_STAINS) / np.linalg.norm(HE_STAINS, axis=1, keepdims=True)
    other = SHIFT / np.linalg.norm(SHIFT, axis=1, keepdims=True) * SHIFT_GAIN[:, None]
    shifted = PatchSet(restain(validation.pixels, stains, other), validation.labels, validation.patients)
    result = {
        "all validation patients, as they are": {
            "none": measure(load_network(model), model, validation.pixels[random], validation.labels[random])
        },
        f"the {len(far)} validation patients farthest in stain": compare(
            model,
            training,
            select(validation, np.flatnonzero(random & is_far)),
            select(validation, np.flatnonzero(is_far)),
            chosen.dann_steps,
        ),
        "all validation patients, restained": compare(
            model, training, select(shifted, np.flatnonzero(random)), shifted, chosen.dann_steps
        ),
    }
    for group, table in result.items():
        print(group)
        for name, figures in table.items():
            print(f"  {name:16s} AUC {figures['auc']:.4f}  balanced accuracy {figures['balanced_accuracy']:.4f}")
    write_json(chosen.out, result)


if __name__ == "__main__":
    main()
