"""What lies between the nuclei: stroma, fat, cytoplasm, lumina, blood and necrosis as stain amounts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.simulate.scene import Fields, Scene
from ki67.simulate.textures import Floats

NEAR_UM = 80.0  # distances are cut off here, so that they interpolate well between grid nodes
RED_CELL_SCALE = 9.0  # the fat foam nine times smaller is a smear of red cells of 7 µm


@dataclass(frozen=True)
class Tints:
    """Stain amounts (optical density along the stain's vector) of the parts: haematoxylin, eosin or ground."""

    stroma: tuple[float, float]
    desmoplastic: tuple[float, float]
    cytoplasm: tuple[float, float]
    membrane: tuple[float, float]
    necrosis: tuple[float, float]
    blood: tuple[float, float]
    weave: float  # contrast of the fibres, 0 to 1
    border: float  # contrast of cell borders, 0 to 1
    gap: float  # fibre density below which stroma is torn open


HE_TINTS = Tints(
    stroma=(0.02, 0.30),
    desmoplastic=(0.09, 0.24),
    cytoplasm=(0.14, 0.23),
    membrane=(0.03, 0.22),
    necrosis=(0.09, 0.38),
    blood=(0.02, 0.55),
    weave=0.62,
    border=0.45,
    gap=0.14,
)
IHC_TINTS = Tints(
    stroma=(0.022, 0.070),
    desmoplastic=(0.028, 0.074),
    cytoplasm=(0.028, 0.075),
    membrane=(0.006, 0.055),
    necrosis=(0.04, 0.13),
    blood=(0.01, 0.14),
    weave=0.45,
    border=0.45,
    gap=0.30,
)


@dataclass(frozen=True)
class Ground:
    """Amounts of haematoxylin and of the ground stain (eosin on H&E), and where there is tissue (0 to 1)."""

    haematoxylin: Floats
    ground: Floats
    tissue: Floats


def step(values: Floats, low: float, high: float) -> Floats:
    """Linear ramp from 0 at ``low`` to 1 at ``high``."""
    return np.asarray(np.clip((values - np.float32(low)) * np.float32(1 / (high - low)), 0, 1))


def upsample(nodes: NDArray[np.floating], pitch_px: int, height: int, width: int) -> Floats:
    """Bilinear values at all pixels from nodes at the centres of ``pitch_px`` squares, with one node around."""
    big = cv2.resize(
        np.asarray(nodes, dtype=np.float32),
        (nodes.shape[1] * pitch_px, nodes.shape[0] * pitch_px),
        interpolation=cv2.INTER_LINEAR,
    )
    return np.asarray(big[pitch_px : pitch_px + height, pitch_px : pitch_px + width])


def paint_ground(
    scene: Scene,
    fields: Fields,
    position_um: tuple[NDArray[np.float64], NDArray[np.float64]],
    pitch_px: int,
    shape: tuple[int, int],
    tints: Tints,
) -> Ground:
    """Paint everything but the nuclei.

    Parameters
    ----------
    scene, fields
        The scene, and its values at the grid's nodes.
    position_um
        Scene positions (x, y) of the nodes.
    pitch_px, shape
        Pixels per node, and the size (H, W) wanted.
    tints
        Stain amounts.
    """
    height, width = shape

    def up(nodes: NDArray[np.floating]) -> Floats:
        return upsample(nodes, pitch_px, height, width)

    def read(
        texture_x: NDArray[np.float64], texture_y: NDArray[np.float64], period_um: float
    ) -> tuple[Floats, Floats]:
        # whole periods are taken off before the positions become float32
        shift_x = np.floor(texture_x.min() / period_um) * period_um
        shift_y = np.floor(texture_y.min() / period_um) * period_um
        return up(texture_x - shift_x), up(texture_y - shift_y)

    x, y = position_um
    paint = scene.paint
    fibre = paint.fibres.at(*read(fields.fibre_u, fields.fibre_v, paint.fibres.period_um))
    grain = paint.grain.at(*read(x, y, paint.grain.period_um))
    nest, fat = up(fields.nest), up(fields.fat)
    tissue = step(up(np.clip(fields.tissue, -NEAR_UM, NEAR_UM)) + 18 * (fibre - 0.5), 1.5, -1.5)

    desmoplastic = np.clip(0.5 - fields.idc / 80, 0, 1)
    density = np.clip(1 + 0.28 * fields.collagen - 0.1 * desmoplastic, 0.45, 1.7)
    base = [s + (d - s) * desmoplastic for s, d in zip(tints.stroma, tints.desmoplastic, strict=True)]
    gaps = step(fibre, 0.1 * tints.gap, tints.gap)
    weave = (1 + tints.weave * (2 * fibre - 1 + 0.4 * grain)) * gaps
    ground = up(base[1] * density) * weave
    haematoxylin = up(base[0]) * (0.6 + 0.8 * fibre)
    # nests shrink away from the stroma in places
    cleft = step(nest, -0.24, -0.12) * step(nest, 0.02, -0.06) * step(fibre, 0.75, 0.35)
    cleft *= up(np.clip(0.35 + 0.5 * fields.collagen, 0, 0.85))
    ground *= 1 - cleft
    haematoxylin *= 1 - cleft

    epithelium = np.maximum(step(nest, -0.03, 0.06), 0)
    if (fields.outer < NEAR_UM).any():
        outer = up(np.clip(fields.outer, -NEAR_UM, NEAR_UM))
        epithelium = np.maximum(epithelium, step(outer, 0.8, -0.8))
        ground += step(np.abs(outer - 1.0), 2.2, 0.6) * np.float32(0.6 * tints.stroma[1])  # basement membrane
    uneven = paint.mottle.at(*read(x, y, paint.mottle.period_um))
    mottle = (1 + 0.28 * grain + 0.14 * uneven) * (1 - tints.border * cv2.exp(-((uneven * np.float32(6)) ** 2)))
    haematoxylin += epithelium * (tints.cytoplasm[0] * mottle - haematoxylin)
    ground += epithelium * (tints.cytoplasm[1] * mottle - ground)

    if (fields.fat > -0.3).any():
        foam_x, foam_y = (x + fields.fibre_u) / 2, (y + fields.fibre_v) / 2
        border = paint.foam.at(*read(foam_x, foam_y, paint.foam.period_um))
        wall = cv2.exp(-((border * np.float32(1 / 1.3)) ** 2))
        share = step(fat, -0.04, 0.04)
        haematoxylin += share * (tints.membrane[0] * wall - haematoxylin)
        ground += share * (tints.membrane[1] * wall * (0.6 + 0.8 * fibre) - ground)
    if (fields.lumen < NEAR_UM).any():
        clear = 1 - 0.97 * step(up(np.clip(fields.lumen, -NEAR_UM, NEAR_UM)), 0.7, -0.7)
        haematoxylin *= clear
        ground *= clear
    if (fields.necrosis < NEAR_UM).any():
        dead = step(up(np.clip(fields.necrosis, -NEAR_UM, NEAR_UM)) + 4 * grain, 4.0, -4.0)
        dust = 0.25 * np.maximum(uneven - 1.0, 0) * (1 + grain)
        haematoxylin += dead * (tints.necrosis[0] * (1 + 0.4 * grain) + dust - haematoxylin)
        ground += dead * (tints.necrosis[1] * (1 + 0.22 * grain + 0.15 * uneven) - ground)
    if (fields.blood < NEAR_UM).any():
        period = paint.foam.period_um
        smear = paint.foam.at(*read(x * RED_CELL_SCALE, y * RED_CELL_SCALE, period))
        filled = step(up(np.clip(fields.blood, -NEAR_UM, NEAR_UM)), 1.0, -1.0) * step(smear, 1.0, 8.0)
        filled *= step(grain, -1.6, -0.2)
        haematoxylin += filled * (tints.blood[0] - haematoxylin)
        ground += filled * (tints.blood[1] - ground)
    np.maximum(haematoxylin, 0, out=haematoxylin)
    np.maximum(ground, 0, out=ground)
    return Ground(np.asarray(haematoxylin * tissue), np.asarray(ground * tissue), tissue)
