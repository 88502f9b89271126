"""Training of a patch classifier: seeded, resumable after every epoch, logged as CSV.

The recipe: every epoch draws patches with both classes and all patients in balance; stain augmentation in optical
density, flips, turns and scale; label smoothing and mixed patches (MixUp) against the coarse outlines the labels come
from; AdamW with a warm-up and a cosine; an exponential average of the weights, which is what is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from torch import Tensor
from torch.nn import functional

from ki67.errors import DataSetError
from ki67.fields.metrics import fit_temperature, rank_auc
from ki67.fields.patches import PatchRow, load_pixels
from ki67.files import make_folder
from ki67.idc.model import TUMOUR_CLASS
from ki67.learning.averaging import update_average
from ki67.learning.checkpoints import digest, digest_of_network, load_checkpoint, require_finite, restoring
from ki67.learning.idc.augment import augment
from ki67.learning.idc.checkpoint import (
    BEST,
    TrainingOptions,
    TrainingState,
    log_epoch,
    remember_best,
    resume,
    save,
)
from ki67.learning.idc.network import PatchNetwork, normalise
from ki67.progress import track

AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary head's loss (Szegedy et al. 2015, section 5)."""


@dataclass(frozen=True, slots=True)
class PatchSet:
    """Patches in memory: ``pixels`` uint8 (N, H, H, 3), ``labels`` int64 (N,), ``patients`` (N,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 over pixels, labels and patients."""
        return digest((self.pixels, self.labels, np.array(self.patients)))

    def targets(self, classes: int) -> NDArray[np.float32]:
        """Labels as float32 (N, classes), 1 in the label's place."""
        return np.eye(classes, dtype=np.float32)[self.labels]

    @classmethod
    def load(cls, rows: Sequence[PatchRow], patch_px: int) -> PatchSet:
        """Read the pixels of labelled patches."""
        labels = np.array([row.label for row in rows], dtype=np.int64)
        return cls(load_pixels(rows, patch_px), labels, tuple(row.patient for row in rows))


def use_threads(count: int) -> None:
    """Compute on so many threads, all over the process. Equal results need an equal number of them."""
    torch.set_num_threads(count)


