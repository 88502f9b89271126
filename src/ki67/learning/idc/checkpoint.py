"""How to train, and what a training leaves on disk: checkpoint, best weights, log."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ki67.fields.metrics import best_threshold
from ki67.files import write_json, write_text
from ki67.idc.model import PUBLIC_CLASSES, TUMOUR_CLASS
from ki67.learning.checkpoints import load_checkpoint, refuse_another, restoring, save_checkpoint
from ki67.learning.idc.augment import AugmentOptions
from ki67.learning.idc.lite import begin_network
from ki67.learning.idc.network import NetworkOptions, PatchNetwork
from ki67.progress import message
from ki67.vocabulary import IdcArchitecture

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
LOG = "log.csv"

_TENSORS, _NUMBERS = ("network", "average", "optimiser"), ("epoch", "best_auc", "epochs_since_best")
"""Fields of :class:`TrainingState` in a checkpoint."""

LEARNING_RATES = {IdcArchitecture.inception_v1: 2e-3, IdcArchitecture.efficientnet_lite0: 7e-4}
"""Highest learning rates; weights that know something already are changed more gently."""

PRECISIONS = {IdcArchitecture.inception_v1: "bfloat16", IdcArchitecture.efficientnet_lite0: "float32"}
"""Of convolutions in training; grouped ones have no fast kernel in half precision on most processors."""

LITE_INPUT_PX = 96
"""Least edge at which EfficientNet-Lite0 sees patches; at 112 px a training step takes 1.6 times as long."""

SMALL_PATCH_PX = 64
"""Up to this size the last block would see 2 x 2 positions or fewer with the paper's first stride."""


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
    patch_px
        Edge of a patch.
    core_px
        Edge of the square in its middle that the label is of; None for the whole.
    class_names
        Names of the labels 0, 1, …; one of them is ``IDC``.
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
    core_px: int | None = None
    class_names: tuple[str, ...] = PUBLIC_CLASSES
    network: NetworkOptions = field(default_factory=NetworkOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        for name in ("learning_rate", "weight_decay", "label_smoothing", "mixup", "teacher_share"):
            if not math.isfinite(getattr(self, name)):
                msg = f"{name} must be a finite number, got {getattr(self, name)}"
                raise ValueError(msg)

    @property
    def tumour(self) -> int:
        """Label of IDC."""
        return self.class_names.index(TUMOUR_CLASS)

    @property
    def core(self) -> int:
        """Edge of what the label is of."""
        return self.patch_px if self.core_px is None else self.core_px

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        return max(1, self.patches_per_epoch // self.batch)


def options_for(
    architecture: IdcArchitecture,
    patch_px: int = 50,
    class_names: tuple[str, ...] = PUBLIC_CLASSES,
    *,
    core_px: int | None = None,
    width: float = 1.0,
    learning_rate: float | None = None,
    **chosen: Any,
) -> TrainingOptions:
    """Return how to train a network on patches of a size.

    The first stride of Inception v1 is left out where patches are small; EfficientNet-Lite0 enlarges small ones.

    Parameters
    ----------
    architecture
        Which network.
    patch_px, class_names, core_px, width
        As in :class:`TrainingOptions` and :class:`ki67.learning.idc.network.NetworkOptions`.
    learning_rate
        None takes that of the architecture.
    chosen
        Further fields of :class:`TrainingOptions`.
    """
    network = NetworkOptions(
        classes=len(class_names),
        width=width,
        stem_stride=1 if patch_px <= SMALL_PATCH_PX else 2,
        architecture=architecture.value,
        input_px=max(LITE_INPUT_PX, patch_px),
    )
    return TrainingOptions(
        learning_rate=LEARNING_RATES[architecture] if learning_rate is None else learning_rate,
        precision=PRECISIONS[architecture],
        patch_px=patch_px,
        # As options were before they had a core: a training that was begun then goes on.
        core_px=None if core_px == patch_px else core_px,
        class_names=class_names,
        network=network,
        **chosen,
    )


@dataclass(slots=True)
class TrainingState:
    """What a checkpoint holds."""

    network: PatchNetwork
    average: PatchNetwork
    optimiser: torch.optim.AdamW
    epoch: int = 0
    best_auc: float = -1.0
    epochs_since_best: int = 0


def _new_state(options: TrainingOptions, start: PatchNetwork | None) -> TrainingState:
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, average = (
        begin_network(options.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for _ in range(2)
    )
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


def resume(
    folder: Path, options: TrainingOptions, inputs: dict[str, str], start: PatchNetwork | None
) -> TrainingState:
    """Start a training, or go on with the one in the folder.

    Parameters
    ----------
    folder
        Of the training.
    options
        How to train.
    inputs
        Digests of what the training begins with: patches of both splits, and the network it starts from.
    start
        That network; None for random weights, or those of ImageNet.

    Raises
    ------
    DataSetError
        Where the folder holds a training with other options or on other patches, or a damaged checkpoint.
    """
    state = _new_state(options, start)
    path = folder / CHECKPOINT
    if not path.exists():
        write_json(folder / "options.json", asdict(options))
        (folder / LOG).unlink(missing_ok=True)
        return state
    stored = load_checkpoint(path, (*_TENSORS, *_NUMBERS, "options", "inputs"))
    # What an older program did not know of was at its default.
    with restoring(path):
        stored["options"] = asdict(TrainingOptions()) | stored["options"]
    refuse_another(path, stored, inputs, asdict(options))
    with restoring(path):
        for name in _TENSORS:
            getattr(state, name).load_state_dict(stored[name])
        for name in _NUMBERS:
            setattr(state, name, type(getattr(state, name))(stored[name]))
    _forget_later_epochs(folder / LOG, state.epoch)
    over = state.epoch >= options.epochs
    message("The training is over already" if over else f"Going on after epoch {state.epoch} of {options.epochs}")
    return state


def _forget_later_epochs(log: Path, epoch: int) -> None:
    """Leave out of the log what came after the checkpoint: it is done again."""
    if log.exists():
        write_text(log, "".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[: epoch + 1]))


def save(state: TrainingState, folder: Path, options: TrainingOptions, inputs: dict[str, str]) -> None:
    """Write the checkpoint of an epoch."""
    tensors = {name: getattr(state, name).state_dict() for name in _TENSORS}
    numbers = {name: getattr(state, name) for name in _NUMBERS}
    save_checkpoint(folder / CHECKPOINT, {**tensors, **numbers, "options": asdict(options), "inputs": inputs})


def remember_best(state: TrainingState, auc: float, folder: Path) -> None:
    """Keep the averaged weights where the validation AUC is the best so far."""
    state.epochs_since_best += 1
    if auc > state.best_auc:
        state.best_auc, state.epochs_since_best = auc, 0
        save_checkpoint(folder / BEST, {"average": state.average.state_dict()})


def log_epoch(
    folder: Path, epoch: int, loss: float, auc: float, scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> None:
    """Append an epoch to the log; ``labels`` are 1 for IDC, ``scores`` its log-odds."""
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
