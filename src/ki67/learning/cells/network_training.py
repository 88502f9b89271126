"""Training the cell network from labelled fields: seeded, resumable, logged.

Every labelled nucleus is a peak of 1 in the proximity map of its class. Where a set does not label a class, its map
is not asked for: BCData labels tumour cells only, SHIDC of the others lymphocytes only; where it labels nuclei of any
kind, only the map of positive ones is. Every data set weighs the same, however many fields it has.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ki67.cells.channels import WORKING_MPP
from ki67.cells.network import transmitted
from ki67.cells.sampling import sample_slide
from ki67.cells.stains import estimate_stains
from ki67.cells.tiling import plan_tiles
from ki67.errors import DataSetError
from ki67.fields.labelled_fields import LabelledField
from ki67.files import make_folder, write_json
from ki67.learning.averaging import update_average
from ki67.learning.cells.crops import CROPS_VERSION, LABORATORIES, SCANNERS, Crops, NetworkField
from ki67.learning.cells.lite_unet import LiteNetwork
from ki67.learning.cells.pair import PairNetwork
from ki67.learning.cells.unet import WIDTHS, CellNetwork
from ki67.learning.checkpoints import (
    digest,
    load_checkpoint,
    refuse_another,
    require_finite,
    restoring,
    save_checkpoint,
)
from ki67.progress import track
from ki67.vocabulary import CLASSES, OTHER

CHECKPOINT, LOG, OPTIONS = "checkpoint.pt", "log.csv", "options.json"

_WHOLE_FIELD_PX = 1 << 20

ARCHITECTURES = ("unet", "lite", "pair")
"""What :func:`build_network` builds."""


@dataclass(frozen=True)
class NetworkOptions:
    """How the network is trained.

    Equal options and fields give the same weights on the same processor with as many threads.
    ``architecture`` is ``unet`` (:mod:`ki67.learning.cells.unet`, of ``widths``), ``lite``
    (:mod:`ki67.learning.cells.lite_unet`) or ``pair`` of both (:mod:`ki67.learning.cells.pair`); ``crop_px`` is the
    edge of a training crop at the working resolution, ``crops_per_group`` how many crops of a data set make one step,
    ``shares`` pairs of a data set and how many times as many it gives (:meth:`ki67.learning.cells.crops.Crops.draw`);
    ``wide`` draws other laboratories, not only other scanners; ``other_weight`` how much a nucleus that is labelled
    as no tumour cell weighs (they are few, and look most like tumour); ``average_decay`` that of the exponential
    average of the weights, which is kept;
    ``precision`` that of a graphics card (a processor computes in float32).
    """

    architecture: str = "unet"
    steps: int = 5500
    crop_px: int = 256
    crops_per_group: int = 3
    shares: tuple[tuple[str, float], ...] = ()
    wide: bool = False
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    warmup_steps: int = 100
    other_weight: float = 1.0
    average_decay: float = 0.998
    precision: str = "bfloat16"
    widths: tuple[int, ...] = WIDTHS
    seed: int = 1
    save_every: int = 200


def read_network_field(
    field: LabelledField, group: str, patient: str, *, others_complete: bool, tumour_told_apart: bool = True
) -> NetworkField:
    """Read a field's pixels as counting does."""
    with field.open() as slide:
        stains = estimate_stains(sample_slide(slide, None).pixels)
        (tile,) = plan_tiles(slide.bounds_um, None, 0, _WHOLE_FIELD_PX)
        light = np.ascontiguousarray(transmitted(slide.read(tile.rect, WORKING_MPP), stains.background_rgb))
    points = tuple(field.points[name] / WORKING_MPP for name in CLASSES)
    complete = tuple(name != CLASSES[OTHER] or others_complete for name in CLASSES)
    area = None if field.labelled is None else field.labelled.resampled(light.shape[:2], WORKING_MPP)
    return NetworkField(group, patient, field, light, points, complete, tumour_told_apart, area)


def train_network(
    crops: Crops,
    directory: str | Path,
    options: NetworkOptions,
    start: nn.Module | None = None,
    origin: str = "",
) -> nn.Module:
    """Train a network, or go on with the training in the folder; returns the averaged one.

    ``crops`` are of the fields to learn from, on the device that learns (:func:`crops_of`);
    ``start`` is a network whose weights the training begins with, and ``origin`` says which (the SHA-256 of a model);
    None begins with random ones.

    Raises
    ------
    DataSetError
        Where the fields hold no tumour cell, the loss is no longer a number, or the folder holds another training or
        a damaged checkpoint.
    WriteError
        Where the folder cannot be written to.
    """
    folder = make_folder(directory)
    if not any(len(points) for field in crops.labelled for points in field.points[1:]):
        raise DataSetError(folder, "cannot be trained in: the fields hold no tumour cell", "Add labelled fields.")
    torch.manual_seed(options.seed)
    network, average = build_network(options), build_network(options)
    if start is None and isinstance(network, LiteNetwork):
        network.load_imagenet()
    if start is not None:
        network.load_state_dict(start.state_dict())
    device = crops.device
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = average.to(device)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    made = f"crops {CROPS_VERSION} on {device.type}"
    inputs = {"fields": digest(_values_of(crops.labelled)), "start": origin, "crops": made}
    parts = {"network": network, "average": average, "optimiser": optimiser}
    first = _resume(folder, options, inputs, parts)
    network.train()
    losses: list[Tensor] = []
    for step, batch in track(_batches(crops, options, first), "Training", options.steps - first):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, options)
        losses.append(_step(network, optimiser, batch, options))
        update_average(average, network, step, options.average_decay)
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            loss = float(torch.stack(losses).mean())
            require_finite(loss, folder, f"before step {step + 1}")
            _save(folder, options, inputs, parts, step + 1)
            _log(folder, step + 1, loss)
            losses = []
    return average.cpu().eval()


