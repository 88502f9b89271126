"""The shipped IDC model against what one could do without a network, on the same split, in one run.

    KI67_DATA=../shared/data python benchmarks/idc_baselines.py OUT.json

* colour: 18 numbers of a patch's colour (per channel: mean, standard deviation, four percentiles), logistic
  regression.
* texture: those, the same of haematoxylin and eosin, local binary patterns at three radii (Ojala et al., IEEE PAMI
  24, 2002) and gradients; 500 extremely randomised trees (Geurts et al., 2006). Nothing in it was learned elsewhere.
* shipped: the model as it comes.

Trained on the training patients, measured on the validation patients' random sample; 95 % intervals over patients.
Needs scikit-image (``pip install scikit-image``), which the program itself does not.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import local_binary_pattern
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ki67.evaluation.idc import summarise
from ki67.fields.metrics import best_threshold
from ki67.fields.patches import load_pixels, read_patches
from ki67.files import write_json
from ki67.idc import load_model

PERCENTILES = (5, 25, 75, 95)
RADII = (1, 2, 4)
POINTS = 8
TREES = 500


def colour(patch: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return 18 numbers of a patch's colour."""
    return channel_numbers(patch.reshape(-1, 3).astype(np.float64))


def channel_numbers(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean, standard deviation and percentiles of each column."""
    return np.concatenate([pixels.mean(0), pixels.std(0), *np.percentile(pixels, PERCENTILES, axis=0)])


def texture(patch: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colour, stains, local binary patterns and gradients."""
    stains = rgb2hed(patch)[..., :2]
    grey = patch.mean(axis=2)
    found = [colour(patch), channel_numbers(stains.reshape(-1, 2))]
    for radius in RADII:
        codes = local_binary_pattern(grey.astype(np.uint8), POINTS, radius, method="uniform")
        found.append(np.bincount(codes.astype(int).ravel(), minlength=POINTS + 2) / codes.size)
    for sigma in (1.0, 2.0):
        edges = ndimage.gaussian_gradient_magnitude(grey, sigma)
        found.append(np.array([edges.mean(), edges.std(), *np.percentile(edges, PERCENTILES)]))
    return np.concatenate(found)


def main(out: Path) -> None:
    """Train, measure, print and write."""
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    rows = read_patches(root, root / "index.csv")
    training = [row for row in rows if row.columns["split"] == "train"]
    test = [row for row in rows if row.columns["split"] == "val" and row.columns["random_sample"] == "1"]
    model = load_model()
    edge = model.card.patch_px
    pixels, held_out = load_pixels(training, edge), load_pixels(test, edge)
    labels = np.array([row.label for row in training])
    truth = np.array([row.label for row in test], dtype=np.int64)
    patients = np.array([row.patient for row in test])
    fits = {
        "colour": (colour, make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))),
        "texture": (
            texture,
            ExtraTreesClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=0),
        ),
    }
    scores: dict[str, tuple[NDArray[np.float64], float]] = {}
    for name, (features, classifier) in fits.items():
        start = time.monotonic()
        classifier.fit(np.stack([features(patch) for patch in pixels]), labels)
        found = classifier.predict_proba(np.stack([features(patch) for patch in held_out]))[:, 1]
        scores[name] = found, best_threshold(truth, found)
        print(f"{name}: {time.monotonic() - start:.0f} s")
    scores["shipped"] = model.probabilities(held_out).astype(np.float64), model.card.threshold_alone
    result = {}
    for name, (values, threshold) in scores.items():
        figures = summarise(truth, values, patients, threshold)
        pooled, intervals = figures["pooled"], figures["intervals"]
        result[name] = {key: [pooled[key], intervals[key]] for key in ("auc", "balanced_accuracy")}
        print(name, {key: (round(v, 4), [round(x, 3) for x in i]) for key, (v, i) in result[name].items()})
    write_json(out, result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
