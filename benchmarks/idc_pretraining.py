"""Does pre-training without labels help? ``python benchmarks/idc_pretraining.py OUT [BEFORE] [AFTER]``.

First the training patients' patches without their labels, BEFORE epochs (six where not given; three minutes each on
one core): two changed views of a patch must look alike to the network, patches must not (VICReg: Bardes, Ponce and
LeCun, ICLR 2022). Then the recipe with labels, AFTER epochs (three), from those weights and from random ones. AUC on
the validation patients' random sample, each patch alone, and the interval of the difference over draws of patients.
No weights are downloaded. What is done is not repeated.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from idc_ablations import difference
from ki67.fields.metrics import rank_auc
from ki67.fields.patches import read_patches
from ki67.files import write_json
from ki67.learning.checkpoints import load_checkpoint, save_checkpoint
from ki67.learning.idc.augment import AugmentOptions, augment
from ki67.learning.idc.checkpoint import TrainingOptions
from ki67.learning.idc.network import InceptionV1, normalise
from ki67.learning.idc.recipe import INDEX, split_rows
from ki67.learning.idc.training import PatchSet, predict_margins, rate_at, train
from ki67.progress import configure, track

BEFORE, AFTER = 6, 3
VIEWS = AugmentOptions(
    stain_gain=0.5, stain_offset=0.1, stain_vector=0.08, affine_share=1.0, scale=1.6, blur_share=0.4
)
"""Views differ more than patches in training do: what stays the same in them is to be the tissue."""

EXPANDED = 512
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms, the paper's."""


class Expander(nn.Sequential):
    """From the network's features to those that are compared."""

    def __init__(self, inputs: int) -> None:
        super().__init__(
            nn.Linear(inputs, EXPANDED),
            nn.BatchNorm1d(EXPANDED),
            nn.ReLU(inplace=True),
            nn.Linear(EXPANDED, EXPANDED),
        )


def vicreg(one: Tensor, other: Tensor) -> Tensor:
    """Loss of two views' features (N, D), equations 1 to 6 of the paper."""
    loss = INVARIANCE * functional.mse_loss(one, other)
    for view in (one, other):
        centred = view - view.mean(dim=0)
        spread = torch.sqrt(centred.var(dim=0) + 1e-4)
        covariance = centred.T @ centred / (len(view) - 1)
        apart = covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()
        loss = loss + VARIANCE / 2 * functional.relu(1 - spread).mean() + COVARIANCE * apart / view.shape[1]
    return loss


def pretrain(pixels: np.ndarray, path: Path, options: TrainingOptions) -> InceptionV1:
    """The network after pre-training on patches (N, H, H, 3); goes on from the last whole epoch."""
    torch.manual_seed(options.seed)
    network = InceptionV1(options.network).to(memory_format=torch.channels_last)
    expander = Expander(network.head.in_features)
    parameters = [*network.parameters(), *expander.parameters()]
    optimiser = torch.optim.AdamW(parameters, options.learning_rate, weight_decay=options.weight_decay)
    parts = {"network": network, "expander": expander, "optimiser": optimiser}
    first = 0
    if path.exists():
        stored = load_checkpoint(path, [*parts, "epoch"])
        first = stored.pop("epoch")
        for name, state in stored.items():
            parts[name].load_state_dict(state)
    for epoch in range(first, options.epochs):
        generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        drawn = torch.randperm(len(pixels), generator=generator)[: options.steps_per_epoch * options.batch]
        losses = []
        network.train()
        steps = drawn.reshape(-1, options.batch)
        for step, chosen in enumerate(track(steps, f"Without labels, epoch {epoch + 1}", len(steps))):
            for group in optimiser.param_groups:
                group["lr"] = rate_at(epoch * options.steps_per_epoch + step, options)
            patches = torch.from_numpy(pixels[chosen.numpy()])
            views = torch.cat([normalise(augment(patches, VIEWS, generator)) for _ in range(2)])
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
                found = network.features(views.contiguous(memory_format=torch.channels_last))
            loss = vicreg(*expander(found.float()).chunk(2))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        print(f"without labels, epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)
        save_checkpoint(path, {name: part.state_dict() for name, part in parts.items()} | {"epoch": epoch + 1})
    return network


def main(out: Path, before: int, after: int) -> None:
    """Pre-train, train twice, measure, print and write."""
    configure(quiet=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    out.mkdir(parents=True, exist_ok=True)
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    options = TrainingOptions(epochs=after)
    rows = read_patches(root, root / INDEX)
    training, validation = (PatchSet.load(part, options.patch_px) for part in split_rows(rows, root / INDEX))
    labels, patients = validation.labels == options.tumour, np.array(validation.patients)
    start = pretrain(training.pixels, out / "pretrained.pt", replace(options, epochs=before, learning_rate=1e-3))
    found = {}
    for name, weights in (("random", None), ("pretrained", start)):
        network = train(training, validation, out / name, options, start=weights)
        found[name] = np.asarray(predict_margins(network, validation.pixels, tumour=options.tumour), np.float64)
        print(f"{name}: AUC {rank_auc(labels, found[name]):.4f}", flush=True)
    low, high = difference(labels, found["random"], found["pretrained"], patients)
    print(f"pretrained less random: {low:+.4f} to {high:+.4f}")
    figures = {name: rank_auc(labels, margins) for name, margins in found.items()}
    write_json(
        out / "idc_pretraining.json", figures | {"difference_ci95": [low, high], "before": before, "after": after}
    )


if __name__ == "__main__":
    before, after = (int(value) for value in [*sys.argv[2:4], *(str(BEFORE), str(AFTER))[len(sys.argv[2:4]) :]])
    main(Path(sys.argv[1]), before, after)