def build_network(options: NetworkOptions) -> nn.Module:
    """A network of the architecture, with random weights."""
    if options.architecture == "lite":
        return LiteNetwork()
    return PairNetwork(options.widths) if options.architecture == "pair" else CellNetwork(options.widths)


def crops_of(fields: Sequence[NetworkField], options: NetworkOptions) -> Crops:
    """Crops of fields on the graphics card where PyTorch sees one, else on the processor."""
    return Crops(fields, options.crop_px, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _rate(step: int, options: NetworkOptions) -> float:
    climb = min(1.0, (step + 1) / options.warmup_steps)
    return options.learning_rate * (climb * 0.5 * (1 + math.cos(math.pi * step / options.steps)) + 0.003)


def _batches(
    crops: Crops, options: NetworkOptions, first: int
) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """Step numbers and batches; the next batch is drawn while this one is learnt from."""
    with ThreadPoolExecutor(1, thread_name_prefix="crops") as pool:
        ahead = pool.submit(draw_batch, crops, options, first)
        for step in range(first, options.steps):
            batch = ahead.result()
            if step + 1 < options.steps:
                ahead = pool.submit(draw_batch, crops, options, step + 1)
            yield step, batch


def draw_batch(crops: Crops, options: NetworkOptions, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Light, targets and weights of one step, see :meth:`Crops.make`; follows from seed and step."""
    rng = np.random.default_rng((options.seed, step))
    drawn = crops.draw(
        rng,
        options.crops_per_group,
        options.other_weight,
        shares=dict(options.shares),
        breadth=LABORATORIES if options.wide else SCANNERS,
    )
    generator = torch.Generator(crops.device).manual_seed(int(rng.integers(1 << 62)))
    return crops.make(drawn.to(crops.device), generator)


def proximity_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy above its least value, more where a nucleus is and where the error is large.

    The factor of the error is that of quality focal loss (Li et al., NeurIPS 2020) with a floor, so that what is
    nearly right goes on being learnt.
    """
    found = torch.sigmoid(logits)
    entropy = -(torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target))
    excess = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy
    weight = weight * (1 + 8 * target)
    return (weight * excess * ((found - target).abs() + 0.2)).sum() / weight.sum().clamp_min(1.0) * 10


def _step(
    network: nn.Module,
    optimiser: torch.optim.AdamW,
    batch: tuple[Tensor, Tensor, Tensor],
    options: NetworkOptions,
) -> Tensor:
    light, target, weight = batch
    # Most processors only imitate bfloat16, at half the speed of float32 or less.
    half = options.precision == "bfloat16" and light.device.type == "cuda"
    with torch.autocast(light.device.type, torch.bfloat16, enabled=half):
        logits = network(light.contiguous(memory_format=torch.channels_last))
    loss = proximity_loss(logits.float(), target, weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return loss.detach()


def _values_of(fields: Sequence[NetworkField]) -> Iterator[NDArray[Any]]:
    for field in fields:
        yield np.array([field.group, field.patient, field.field.name])
        yield field.light
        yield np.array([]) if field.labelled is None else field.labelled
        yield from field.points


def _resume(folder: Path, options: NetworkOptions, inputs: dict[str, str], parts: dict[str, Any]) -> int:
    path = folder / CHECKPOINT
    if not path.exists():
        write_json(folder / OPTIONS, asdict(options))
        (folder / LOG).unlink(missing_ok=True)
        return 0
    stored = load_checkpoint(path, (*parts, "step", "options", "inputs"))
    refuse_another(path, stored, inputs, asdict(options))
    with restoring(path):
        for name, part in parts.items():
            part.load_state_dict(stored[name])
        return int(stored["step"])


def _save(folder: Path, options: NetworkOptions, inputs: dict[str, str], parts: dict[str, Any], step: int) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(folder / CHECKPOINT, {**state, "step": step, "options": asdict(options), "inputs": inputs})


def _log(folder: Path, step: int, loss: float) -> None:
    fresh = not (folder / LOG).exists()
    with (folder / LOG).open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if fresh:
            writer.writerow(["step", "loss"])
        writer.writerow([step, f"{loss:.5f}"])
