"""Training the cell network from labelled fields (needs the ``train`` extra): seeded, resumable, logged.

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

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ki67.averaging import update_average
from ki67.cells.card import CLASSES, NEGATIVE, OTHER
from ki67.cells.channels import WORKING_MPP
from ki67.cells.folds import GroupedField
from ki67.cells.labelled_fields import LabelledField
from ki67.cells.network import MOST_LIGHT, STRIDE, transmitted
from ki67.cells.sampling import sample_slide
from ki67.cells.stains import REFERENCE_DAB, REFERENCE_EOSIN, REFERENCE_HEMATOXYLIN, estimate_stains
from ki67.cells.tiling import plan_tiles
from ki67.cells.unet import WIDTHS, CellNetwork
from ki67.checkpoints import digest, load_checkpoint, refuse_another, require_finite, save_checkpoint
from ki67.errors import DataSetError
from ki67.files import make_folder, write_json
from ki67.progress import track
from ki67.slides import open_slide

CHECKPOINT, LOG, OPTIONS = "checkpoint.pt", "log.csv", "options.json"

# Peaks of the maps: sigma in pixels of the maps (µm at 0.5 µm/px), about a quarter of a nucleus' width.
_PEAK_SIGMA_PX = 1.5
_PEAK_REACH_PX = 7
# How far from a labelled nucleus a map of a class that is not labelled everywhere is believed to be known.
_KNOWN_REACH_PX = 4
# A field is drawn for as often as the root of its labels: an almost empty one teaches little.
_WHOLE_FIELD_PX = 1 << 20
_BASIS = np.array([REFERENCE_HEMATOXYLIN, REFERENCE_DAB, REFERENCE_EOSIN])
_BASIS = _BASIS / np.linalg.norm(_BASIS, axis=1, keepdims=True)
_LEAST_LIGHT = 1.0 / 255


@dataclass(frozen=True)
class NetworkOptions:
    """How the network is trained; equal options and fields give the same weights on the same machine.

    ``crop_px`` is the edge of a training crop at the working resolution, ``crops_per_group`` how many crops of each
    data set make one step, ``crops_of_any_nuclei`` how many of a set that does not tell which nuclei are tumour
    cells; ``other_weight`` how much a nucleus that is labelled as no tumour cell weighs (they are few, and look most
    like tumour); ``average_decay`` that of the exponential average of the weights, which is kept.
    """

    steps: int = 5500
    crop_px: int = 256
    crops_per_group: int = 3
    crops_of_any_nuclei: int = 1
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    warmup_steps: int = 100
    other_weight: float = 1.0
    average_decay: float = 0.998
    precision: str = "bfloat16"
    widths: tuple[int, ...] = WIDTHS
    seed: int = 1
    save_every: int = 200


@dataclass(frozen=True)
class NetworkField(GroupedField):
    """A field at the working resolution with labelled nuclei.

    ``light`` float32 (H, W, 3), 1 for the background; ``points`` (N, 2) in pixels by class, the centre of the first
    pixel at 0.5; ``complete`` says for each class whether every such nucleus of the field is labelled;
    ``tumour_told_apart`` whether those labelled negative are known to be tumour cells.
    """

    light: NDArray[np.float32]
    points: tuple[NDArray[np.float64], ...]
    complete: tuple[bool, ...]
    tumour_told_apart: bool = True


def read_network_field(
    field: LabelledField, group: str, patient: str, *, others_complete: bool, tumour_told_apart: bool = True
) -> NetworkField:
    """Read a field's pixels as counting does."""
    with open_slide(field.image, field.mpp) as slide:
        stains = estimate_stains(sample_slide(slide, None).pixels)
        (tile,) = plan_tiles(slide.bounds_um, None, 0, _WHOLE_FIELD_PX)
        light = np.ascontiguousarray(transmitted(slide.read(tile.rect, WORKING_MPP), stains.background_rgb))
    points = tuple(field.points[name] / WORKING_MPP for name in CLASSES)
    complete = tuple(name != CLASSES[OTHER] or others_complete for name in CLASSES)
    return NetworkField(group, patient, field, light, points, complete, tumour_told_apart)


