"""Training of the IDC network: seeded, resumable after every epoch, logged as CSV.

The recipe: every epoch draws patches with both classes and all patients in balance; stain augmentation in optical
density, flips, turns and scale; label smoothing and mixed patches (MixUp) against the coarse outlines the labels come
from; AdamW with a warm-up and a cosine; an exponential average of the weights, which is what is kept.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ki67.errors import DataSetError
from ki67.files import atomic_path, write_json
from ki67.idc.augment import AugmentOptions, augment
from ki67.idc.dataset import PatchRow, load_pixels
from ki67.idc.metrics import best_threshold, fit_temperature, rank_auc
from ki67.idc.network import InceptionV1, NetworkOptions, normalise
from ki67.progress import message, track

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary head's loss (Szegedy et al. 2015, section 5)."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    epochs, patches_per_epoch, batch
        Length of the training; patches are drawn anew for each epoch.
    learning_rate, weight_decay, warmup
        AdamW; the rate climbs over the share ``warmup`` of all steps and then follows a cosine to zero.
    label_smoothing, mixup
        Share of the label given to all classes alike; parameter of the Beta distribution two patches are mixed by
        (Zhang et al., ICLR 2018; 0 turns it off).
    average_decay
        Decay of the exponential average of the weights, per step.
    balance_power
        A patch is drawn with a weight of 1 / (patches of its patient and class) ** this: 0 lets large patients
        dominate, 1 gives every patient the same say.
    teacher_share
        Share of each target that is the probability the network started from gives the patch, in place of the label
        (self-distillation: Furlanello et al., "Born-again neural networks", ICML 2018); 0 takes labels alone.
    patience
        Stop after this many epochs without a better validation AUC and keep the best; 0 runs to the end and keeps
        the last, which makes no choice on the validation patients at all.
    precision
        ``bfloat16`` or ``float32`` for the convolutions.
    seed
        Of everything random.
    """

    epochs: int = 18
    patches_per_epoch: int = 11_000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.08
    label_smoothing: float = 0.1
    mixup: float = 0.2
    average_decay: float = 0.998
    balance_power: float = 0.5
    teacher_share: float = 0.0
    patience: int = 0
    precision: str = "bfloat16"
    seed: int = 2020
    patch_px: int = 50
    network: NetworkOptions = field(default_factory=NetworkOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        return max(1, self.patches_per_epoch // self.batch)


@dataclass(frozen=True, slots=True)
class PatchSet:
    """Patches in memory: ``pixels`` uint8 (N, H, H, 3), ``labels`` int64 (N,), ``patients`` (N,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]

    def targets(self, classes: int) -> NDArray[np.float32]:
        """Labels as float32 (N, classes), 1 in the label's place."""
        return np.eye(classes, dtype=np.float32)[self.labels]

    @classmethod
    def load(cls, rows: Sequence[PatchRow], patch_px: int) -> PatchSet:
        """Read the pixels of labelled patches."""
        labels = np.array([row.label for row in rows], dtype=np.int64)
        return cls(load_pixels(rows, patch_px), labels, tuple(row.patient for row in rows))


@dataclass(slots=True)
class TrainingState:
    """What a checkpoint holds."""

    network: InceptionV1
    average: InceptionV1
    optimiser: torch.optim.AdamW
    epoch: int = 0
    best_auc: float = -1.0
    epochs_since_best: int = 0


def train(
    training: PatchSet,
    validation: PatchSet,
    directory: str | Path,
    options: TrainingOptions,
    *,
    start: InceptionV1 | None = None,
) -> InceptionV1:
    """Train a network, or go on with a training that was cut short.

    Parameters
    ----------
    training, validation
        Patches; no patient may be in both.
    directory
        Where checkpoint, log and options go; a checkpoint found there with the same options is continued.
    options
        How to train.
    start
        Network whose weights the training starts from, and the teacher where ``teacher_share`` is set; None starts
        from random weights.

    Returns
    -------
    InceptionV1
        The averaged network: the last one, or the best on the validation patches where ``patience`` is set.

    Raises
    ------
    DataSetError
        Where the patients overlap, a class is absent, or the folder holds a training with other options.
    ValueError
        Where a teacher is asked for and no network to start from is given.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    _check(training, validation, folder)
    targets = _targets(training, options, start)
    state = _resume(folder, options, start)
    while state.epoch < options.epochs and not _exhausted(state, options):
        loss = _run_epoch(state, training, targets, options)
        state.epoch += 1
        scores = predict_margins(state.average, validation.pixels)
        auc = rank_auc(validation.labels, scores)
        _remember_best(state, auc, folder)
        _log(folder, state.epoch, loss, auc, scores, validation.labels)
        _save(state, folder, options)
    if options.patience:
        state.average.load_state_dict(_load(folder / "best.pt")["average"])
    return state.average.eval()


def predict_margins(
    network: InceptionV1, pixels: NDArray[np.uint8], *, flips: bool = False, batch: int = 256
) -> NDArray[np.float64]:
    """Logit of class 1 minus logit of class 0 for each patch.

    Parameters
    ----------
    network
        Network, put into evaluation mode.
    pixels
        uint8 RGB (N, H, H, 3).
    flips
        Average over the eight symmetries of the square.
    batch
        Patches at a time.

    Returns
    -------
    numpy.ndarray
        float64 (N,).
    """
    network.eval()
    device = next(network.parameters()).device
    margins: list[NDArray[np.float64]] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            patches = torch.from_numpy(pixels[start : start + batch]).to(device)
            views = _symmetries(patches) if flips else [patches]
            logits = torch.stack([network(_channels_last(normalise(view))) for view in views]).mean(dim=0)
            margins.append((logits[:, 1] - logits[:, 0]).double().cpu().numpy())
    return np.concatenate(margins)


def _symmetries(patches: Tensor) -> list[Tensor]:
    turned = [torch.rot90(patches, count, (1, 2)) for count in range(4)]
    return turned + [view.flip(2) for view in turned]


def _channels_last(images: Tensor) -> Tensor:
    # Convolutions run twice as fast in this layout on a CPU.
    return images.contiguous(memory_format=torch.channels_last)


def _check(training: PatchSet, validation: PatchSet, folder: Path) -> None:
    shared = set(training.patients) & set(validation.patients)
    if shared:
        raise DataSetError(
            folder, f"patient {min(shared)} is in training and validation", "Split the patches by patient."
        )
    for name, patches in (("training", training), ("validation", validation)):
        if len(set(patches.labels.tolist())) < 2:
            raise DataSetError(folder, f"the {name} patches are all of one class", "Both classes are needed.")


def _targets(training: PatchSet, options: TrainingOptions, start: InceptionV1 | None) -> Tensor:
    """Targets (N, classes): the labels, moved towards what the teacher sees where one is asked for."""
    labels = training.targets(options.network.classes)
    if options.teacher_share <= 0:
        return torch.from_numpy(labels)
    if start is None:
        raise ValueError("a teacher's share needs a network to start from")
    margins = predict_margins(start, training.pixels, flips=True)
    seen = 1.0 / (1.0 + np.exp(-margins / fit_temperature(training.labels, margins)))
    soft = np.stack([1.0 - seen, seen], axis=1).astype(np.float32)
    return torch.from_numpy(labels + np.float32(options.teacher_share) * (soft - labels))


def _run_epoch(state: TrainingState, training: PatchSet, targets: Tensor, options: TrainingOptions) -> float:
    # All randomness of an epoch follows from its number, so that a resumed training repeats it exactly.
    torch.manual_seed(options.seed * 1000 + state.epoch)
    generator = torch.Generator().manual_seed(options.seed * 1000 + state.epoch)
    device = next(state.network.parameters()).device
    weights = torch.from_numpy(draw_weights(training, options.balance_power))
    drawn = torch.multinomial(
        weights, options.steps_per_epoch * options.batch, replacement=True, generator=generator
    ).reshape(-1, options.batch)
    losses = []
    state.network.train()
    for step, chosen in enumerate(track(drawn, f"Epoch {state.epoch + 1} of {options.epochs}", total=len(drawn))):
        patches = augment(torch.from_numpy(training.pixels[chosen.numpy()]), options.augment, generator)
        mixed, soft = _mix(patches, targets[chosen], options.mixup, generator)
        number = state.epoch * options.steps_per_epoch + step
        for group in state.optimiser.param_groups:
            group["lr"] = rate_at(number, options)
        losses.append(_step(state, mixed.to(device), soft.to(device), options))
        _update_average(state.average, state.network, number, options.average_decay)
    return float(np.mean(losses))


def draw_weights(patches: PatchSet, power: float) -> NDArray[np.float64]:
    """Weights to draw patches by: both classes alike, patients balanced to the given power.

    Parameters
    ----------
    patches
        Labelled patches.
    power
        0 for no balance between patients, 1 for full balance.

    Returns
    -------
    numpy.ndarray
        float64 (N,), summing to 1, to the same share in each class.
    """
    keys = list(zip(patches.patients, patches.labels.tolist(), strict=True))
    counts = Counter(keys)
    weights = np.array([counts[key] ** -power for key in keys])
    classes = np.unique(patches.labels)
    for label in classes:
        weights[patches.labels == label] /= weights[patches.labels == label].sum() * len(classes)
    return weights


def rate_at(step: int, options: TrainingOptions) -> float:
    """Learning rate of a step: a linear warm-up, then a cosine to zero."""
    total = options.epochs * options.steps_per_epoch
    warmup = max(1.0, options.warmup * total)
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def _mix(patches: Tensor, targets: Tensor, strength: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if strength <= 0:
        return patches, targets
    # A Beta draw from two Gamma draws; torch's own samplers take no generator.
    state = np.random.default_rng(int(torch.randint(0, 2**31, (1,), generator=generator)))
    share = torch.from_numpy(state.beta(strength, strength, len(patches)).astype(np.float32))
    other = torch.randperm(len(patches), generator=generator)
    shares = share.view(-1, 1, 1, 1)
    return torch.lerp(patches[other], patches, shares), torch.lerp(targets[other], targets, share.view(-1, 1))


def _step(state: TrainingState, patches: Tensor, targets: Tensor, options: TrainingOptions) -> float:
    images = _channels_last(normalise(patches))
    with torch.autocast(images.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
        logits, side = state.network.with_auxiliary(images)
    loss = _loss(logits, targets, options)
    for auxiliary in side:
        loss = loss + AUXILIARY_WEIGHT * _loss(auxiliary, targets, options)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimiser.step()
    return float(loss.detach())


def _loss(logits: Tensor, targets: Tensor, options: TrainingOptions) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, label_smoothing=options.label_smoothing)


@torch.no_grad()
def _update_average(average: InceptionV1, network: InceptionV1, step: int, decay: float) -> None:
    # Early on the average follows closely, or it would carry the random start along for many epochs.
    rate = 1.0 - min(decay, (1 + step) / (10 + step))
    current = network.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(current[name], rate)
        else:
            value.copy_(current[name])


def _new_state(options: TrainingOptions, start: InceptionV1 | None) -> TrainingState:
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = InceptionV1(options.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = InceptionV1(options.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        network.load_state_dict(start.state_dict())
    average.load_state_dict(network.state_dict())
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=options.learning_rate,
    )
    return TrainingState(network, average, optimiser)


def _resume(folder: Path, options: TrainingOptions, start: InceptionV1 | None) -> TrainingState:
    state = _new_state(options, start)
    path = folder / CHECKPOINT
    if not path.exists():
        write_json(folder / "options.json", asdict(options))
        (folder / LOG).unlink(missing_ok=True)
        return state
    stored = _load(path)
    if stored["options"] != asdict(options):
        raise DataSetError(
            path, "belongs to a training with other options", "Use another folder, or remove this one to start anew."
        )
    state.network.load_state_dict(stored["network"])
    state.average.load_state_dict(stored["average"])
    state.optimiser.load_state_dict(stored["optimiser"])
    state.epoch, state.best_auc = stored["epoch"], stored["best_auc"]
    state.epochs_since_best = stored["epochs_since_best"]
    message(f"Going on after epoch {state.epoch} of {options.epochs}")
    return state


def _load(path: Path) -> dict[str, Any]:
    # weights_only: tensors and plain values, no code from the file is run.
    stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return stored


def _save(state: TrainingState, folder: Path, options: TrainingOptions) -> None:
    with atomic_path(folder / CHECKPOINT) as path:
        torch.save(
            {
                "network": state.network.state_dict(),
                "average": state.average.state_dict(),
                "optimiser": state.optimiser.state_dict(),
                "epoch": state.epoch,
                "best_auc": state.best_auc,
                "epochs_since_best": state.epochs_since_best,
                "options": asdict(options),
            },
            path,
        )


def _remember_best(state: TrainingState, auc: float, folder: Path) -> None:
    state.epochs_since_best += 1
    if auc > state.best_auc:
        state.best_auc, state.epochs_since_best = auc, 0
        with atomic_path(folder / "best.pt") as path:
            torch.save({"average": state.average.state_dict()}, path)


def _exhausted(state: TrainingState, options: TrainingOptions) -> bool:
    return options.patience > 0 and state.epochs_since_best >= options.patience


def _log(
    folder: Path, epoch: int, loss: float, auc: float, scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> None:
    cut = best_threshold(labels, scores)
    balanced = 0.5 * (np.mean(scores[labels == 1] >= cut) + np.mean(scores[labels == 0] < cut))
    path = folder / LOG
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if fresh:
            writer.writerow(["epoch", "loss", "validation_auc", "validation_balanced_accuracy"])
        writer.writerow([epoch, f"{loss:.5f}", f"{auc:.5f}", f"{balanced:.5f}"])
    message(f"Epoch {epoch}: loss {loss:.4f}, validation AUC {auc:.4f}, balanced accuracy {balanced:.4f}")
