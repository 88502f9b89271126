"""How to train, and what a training leaves on disk: checkpoint, best weights, log (training only)."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ki67.errors import DataSetError
from ki67.files import atomic_path, write_json
from ki67.idc.augment import AugmentOptions
from ki67.idc.metrics import best_threshold
from ki67.idc.model import PUBLIC_CLASSES, TUMOUR_CLASS
from ki67.idc.network import InceptionV1, NetworkOptions
from ki67.progress import message

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
LOG = "log.csv"

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
    class_names: tuple[str, ...] = PUBLIC_CLASSES
    network: NetworkOptions = field(default_factory=NetworkOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    @property
    def tumour(self) -> int:
        """Label of IDC."""
        return self.class_names.index(TUMOUR_CLASS)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        return max(1, self.patches_per_epoch // self.batch)


def network_for(patch_px: int, classes: int, width: float = 1.0) -> NetworkOptions:
    """Return the network for a patch size; the first stride is left out where patches are small."""
    return NetworkOptions(classes=classes, width=width, stem_stride=1 if patch_px <= SMALL_PATCH_PX else 2)


@dataclass(slots=True)
class TrainingState:
    """What a checkpoint holds."""

    network: InceptionV1
    average: InceptionV1
    optimiser: torch.optim.AdamW
    epoch: int = 0
    best_auc: float = -1.0
    epochs_since_best: int = 0


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


def resume(folder: Path, options: TrainingOptions, start: InceptionV1 | None) -> TrainingState:
    """Start a training, or go on with the one in the folder.

    Raises
    ------
    DataSetError
        Where the folder holds a training with other options.
    """
    state = _new_state(options, start)
    path = folder / CHECKPOINT
    if not path.exists():
        write_json(folder / "options.json", asdict(options))
        (folder / LOG).unlink(missing_ok=True)
        return state
    stored = load_tensors(path)
    # What an older program did not know of was at its default.
    if asdict(TrainingOptions()) | stored["options"] != asdict(options):
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


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values; no code from the file is run."""
    stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return stored


def save(state: TrainingState, folder: Path, options: TrainingOptions) -> None:
    """Write the checkpoint of an epoch."""
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


def remember_best(state: TrainingState, auc: float, folder: Path) -> None:
    """Keep the averaged weights where the validation AUC is the best so far."""
    state.epochs_since_best += 1
    if auc > state.best_auc:
        state.best_auc, state.epochs_since_best = auc, 0
        with atomic_path(folder / BEST) as path:
            torch.save({"average": state.average.state_dict()}, path)


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