def train_network(
    fields: Sequence[NetworkField],
    directory: str | Path,
    options: NetworkOptions,
    start: CellNetwork | None = None,
    origin: str = "",
) -> CellNetwork:
    """Train a network, or go on with the training in the folder; returns the averaged one.

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
    if not any(len(points) for field in fields for points in field.points[1:]):
        raise DataSetError(folder, "cannot be trained in: the fields hold no tumour cell", "Add labelled fields.")
    torch.manual_seed(options.seed)
    network, average = CellNetwork(options.widths), CellNetwork(options.widths)
    if start is not None:
        network.load_state_dict(start.state_dict())
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    inputs = {"fields": digest(_values_of(fields)), "start": origin}
    parts = {"network": network, "average": average, "optimiser": optimiser}
    first = _resume(folder, options, inputs, parts)
    network.train()
    losses: list[float] = []
    for step, batch in track(_batches(fields, options, first), "Training", options.steps - first):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, options)
        losses.append(_step(network, optimiser, batch, options))
        update_average(average, network, step, options.average_decay)
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            require_finite(sum(losses), folder, f"before step {step + 1}")
            _save(folder, options, inputs, parts, step + 1)
            _log(folder, step + 1, float(np.mean(losses)))
            losses = []
    return average.eval()


def _rate(step: int, options: NetworkOptions) -> float:
    climb = min(1.0, (step + 1) / options.warmup_steps)
    return options.learning_rate * (climb * 0.5 * (1 + math.cos(math.pi * step / options.steps)) + 0.003)


def _batches(
    fields: Sequence[NetworkField], options: NetworkOptions, first: int
) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """Step numbers and batches; the next batch is drawn while this one is learnt from."""
    with ThreadPoolExecutor(1, thread_name_prefix="crops") as pool:
        ahead = pool.submit(draw_batch, fields, options, first)
        for step in range(first, options.steps):
            batch = ahead.result()
            if step + 1 < options.steps:
                ahead = pool.submit(draw_batch, fields, options, step + 1)
            yield step, batch


def draw_batch(fields: Sequence[NetworkField], options: NetworkOptions, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Light (B, 3, S, S), proximity targets and weights (B, 3, S/2, S/2) of one step; follows from seed and step."""
    rng = np.random.default_rng((options.seed, step))
    crops = []
    for group in sorted({field.group for field in fields}):
        own = [field for field in fields if field.group == group]
        share = np.sqrt([1.0 + sum(len(points) for points in field.points) for field in own])
        count = options.crops_per_group if own[0].tumour_told_apart else options.crops_of_any_nuclei
        chosen = rng.choice(len(own), count, p=share / share.sum())
        crops += [_crop(own[index], options, rng) for index in chosen.tolist()]
    light, target, weight = (torch.from_numpy(np.stack(parts)) for parts in zip(*crops, strict=True))
    return light, target, weight