def train(
    training: PatchSet,
    validation: PatchSet,
    directory: str | Path,
    options: TrainingOptions,
    *,
    start: PatchNetwork | None = None,
) -> PatchNetwork:
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
        from random weights, or from those of ImageNet where the architecture has them.

    Returns
    -------
    PatchNetwork
        The averaged network: the last one, or the best on the validation patches where ``patience`` is set.

    Raises
    ------
    DataSetError
        Where the patients overlap, a class is absent, the loss is no longer a number, or the folder holds another
        training or a damaged checkpoint.
    WriteError
        Where the folder cannot be written to.
    ValueError
        Where a teacher is asked for and no network to start from is given.
    """
    folder = make_folder(directory)
    _check(training, validation, folder, options)
    inputs = {
        "training patches": training.digest(),
        "validation patches": validation.digest(),
        "start": digest_of_network(start),
    }
    state = resume(folder, options, inputs, start)
    targets = _targets(training, options, start)
    while state.epoch < options.epochs and not _exhausted(state, options):
        loss = _run_epoch(state, training, targets, options)
        require_finite(loss, folder, f"in epoch {state.epoch + 1}")
        state.epoch += 1
        scores = predict_margins(state.average, validation.pixels, tumour=options.tumour)
        truth = (validation.labels == options.tumour).astype(np.int64)
        auc = rank_auc(truth, scores)
        remember_best(state, auc, folder)
        log_epoch(folder, state.epoch, loss, auc, scores, truth)
        save(state, folder, options, inputs)
    if options.patience:
        with restoring(folder / BEST):
            state.average.load_state_dict(load_checkpoint(folder / BEST, ["average"])["average"])
    return state.average.eval()


def predict_logits(
    network: PatchNetwork, pixels: NDArray[np.uint8], *, flips: bool = False, batch: int = 256
) -> NDArray[np.float64]:
    """Logits of patches.

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
        float64 (N, classes).
    """
    network.eval()
    device = next(network.parameters()).device
    found: list[NDArray[np.float64]] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            patches = torch.from_numpy(pixels[start : start + batch]).to(device)
            views = _symmetries(patches) if flips else [patches]
            logits = torch.stack(
                [network.head(network.seen(_channels_last(normalise(view)))) for view in views]
            ).mean(dim=0)
            found.append(logits.double().cpu().numpy())
    return np.concatenate(found)


def predict_margins(
    network: PatchNetwork, pixels: NDArray[np.uint8], *, tumour: int = 1, flips: bool = False
) -> NDArray[np.float64]:
    """Log-odds of one class against all others; for two classes the difference of their logits.

    Parameters
    ----------
    network, pixels, flips
        As in :func:`predict_logits`.
    tumour
        Number of the class.

    Returns
    -------
    numpy.ndarray
        float64 (N,).
    """
    return margins_of(predict_logits(network, pixels, flips=flips), tumour)


def margins_of(logits: NDArray[np.float64], tumour: int) -> NDArray[np.float64]:
    """Log-odds of one class against all others, (N,), from logits (N, classes)."""
    return np.asarray(logits[:, tumour] - logsumexp(np.delete(logits, tumour, axis=1), axis=1), dtype=np.float64)


def _symmetries(patches: Tensor) -> list[Tensor]:
    turned = [torch.rot90(patches, count, (1, 2)) for count in range(4)]
    return turned + [view.flip(2) for view in turned]


def _channels_last(images: Tensor) -> Tensor:
    # Convolutions run twice as fast in this layout on a CPU.
    return images.contiguous(memory_format=torch.channels_last)


def _check(training: PatchSet, validation: PatchSet, folder: Path, options: TrainingOptions) -> None:
    count = len(options.class_names)
    if count != options.network.classes or count < 2 or TUMOUR_CLASS not in options.class_names:
        msg = f"{options.network.classes} outputs for the classes {options.class_names}; one must be {TUMOUR_CLASS}"
        raise ValueError(msg)
    shared = set(training.patients) & set(validation.patients)
    if shared:
        raise DataSetError(
            folder, f"patient {min(shared)} is in training and validation", "Split the patches by patient."
        )
    needed = {"training": range(count), "validation": [options.tumour]}
    for name, patches in (("training", training), ("validation", validation)):
        missing = [options.class_names[label] for label in needed[name] if not (patches.labels == label).any()]
        if missing or (patches.labels == options.tumour).all():
            raise DataSetError(
                folder,
                f"the {name} patches hold none of class {', '.join(missing) or f'other than {TUMOUR_CLASS}'}",
                "Training needs every class, validation IDC and another; split the patients in another way.",
            )
        if int(patches.labels.max()) >= count:
            raise DataSetError(
                folder,
                f"the {name} patches hold label {int(patches.labels.max())}, the classes are {count}",
                "Name every class.",
            )


def _targets(training: PatchSet, options: TrainingOptions, start: PatchNetwork | None) -> Tensor:
    """Targets (N, classes): the labels, moved towards what the teacher sees where one is asked for."""
    labels = training.targets(options.network.classes)
    if options.teacher_share <= 0:
        return torch.from_numpy(labels)
    if start is None:
        raise ValueError("a teacher's share needs a network to start from")
    logits = predict_logits(start, training.pixels, flips=True)
    seen = softmax(logits / fit_temperature(training.labels, logits), axis=1).astype(np.float32)
    return torch.from_numpy(labels + np.float32(options.teacher_share) * (seen - labels))


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
        update_average(state.average, state.network, number, options.average_decay)
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


def _exhausted(state: TrainingState, options: TrainingOptions) -> bool:
    return options.patience > 0 and state.epochs_since_best >= options.patience
