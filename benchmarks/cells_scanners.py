"""How the cell network bears another scanner and laboratory: ``python benchmarks/cells_scanners.py [MODEL.onnx …]``.

A fixed battery: the validation fields of ``cells_sources.py`` are changed as another scanner, stainer or microtome
would, in nuclear size too, and counted by each model (without any: the shipped one) at its own thresholds. By data
set F1 of positive and negative cells, the mean absolute error of the index, and by how many points the change alone
moves the index of a field on average; on the last line the mean of all F1 over the changes, and which costs most.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cells_sources import counts, f1, index_mae_points
from ki67.cells.network import MOST_LIGHT, NetworkModel, load_network, maps_of, transmitted
from ki67.cells.peaks import find_peaks
from ki67.cells.stains import estimate_background
from ki67.learning.cells.crops import NetworkField
from ki67.learning.cells.recipe import read_labels, read_pixels
from ki67.light import REFERENCE_DAB, REFERENCE_EOSIN, REFERENCE_HEMATOXYLIN
from ki67.progress import configure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))
from cells_network import validation_sets

Light = NDArray[np.float32]
Counts = NDArray[np.int64]

AS_IT_IS = "as it is"
SIZES = (0.6, 0.75, 0.87, 1.15, 1.3, 1.5)
WHITE = 235
WARM = (1.05, 1.0, 0.9)
YELLOWED = np.array((1.0, 0.97, 0.85), np.float32)
_BASIS = np.array([REFERENCE_HEMATOXYLIN, REFERENCE_DAB, REFERENCE_EOSIN])
_BASIS = _BASIS / np.linalg.norm(_BASIS, axis=1, keepdims=True)


def scanned(light: Light, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Light:
    """Light after a change of 8-bit pixels, seen against their own background again."""
    pixels = change(np.clip(light * WHITE, 0, 255).astype(np.uint8))
    return transmitted(pixels, estimate_background(pixels.reshape(-1, 3)))


def jpeg(quality: int) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Compression at 0.5 µm/px, with half the colour resolution, as OpenCV does it."""

    def change(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)

    return change


def stained(light: Light, haematoxylin: float, dab: float, shift: float = 0.0) -> Light:
    """Each stain so many times as strong, and ``shift`` of DAB's optical density everywhere."""
    density = -np.log10(np.clip(light, 1 / 255, None))
    amounts = density @ np.linalg.inv(_BASIS)
    changed = (amounts * (haematoxylin, dab, 1.0) + (0.0, shift, 0.0)) @ _BASIS
    return np.clip(10.0**-changed, 0, MOST_LIGHT).astype(np.float32)


def stronger(light: Light, strength: float) -> Light:
    """All optical densities so many times as high."""
    return np.power(np.clip(light, 1 / 255, None), np.float32(strength))


def sized(light: Light, factor: float) -> Light:
    """The picture enlarged: nuclei so many times as large."""
    return np.asarray(
        cv2.resize(
            light, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        ),
        np.float32,
    )


def coloured(light: Light, strength: float) -> Light:
    """Colours stronger or weaker beside grey."""
    grey = light.mean(axis=2, keepdims=True)
    return np.clip(grey + (light - grey) * np.float32(strength), 0, np.float32(MOST_LIGHT))


CHANGES: dict[str, Callable[[Light], Light]] = {
    AS_IT_IS: lambda light: light,
    "JPEG, quality 40": lambda light: scanned(light, jpeg(40)),
    "blurred by 0.5 µm": lambda light: np.asarray(cv2.GaussianBlur(light, (0, 0), 1.0), np.float32),
    "gamma 0.75": lambda light: np.power(light, np.float32(0.75)),
    "gamma 1.3": lambda light: np.power(light, np.float32(1.3)),
    "warmer light": lambda light: scanned(light, lambda rgb: np.clip(rgb * np.array(WARM), 0, 255).astype(np.uint8)),
    "colours a third stronger": lambda light: coloured(light, 1.35),
    "colours a third weaker": lambda light: coloured(light, 0.7),
    "JPEG, quality 60": lambda light: scanned(light, jpeg(60)),
    "blurred by 0.8 µm": lambda light: np.asarray(cv2.GaussianBlur(light, (0, 0), 1.6), np.float32),
    "yellowed mounting": lambda light: light * YELLOWED,
    "brown ground": lambda light: stained(light, 1.0, 1.0, 0.08),
    "all stains x 0.5": lambda light: stronger(light, 0.5),
    "all stains x 0.7": lambda light: stronger(light, 0.7),
    "all stains x 1.4": lambda light: stronger(light, 1.4),
    "all stains x 2": lambda light: stronger(light, 2.0),
    "haematoxylin x 0.6": lambda light: stained(light, 0.6, 1.0),
    "haematoxylin x 1.6": lambda light: stained(light, 1.6, 1.0),
    "DAB x 0.6": lambda light: stained(light, 1.0, 0.6),
    "DAB x 1.6": lambda light: stained(light, 1.0, 1.6),
}


def counted(network: NetworkModel, field: NetworkField, change: Callable[[Light], Light], size: float) -> Counts:
    """Hits, cells found and labelled of a changed field, (2, 3)."""
    light = sized(change(field.light), size) if size != 1 else change(field.light)
    found = find_peaks(maps_of(np.ascontiguousarray(light), network.run))
    back = replace(found, x_px=found.x_px / size, y_px=found.y_px / size)
    return counts(field, back, (network.card.positive_threshold, network.card.negative_threshold))


def index_shift_points(table: Counts, plain: Counts) -> float:
    """By how many points a change moves the index of a field with labelled cells, on average."""
    labelled = plain[:, :, 2].sum(axis=1) > 0
    now, before = (
        100 * rows[labelled, 0, 1] / np.maximum(rows[labelled, :, 1].sum(axis=1), 1) for rows in (table, plain)
    )
    return float(np.abs(now - before).mean())


def measured(fields: list[NetworkField], model: Path | None) -> None:
    """Print the figures of one model."""
    network = load_network(model)
    print(model or "shipped")
    groups = sorted({field.group for field in fields})
    battery = [(name, change, 1.0) for name, change in CHANGES.items()]
    battery += [(f"nuclei x {size}", CHANGES[AS_IT_IS], size) for size in SIZES]
    plain: dict[str, Counts] = {}
    changed: dict[str, float] = {}
    for name, change, size in battery:
        texts, scores = [], []
        for group in groups:
            table = np.array([counted(network, field, change, size) for field in fields if field.group == group])
            plain.setdefault(group, table)
            positive, negative = f1(table)
            scores += [positive, negative]
            shift = index_shift_points(table, plain[group])
            texts.append(f"{group} {positive:.3f} / {negative:.3f}, {index_mae_points(table):.1f}, moved {shift:.1f}")
        print(f"  {name:26s} {'; '.join(texts)}", flush=True)
        if name != AS_IT_IS:
            changed[name] = float(np.mean(scores))
    worst = min(changed, key=lambda name: changed[name])
    print(f"  mean F1 over the changes: {np.mean(list(changed.values())):.3f}; least {changed[worst]:.3f}, {worst}")


def main(models: list[Path | None]) -> None:
    """Read the fields once, and measure each model."""
    configure(quiet=True)
    fields = read_pixels(read_labels(validation_sets()))
    for model in models:
        measured(fields, model)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [None])
