"""A library of nucleus pictures, and stamping them onto a tile."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.simulate.textures import Floats

VARIANTS = 48  # pictures per look; turned, mirrored by their angle and stretched, none is recognised again
HALF_SIDE = 0.72  # half a picture's side in nucleus diameters: room for the soft edge and the wavy outline
FINEST_PX = 48  # nucleus diameter in a picture: 0.2 µm for a nucleus of 10 µm
COARSEST_PX = 10
MASK, HAEMATOXYLIN, DAB = range(3)  # channels of a picture


@dataclass(frozen=True)
class Look:
    """How the nuclei of one kind are built.

    ``wave`` is the outline's irregularity, ``membrane`` the extra density of the rim, ``chromatin`` the
    contrast of the texture and ``grain_um`` its grain in nucleus diameters, ``nucleoli`` their mean number.
    """

    wave: float
    membrane: float
    chromatin: float
    grain: float
    nucleoli: float


LOOKS = {
    "tumour1": Look(0.035, 0.30, 0.22, 0.10, 0.3),
    "tumour2": Look(0.055, 0.45, 0.30, 0.11, 0.8),
    "tumour3": Look(0.072, 0.60, 0.40, 0.12, 1.5),
    "benign": Look(0.035, 0.25, 0.20, 0.10, 0.2),
    "lymphocyte": Look(0.03, 0.10, 0.28, 0.16, 0.0),
    "spindle": Look(0.05, 0.10, 0.25, 0.14, 0.0),
}
LOOK_NAMES = tuple(LOOKS)


@dataclass(frozen=True)
class Library:
    """Pictures (looks, variants, side, side, 3): outline, haematoxylin and DAB density, mean about 1 inside."""

    pictures: Floats
    diameter_px: float


def draw_library(seed: int, mpp: float) -> Library:
    """Draw the pictures for one pixel size; the shapes depend on the seed alone."""
    diameter = float(np.clip(round(10.0 / mpp), COARSEST_PX, FINEST_PX))
    side = 2 * int(np.ceil(HALF_SIDE * FINEST_PX))
    pictures = []
    for number, look in enumerate(LOOKS.values()):
        rng = np.random.default_rng([seed, 10, number])
        pictures.append([_picture(rng, look, side) for _ in range(VARIANTS)])
    fine = np.asarray(pictures, dtype=np.float32)
    small = 2 * int(np.ceil(HALF_SIDE * diameter))
    if small == side:
        return Library(fine, diameter)
    scale = small / side
    shrunk = [[cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA) for picture in row] for row in fine]
    return Library(np.asarray(shrunk, dtype=np.float32), FINEST_PX * scale)


def _picture(rng: np.random.Generator, look: Look, side: int) -> Floats:
    axis = (np.arange(side) + 0.5 - side / 2) / FINEST_PX
    x, y = np.meshgrid(axis, axis)
    phi = np.arctan2(y, x)
    edge = np.full_like(phi, 0.5)
    for order in (2, 3, 4, 5, 6):
        edge += 0.5 * look.wave * rng.normal() * (2.5 / order) * np.sin(order * phi + rng.uniform(0, 2 * np.pi))
    depth = edge - np.hypot(x, y)  # in diameters, positive inside
    softness = 0.022
    mask = 1 / (1 + np.exp(-depth / softness))
    # a section through a ball is thinner at its edge
    dome = np.clip(depth / 0.16, 0, 1)
    body = 0.62 + 0.38 * np.sqrt(dome * (2 - dome))
    rim = np.exp(-(((depth - 0.045) / 0.035) ** 2))
    clumps = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), look.grain * FINEST_PX / 2.2)
    fine = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), 1.4)
    texture = 0.8 * clumps / clumps.std() + 0.6 * fine / fine.std()
    nucleoli = np.zeros_like(x)
    for _ in range(rng.poisson(look.nucleoli)):
        angle, out = rng.uniform(0, 2 * np.pi), 0.25 * np.sqrt(rng.random())
        gap = np.hypot(x - out * np.cos(angle), y - out * np.sin(angle))
        nucleoli += np.exp(-((gap / rng.uniform(0.05, 0.09)) ** 2))
    haematoxylin = body * (1 + look.chromatin * texture) + look.membrane * rim + 0.7 * nucleoli
    dab = body * (1 + 0.75 * look.chromatin * texture) + 0.12 * rim + 0.35 * nucleoli
    stack = np.stack([mask, mask * np.maximum(haematoxylin, 0.1), mask * np.maximum(dab, 0.1)], -1)
    if rng.random() < 0.25:  # a nucleus above or below the plane of focus
        stack = cv2.GaussianBlur(stack, (0, 0), FINEST_PX * float(rng.uniform(0.05, 0.10)))
    return np.asarray(stack, dtype=np.float32)


@dataclass(frozen=True)
class Stamps:
    """Nuclei to stamp, in pixels of the slide: positions (x, y), axes, angle, picture and stain amounts."""

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    major_px: NDArray[np.float64]
    minor_px: NDArray[np.float64]
    angle: NDArray[np.float64]
    look: NDArray[np.intp]
    variant: NDArray[np.intp]
    haematoxylin: NDArray[np.float64]
    dab: NDArray[np.float64]

    @property
    def reach_px(self) -> NDArray[np.float64]:
        """Half the side of the square that holds each nucleus."""
        return np.ceil(HALF_SIDE * self.major_px * 1.15 + 2)


def stamp(
    canvas: Floats, origin_px: tuple[int, int], library: Library, stamps: Stamps, chosen: NDArray[np.intp]
) -> None:
    """Add nuclei to a canvas.

    Parameters
    ----------
    canvas
        (H, W, 3) float32: coverage (maximum over the nuclei), haematoxylin and DAB amount (sums); changed.
    origin_px
        Slide pixel (x, y) of the canvas's first pixel.
    library, stamps
        Pictures and nuclei.
    chosen
        Which of the nuclei, in the order in which they are added.
    """
    height, width = canvas.shape[:2]
    side = library.pictures.shape[2]
    reach = stamps.reach_px
    cosine, sine = np.cos(stamps.angle), np.sin(stamps.angle)
    for i in chosen:
        r = int(reach[i])
        # the patch's place depends on the nucleus alone, so that every tile draws the same pixels
        left, top = int(np.floor(stamps.x_px[i])) - r, int(np.floor(stamps.y_px[i])) - r
        x0, y0 = max(left - origin_px[0], 0), max(top - origin_px[1], 0)
        x1, y1 = min(left - origin_px[0] + 2 * r + 1, width), min(top - origin_px[1] + 2 * r + 1, height)
        if x1 <= x0 or y1 <= y0:
            continue
        along, across = stamps.major_px[i] / library.diameter_px, stamps.minor_px[i] / library.diameter_px
        a, b = cosine[i] / along, sine[i] / along
        c, d = -sine[i] / across, cosine[i] / across
        # patch pixel -> picture pixel (cv2's WARP_INVERSE_MAP); centres of pixels are at integers
        px, py = stamps.x_px[i] - 0.5 - left, stamps.y_px[i] - 0.5 - top
        middle = side / 2 - 0.5
        matrix = np.array([[a, b, middle - a * px - b * py], [c, d, middle - c * px - d * py]])
        patch = cv2.warpAffine(
            library.pictures[stamps.look[i], stamps.variant[i]],
            matrix,
            (2 * r + 1, 2 * r + 1),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        sx, sy = x0 + origin_px[0] - left, y0 + origin_px[1] - top
        patch = patch[sy : sy + y1 - y0, sx : sx + x1 - x0]
        target = canvas[y0:y1, x0:x1]
        np.maximum(target[..., MASK], patch[..., MASK], out=target[..., MASK])
        target[..., HAEMATOXYLIN] += np.float32(stamps.haematoxylin[i]) * patch[..., HAEMATOXYLIN]
        if stamps.dab[i] > 0:
            target[..., DAB] += np.float32(stamps.dab[i]) * patch[..., DAB]