def _crop(
    field: NetworkField, options: NetworkOptions, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A turned, flipped, scaled and restained piece of a field."""
    size = options.crop_px
    scale = math.exp(rng.uniform(math.log(0.8), math.log(1.25)))
    angle, flip = rng.uniform(0, 2 * math.pi), rng.choice([-1.0, 1.0])
    height, width = field.light.shape[:2]
    inset = 0.4 * size
    centre = np.array([
        np.clip(rng.uniform(0, width), min(inset, width / 2), max(width - inset, width / 2)),
        np.clip(rng.uniform(0, height), min(inset, height / 2), max(height - inset, height / 2)),
    ])  # fmt: skip
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn @ np.diag([flip, 1.0])
    shift = size / 2 - turn @ centre
    # OpenCV counts from the centre of the first pixel, points count from its corner.
    matrix = np.column_stack([turn, shift + turn @ [0.5, 0.5] - 0.5])
    light = cv2.warpAffine(
        field.light, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    inside = cv2.warpAffine(np.ones((height, width), np.uint8), matrix, (size, size), flags=cv2.INTER_NEAREST)
    points = [(known @ turn.T + shift) / STRIDE for known in field.points]
    target, weight = _targets(points, field.complete, size // STRIDE, field.tumour_told_apart)
    weight *= 1 + (options.other_weight - 1) * target[OTHER]
    weight *= inside[1::STRIDE, 1::STRIDE]
    return np.ascontiguousarray(_restain(light, rng).transpose(2, 0, 1)), target, weight


def _restain(light: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another laboratory's stains, in optical density (Tellez et al., TMI 2018), and another scanner."""
    amounts = -np.log(np.maximum(light, _LEAST_LIGHT)) @ np.linalg.inv(_BASIS)
    amounts = amounts * (rng.uniform(0.75, 1.3, 3) * rng.uniform(0.85, 1.15)) + rng.normal(0, 0.02, 3)
    result = np.exp(-amounts @ (_BASIS + rng.normal(0, 0.04, (3, 3)))) * rng.uniform(0.93, 1.04)
    result = np.clip(result, 0, MOST_LIGHT).astype(np.float32)
    kind = rng.random()
    if kind < 0.3:
        result = cv2.GaussianBlur(result, (0, 0), rng.uniform(0.3, 1.2))
    elif kind < 0.45:
        result = result + np.float32(rng.uniform(0.2, 0.7)) * (result - cv2.GaussianBlur(result, (0, 0), 1.2))
    seen = _rescan(np.asarray(result, np.float32), rng)
    noise = rng.standard_normal(seen.shape, np.float32) * np.float32(rng.uniform(0, 0.02))
    seen = np.clip(seen + noise, 0, np.float32(MOST_LIGHT))
    return _compressed(seen, int(rng.integers(35, 90))) if rng.random() < 0.35 else seen


def _rescan(light: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another scanner's colours: tone curve, and how strong colours are beside grey."""
    if rng.random() < 0.4:
        light = np.power(np.maximum(light, 0), np.float32(rng.uniform(0.75, 1.35)))
    if rng.random() < 0.4:
        grey = light.mean(axis=2, keepdims=True)
        light = grey + (light - grey) * np.float32(rng.uniform(0.7, 1.35))
    return light


def _compressed(light: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """Light as JPEG leaves it."""
    steps = np.float32(255 / MOST_LIGHT)
    pixels = np.round(light * steps).astype(np.uint8)
    # OpenCV takes blue first.
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.float32)[..., ::-1] / steps


def _targets(
    points: Sequence[NDArray[np.float64]], complete: Sequence[bool], size: int, tumour_told_apart: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    target = np.zeros((len(points), size, size), np.float32)
    weight = np.ones_like(target)
    for label, known in enumerate(points):
        near = ((known > -_PEAK_REACH_PX) & (known < size + _PEAK_REACH_PX)).all(axis=1)
        for x, y in known[near].tolist():
            _draw_peak(target[label], x - 0.5, y - 0.5)
    edge = np.exp(-(_KNOWN_REACH_PX**2) / (2 * _PEAK_SIGMA_PX**2))
    for label, every in enumerate(complete):
        if not every:
            weight[label] = target.max(axis=0) > edge
    if not tumour_told_apart:
        # Only the brown ones are told for certain: pale nuclei are of any kind, or not labelled at all.
        weight[[OTHER, NEGATIVE]] = 0
    return target, weight


def _draw_peak(image: NDArray[np.float32], x: float, y: float) -> None:
    height, width = image.shape
    left, right = max(0, int(x) - _PEAK_REACH_PX), min(width, int(x) + _PEAK_REACH_PX + 2)
    top, bottom = max(0, int(y) - _PEAK_REACH_PX), min(height, int(y) + _PEAK_REACH_PX + 2)
    if left >= right or top >= bottom:
        return
    across = (np.arange(left, right) - x) ** 2
    down = (np.arange(top, bottom) - y) ** 2
    peak = np.exp(-(down[:, None] + across[None]) / (2 * _PEAK_SIGMA_PX**2))
    part = image[top:bottom, left:right]
    np.maximum(part, peak, out=part, casting="same_kind")


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
    network: CellNetwork,
    optimiser: torch.optim.AdamW,
    batch: tuple[Tensor, Tensor, Tensor],
    options: NetworkOptions,
) -> float:
    light, target, weight = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
        logits = network(light.contiguous(memory_format=torch.channels_last))
    loss = proximity_loss(logits.float(), target, weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def _values_of(fields: Sequence[NetworkField]) -> Iterator[NDArray[Any]]:
    for field in fields:
        yield np.array([field.group, field.patient, field.field.name])
        yield field.light
        yield from field.points


def _resume(folder: Path, options: NetworkOptions, inputs: dict[str, str], parts: dict[str, Any]) -> int:
    path = folder / CHECKPOINT
    if not path.exists():
        write_json(folder / OPTIONS, asdict(options))
        (folder / LOG).unlink(missing_ok=True)
        return 0
    stored = load_checkpoint(path, (*parts, "step", "options", "inputs"))
    refuse_another(path, stored, inputs, asdict(options))
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
