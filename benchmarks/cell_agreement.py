"""Whether what a network finds again tells how right it is: ``python benchmarks/cell_agreement.py OUT``.

Labelled fields that the networks have not learnt from (KI67_DATA/ki67_cells), as they are and changed in nuclear size
and stain density, are judged by :func:`ki67.cells.checks.agreement.agreement_on`, and the same nuclei compared with
the labels. ``--model NAME=FILE.onnx`` adds a network (its card beside it says what it has learnt from); the shipped
one is always judged. One line a field in OUT/fields.csv, fields that are done are not done again; prints Spearman's
correlation with the F1 and a table by found-again share.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

from cells_network import patient, training_sets, validation_sets
from ki67.cells.channels import WORKING_MPP
from ki67.cells.checks.agreement import LEAST_IN_SQUARE, agreement_on
from ki67.cells.engine import NetworkEngine
from ki67.cells.network import SHIPPED_NETWORK, STRIDE, load_network, maps_of, transmitted
from ki67.cells.peaks import find_peaks, tumour_labels
from ki67.cells.sampling import sample_slide
from ki67.cells.stains import estimate_stains
from ki67.fields.matching import count_matches
from ki67.learning.cells.cross_validation import GroupedField
from ki67.learning.cells.recipe import read_labels
from ki67.progress import configure, track
from ki67.vocabulary import CLASSES, NEGATIVE, POSITIVE

SHIFTS = ((1.0, 1.0), (0.7, 1.0), (1.4, 1.0), (1.0, 0.5), (1.0, 1.8))
"""Nuclear size and optical density of the fields."""

MOST_PX = 1000
LEAST_LABELLED = 30
BINS = (0.0, 0.8, 0.84, 0.88, 0.91, 0.94, 1.01)
COLUMNS = ("model", "group", "field", "size", "density", "found_again", "f1", "index_off")


def shifted(
    rgb: NDArray[np.uint8], background: tuple[float, float, float], size: float, density: float
) -> NDArray[np.uint8]:
    """Pixels as of another scanner: optical density times a factor, then resized."""
    ground = np.array(background)
    light = np.clip(rgb / ground, 1e-3, 1.0) ** density * ground
    picture = np.clip(light.round(), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA), np.uint8)


def judged(
    one: GroupedField, engine: NetworkEngine, size: float, density: float
) -> tuple[float, float, float] | None:
    """Found-again share, F1 over both classes, and points that the index is off; None with few labelled cells."""
    with one.field.open() as slide:
        background = estimate_stains(sample_slide(slide, None).pixels).background_rgb
        whole = slide.read(slide.bounds_um, WORKING_MPP)[:MOST_PX, :MOST_PX]
    rgb = shifted(np.ascontiguousarray(whole), background, size, density)
    share = agreement_on(engine, rgb, background).share
    peaks = find_peaks(maps_of(transmitted(rgb, background), engine.model.run))
    label = tumour_labels(peaks.values, engine.card.positive_threshold, engine.card.negative_threshold)
    centres = np.column_stack([peaks.x_px, peaks.y_px]) * STRIDE * WORKING_MPP / size
    can = one.field.can_judge(centres, one.radius_um)
    limit = np.array(whole.shape[1::-1]) * WORKING_MPP
    hits, found, gold = [], [], []
    for number in (POSITIVE, NEGATIVE):
        truth = one.field.points[CLASSES[number]]
        truth = truth[(truth < limit).all(axis=1)]
        own = centres[can & (label == number)]
        hits.append(count_matches(truth, own, one.radius_um))
        found.append(len(own))
        gold.append(len(truth))
    if sum(gold) < LEAST_LABELLED or sum(found) < LEAST_IN_SQUARE or share is None:
        return None
    off = 100 * abs(found[0] / sum(found) - gold[0] / sum(gold))
    return share, 2 * sum(hits) / (sum(found) + sum(gold)), off


def main(out: Path, models: dict[str, Path]) -> None:
    """Judge, and print."""
    configure(quiet=False)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "fields.csv"
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = {tuple(row[name] for name in COLUMNS[:5]): row for row in csv.DictReader(stream)}
    sets = [chosen for chosen in (*training_sets(Path()), *validation_sets()) if chosen.layout != "simulated"]
    fields = read_labels(sets, patient)
    for name, file in models.items():
        engine = NetworkEngine(load_network(file))
        learnt = set(engine.card.details["fields"])
        unseen = [one for one in fields if f"{one.group}/{one.field.name}" not in learnt]
        for one in track(unseen, f"Judging with {name}", len(unseen)):
            for size, density in SHIFTS:
                key = (name, one.group, one.field.name, str(size), str(density))
                result = None if key in rows else judged(one, engine, size, density)
                if result is not None:
                    rows[key] = dict(zip(COLUMNS, (*key, *(f"{value:.4f}" for value in result)), strict=True))
            with path.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows.values())
    share, f1, off = (np.array([float(row[name]) for row in rows.values()]) for name in COLUMNS[5:])
    with_f1, with_error = spearmanr(share, f1)[0], spearmanr(share, off)[0]
    print(f"{len(rows)} fields; Spearman with F1 {with_f1:.2f}, with |index off| {with_error:.2f}")
    print("found again   fields   F1 mean, 10th-90th percentile   index off, mean, 90th percentile")
    for low, high in itertools.pairwise(BINS):
        own = (share >= low) & (share < high)
        if own.any():
            ends = np.quantile(f1[own], (0.1, 0.9))
            errors = f"{off[own].mean():.1f}, {np.quantile(off[own], 0.9):.1f}"
            right = f"{f1[own].mean():.2f} ({ends[0]:.2f}-{ends[1]:.2f})"
            print(f"{low:.2f}-{min(high, 1):.2f}   {own.sum():4d}   {right}   {errors}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", default=[], help="NAME=FILE.onnx")
    options = parser.parse_args()
    named = dict(text.split("=", 1) for text in options.model)
    main(options.out, {"shipped": SHIPPED_NETWORK} | {name: Path(file) for name, file in named.items()})
