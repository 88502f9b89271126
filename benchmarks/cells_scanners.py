"""How the cell network bears another scanner: ``python benchmarks/cells_scanners.py [MODEL.onnx …]``.

The validation fields of ``cells_sources.py`` are changed as another scanner or laboratory would, and counted by each
model (without any: the shipped one) at its own thresholds. F1 of positive and negative cells and the
mean absolute error of the index, by data set, and the mean of all four F1 over the changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cells_sources import figures, validation_sets
from ki67.cells.crops import NetworkField
from ki67.cells.network import MOST_LIGHT, load_network, maps_of, transmitted
from ki67.cells.peaks import find_peaks
from ki67.cells.recipe import read_labels, read_pixels
from ki67.cells.stains import estimate_background
from ki67.progress import configure

Light = NDArray[np.float32]

WHITE = 235
WARM = (1.05, 1.0, 0.9)


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


def coloured(light: Light, strength: float) -> Light:
    """Colours stronger or weaker beside grey."""
    grey = light.mean(axis=2, keepdims=True)
    return np.clip(grey + (light - grey) * np.float32(strength), 0, np.float32(MOST_LIGHT))


CHANGES: dict[str, Callable[[Light], Light]] = {
    "as it is": lambda light: light,
    "JPEG, quality 40": lambda light: scanned(light, jpeg(40)),
    "blurred by 0.5 µm": lambda light: np.asarray(cv2.GaussianBlur(light, (0, 0), 1.0), np.float32),
    "gamma 0.75": lambda light: np.power(light, np.float32(0.75)),
    "gamma 1.3": lambda light: np.power(light, np.float32(1.3)),
    "warmer light": lambda light: scanned(light, lambda rgb: np.clip(rgb * np.array(WARM), 0, 255).astype(np.uint8)),
    "colours a third stronger": lambda light: coloured(light, 1.35),
    "colours a third weaker": lambda light: coloured(light, 0.7),
}


def measured(fields: list[NetworkField], model: Path | None) -> None:
    """Print the figures of one model."""
    network = load_network(model)
    thresholds = network.card.positive_threshold, network.card.negative_threshold
    print(model or "shipped")
    changed = []
    for name, change in CHANGES.items():
        peaks = [find_peaks(maps_of(np.ascontiguousarray(change(field.light)), network.run)) for field in fields]
        found = figures(fields, peaks, thresholds)
        text = "; ".join(
            f"{group} {row['positive']:.3f} / {row['negative']:.3f}, {row['index_mae_points']:.1f}"
            for group, row in found.items()
        )
        print(f"  {name:26s} {text}", flush=True)
        if name != "as it is":
            changed.append(np.mean([row[label] for row in found.values() for label in ("positive", "negative")]))
    print(f"  mean F1 over the changes: {np.mean(changed):.3f}")


def main(models: list[Path | None]) -> None:
    """Read the fields once, and measure each model."""
    configure(quiet=True)
    fields = read_pixels(read_labels(validation_sets()))
    for model in models:
        measured(fields, model)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [None])
