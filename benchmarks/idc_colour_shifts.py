"""What colours, scanners and sizes do to the IDC model: the validation patches, shifted in fixed ways.

    python benchmarks/idc_colour_shifts.py PATCHES [MODEL.onnx ...]

Every shift changes all patches of the random sample of the validation patients (``split`` = val, ``random_sample`` =
1) in the same way, as another laboratory would; the model judges each patch by itself. One line per shift: AUC,
balanced accuracy at the model's own threshold for a patch alone, mean probability of the patches with and without
carcinoma. The last line names the worst. Without a model: the shipped one.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ki67.fields.metrics import rank_auc
from ki67.fields.patches import load_pixels, read_patches
from ki67.idc import load_model
from ki67.light import REFERENCE_DAB, REFERENCE_EOSIN, REFERENCE_HEMATOXYLIN, WHITE, optical_density

Pixels = NDArray[np.uint8]

HE = np.array([REFERENCE_HEMATOXYLIN, REFERENCE_EOSIN, REFERENCE_DAB])
"""Haematoxylin, eosin, residual."""

WHITE_GLASS = (float(WHITE),) * 3


def density(pixels: Pixels) -> NDArray[np.float64]:
    """Optical density of 8-bit light."""
    return optical_density(pixels, WHITE_GLASS).astype(np.float64)


def light(od: NDArray[np.float64]) -> Pixels:
    """8-bit light of optical density."""
    return np.clip(np.rint(WHITE * 10.0**-od), 0, 255).astype(np.uint8)


def restained(haematoxylin: tuple[float, ...], eosin: tuple[float, ...], strength: tuple[float, float]) -> Callable:
    """The same amounts of stain in other colours."""

    def change(pixels: Pixels) -> Pixels:
        unit = HE / np.linalg.norm(HE, axis=1, keepdims=True)
        amounts = np.maximum(density(pixels) @ np.linalg.inv(unit), 0)
        other = np.array([haematoxylin, eosin, unit[2]])
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        return light((amounts * [*strength, 1.0]) @ other)

    return change


def by_density(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[Pixels], Pixels]:
    """A change of optical densities."""
    return lambda pixels: light(np.maximum(change(density(pixels)), 0))


def saturation(factor: float) -> Callable[[Pixels], Pixels]:
    """Distance from grey, in density."""

    def change(od: NDArray[np.float64]) -> NDArray[np.float64]:
        grey = od.mean(axis=-1, keepdims=True)
        return grey + factor * (od - grey)

    return by_density(change)


def hue(turn_deg: float) -> Callable[[Pixels], Pixels]:
    """Turn of the colour circle."""

    def change(pixels: Pixels) -> Pixels:
        result = np.empty_like(pixels)
        for number, patch in enumerate(pixels):
            hsv = np.array(Image.fromarray(patch).convert("HSV"))
            hsv[..., 0] = (hsv[..., 0].astype(int) + round(turn_deg / 360 * 256)) % 256
            result[number] = np.array(Image.fromarray(hsv, "HSV").convert("RGB"))
        return result

    return change


def each(change: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    """A change of pictures one by one."""
    return lambda pixels: np.stack([np.array(change(Image.fromarray(patch))) for patch in pixels])


def jpeg(image: Image.Image) -> Image.Image:
    """Hard compression."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    """Nuclei larger or smaller; beyond the patch it goes on mirrored."""

    def change(image: Image.Image) -> Image.Image:
        edge = image.width
        wide = Image.fromarray(np.pad(np.array(image), ((edge, edge), (edge, edge), (0, 0)), "reflect"))
        part = edge / factor / 2
        box = (1.5 * edge - part, 1.5 * edge - part, 1.5 * edge + part, 1.5 * edge + part)
        return wide.resize((edge, edge), Image.Resampling.BILINEAR, box)

    return change


def blurred(image: Image.Image) -> Image.Image:
    """Half the resolution."""
    return image.resize((image.width // 2,) * 2, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


SHIFTS: dict[str, Callable[[Pixels], Pixels]] = {
    "as they are": lambda pixels: pixels,
    "violet and magenta, strong": restained((0.50, 0.80, 0.33), (0.20, 0.95, 0.25), (1.4, 1.3)),
    "blue and pink, pale": restained((0.80, 0.57, 0.20), (0.05, 0.95, 0.31), (0.6, 0.6)),
    "haematoxylin weak, eosin strong": restained(REFERENCE_HEMATOXYLIN, REFERENCE_EOSIN, (0.5, 1.5)),
    "haematoxylin strong, eosin weak": restained(REFERENCE_HEMATOXYLIN, REFERENCE_EOSIN, (1.5, 0.5)),
    "brownish haematoxylin": restained((0.50, 0.65, 0.57), (0.10, 0.90, 0.43), (1.0, 1.0)),
    "density x 0.6": by_density(lambda od: 0.6 * od),
    "density x 1.6": by_density(lambda od: 1.6 * od),
    "gamma 0.7": by_density(lambda od: od**0.7),
    "gamma 1.4": by_density(lambda od: od**1.4),
    "grey": saturation(0.0),
    "saturation x 0.5": saturation(0.5),
    "saturation x 1.6": saturation(1.6),
    "hue + 20 degrees": hue(20),
    "hue - 20 degrees": hue(-20),
    "hue - 40 degrees": hue(-40),
    "yellow light": by_density(lambda od: od + np.array([0.0, 0.02, 0.15])),
    "blue light": by_density(lambda od: od + np.array([0.12, 0.06, 0.0])),
    "red and blue swapped": lambda pixels: np.ascontiguousarray(pixels[..., ::-1]),
    "JPEG quality 30": each(jpeg),
    "blurred to 8 um/px": each(blurred),
    "size x 0.7": each(scaled(0.7)),
    "size x 1.4": each(scaled(1.4)),
}


def main() -> None:
    """Print the table of each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patches", type=Path)
    parser.add_argument("models", type=Path, nargs="*")
    arguments = parser.parse_args()
    rows = [
        row
        for row in read_patches(arguments.patches, arguments.patches / "index.csv")
        if row.columns["split"] == "val" and row.columns["random_sample"] == "1"
    ]
    truth = np.array([row.label for row in rows])
    for path in arguments.models or [None]:
        model = load_model(path)
        pixels = load_pixels(rows, model.card.patch_px)
        print(f"{model.card.name}, {len(rows)} patches")
        print(f"{'shift':34s} {'AUC':>6s} {'balanced':>9s} {'with':>6s} {'without':>8s}")
        aucs = {}
        for name, change in SHIFTS.items():
            found = model.probabilities(change(pixels))
            called = found >= model.card.threshold_alone
            balanced = (called[truth == 1].mean() + (~called[truth == 0]).mean()) / 2
            aucs[name] = rank_auc(truth, found)
            means = found[truth == 1].mean(), found[truth == 0].mean()
            print(f"{name:34s} {aucs[name]:6.3f} {balanced:9.3f} {means[0]:6.2f} {means[1]:8.2f}", flush=True)
        worst = min(aucs, key=lambda name: aucs[name])
        print(f"worst: {worst}, AUC {aucs[worst]:.3f}\n")


if __name__ == "__main__":
    main()
