"""Adaptation across a real difference of stain: ``python benchmarks/idc_stain_groups.py OUT``.

All shared patients are grouped by the stain vectors of their patches (Macenko et al., ISBI 2009; k-means). The group
farthest from the others is another laboratory's: a model is trained on the rest, its threshold chosen on a sixth of
their patients, and measured on the group's random sample as it is, after stain normalisation, and adapted with the
group's patches but none of their labels. With ``--turned-round`` it is the other way about: the largest group is the
other laboratory's, and the few patients of odd stain are trained on. One training of five epochs takes ten minutes on
one core, adapting and measuring as long again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from idc_adaptation import by_patient, compare, load, macenko, select
from ki67.fields.patches import INDEX_FILE, read_patches
from ki67.files import write_json
from ki67.idc import load_model
from ki67.learning.idc.checkpoint import options_for
from ki67.learning.idc.recipe import finish, make_card
from ki67.learning.idc.training import PatchSet, train
from ki67.vocabulary import IdcArchitecture

SEED = 2020
PATCHES_FOR_STAIN = 60
CHOOSING_SHARE = 6
MPP = 4.0
# Fewer patients say nothing: k-means also makes groups of a few odd ones.
LEAST_PATIENTS = 10


def stain_groups(patches: PatchSet, groups: int) -> tuple[dict[str, int], NDArray[np.float64]]:
    """Group of each patient by its two stain vectors with their strengths, and the groups' centres, as z-scores."""
    own = by_patient(np.array(patches.patients))
    names = sorted(own)
    stains = np.array([macenko(patches.pixels[own[name][:PATCHES_FOR_STAIN]]).ravel() for name in names])
    scaled = (stains - stains.mean(axis=0)) / stains.std(axis=0)
    found = KMeans(groups, n_init=20, random_state=SEED).fit(scaled)
    return dict(zip(names, found.labels_.tolist(), strict=True)), found.cluster_centers_


def farthest(centres: NDArray[np.float64], sizes: NDArray[np.int64]) -> int:
    """The group whose centre lies farthest from the mean of all other patients.

    Of those large enough to measure, and never the largest: most patients are trained on.
    """
    apart = []
    for group, centre in enumerate(centres):
        if sizes[group] < LEAST_PATIENTS or group == sizes.argmax():
            apart.append(-1.0)
            continue
        others = np.delete(sizes, group)
        rest = (np.delete(centres, group, axis=0) * others[:, None]).sum(axis=0) / others.sum()
        apart.append(float(np.linalg.norm(centre - rest)))
    return int(np.argmax(apart))


def main() -> None:
    """Group, train, adapt, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    shipped = IdcArchitecture.efficientnet_lite0
    parser.add_argument("--architecture", type=IdcArchitecture, default=shipped, choices=list(IdcArchitecture))
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--turned-round", action="store_true", help="hold out the largest group, train on the others")
    parser.add_argument("--dann-steps", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    options = options_for(chosen.architecture, epochs=chosen.epochs)
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    rows = read_patches(root, root / INDEX_FILE)
    patches = load(rows, options.patch_px)
    random = np.array([row.columns["random_sample"] == "1" for row in rows])
    group_of, centres = stain_groups(patches, chosen.groups)
    sizes = np.bincount(list(group_of.values()), minlength=chosen.groups)
    other = int(sizes.argmax()) if chosen.turned_round else farthest(centres, sizes)
    rest = sorted(name for name, group in group_of.items() if group != other)
    choosing = set(np.random.default_rng(SEED).permutation(rest)[: len(rest) // CHOOSING_SHARE].tolist())
    names = np.array(patches.patients)
    elsewhere = np.array([group_of[name] == other for name in names])
    deciding = np.array([name in choosing for name in names])
    training = select(patches, np.flatnonzero(~elsewhere & ~deciding))
    validation = select(patches, np.flatnonzero(deciding & random))
    network = train(training, validation, chosen.out, options)
    target = chosen.out / f"{options.network.model_name}.onnx"
    card = make_card([], [], options, "patients of the other stain groups")
    finish(network, validation, target, card, options, mpp=MPP)
    table = compare(
        load_model(target),
        training,
        select(patches, np.flatnonzero(elsewhere & random)),
        select(patches, np.flatnonzero(elsewhere)),
        chosen.dann_steps,
    )
    result = {"group_sizes": sizes.tolist(), "held_out": int(sizes[other]), "table": table}
    print(f"groups of {sizes.tolist()} patients, the one of {sizes[other]} held out")
    for name, figures in table.items():
        print(f"  {name:16s} AUC {figures['auc']:.4f}  balanced accuracy {figures['balanced_accuracy']:.4f}")
    write_json(chosen.out / "stain_groups.json", result)


if __name__ == "__main__":
    main()
