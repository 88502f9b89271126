"""Round structures of the scene: ducts, acini, DCIS, vessels and necrotic foci."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ki67.simulate.tissue_shapes import FAR_UM

Floats = NDArray[np.float32]
GlandKind = Literal["duct", "acinus", "dcis", "vessel", "necrosis"]

HARMONICS = (2, 3, 4, 5, 7)


@dataclass(frozen=True)
class Gland:
    """One round structure: an ellipse with a wavy outline.

    ``radius_um`` is the outer mean radius, ``lumen_um`` that of the lumen (0: solid), ``core_um`` that of the
    necrosis or of the blood within.
    """

    kind: GlandKind
    x_um: float
    y_um: float
    radius_um: float
    lumen_um: float
    core_um: float
    aspect: float
    angle: float
    waves: tuple[tuple[float, float], ...]

    @property
    def reach_um(self) -> float:
        """Radius of a circle about the centre that holds the structure."""
        return float(self.radius_um * np.sqrt(self.aspect) * (1 + sum(abs(a) for a, _ in self.waves)))

    def polar(
        self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Stretched radius of positions in µm, and the outline's wave factor in their direction."""
        dx, dy = x_um - self.x_um, y_um - self.y_um
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        root = np.sqrt(self.aspect)
        u, v = (dx * cosine + dy * sine) / root, (dy * cosine - dx * sine) * root
        return np.hypot(u, v), self.wave(np.arctan2(v, u))

    def wave(self, phi: NDArray[np.floating]) -> NDArray[np.floating]:
        """Factor of the outline's radius in the direction ``phi`` of the stretched frame."""
        factor = np.ones_like(phi)
        for order, (amplitude, phase) in zip(HARMONICS, self.waves, strict=True):
            factor += amplitude * np.sin(order * phi + phase)
        return factor

    def ring(self, radius_um: float, phi: NDArray[np.floating]) -> NDArray[np.float64]:
        """Positions (N, 2) in µm at a mean radius, in directions ``phi`` of the stretched frame."""
        root = np.sqrt(self.aspect)
        radius = radius_um * self.wave(phi)
        u, v = radius * np.cos(phi) * root, radius * np.sin(phi) / root
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x_um + u * cosine - v * sine, self.y_um + u * sine + v * cosine], -1)


@dataclass(frozen=True)
class GlandFields:
    """Signed distances in µm, negative inside, of all glands together."""

    outer: Floats
    lumen: Floats
    necrosis: Floats
    blood: Floats


def draw_gland(
    rng: np.random.Generator,
    kind: GlandKind,
    centre_um: NDArray[np.float64],
    radius_um: float,
    *,
    lumen_um: float = 0.0,
    core_um: float = 0.0,
) -> Gland:
    """Draw a structure's shape about a centre."""
    strength = {"duct": 0.10, "acinus": 0.06, "dcis": 0.05, "vessel": 0.05, "necrosis": 0.12}[kind]
    waves = tuple(
        (float(strength * rng.normal() / order**0.7), float(rng.uniform(0, 2 * np.pi))) for order in HARMONICS
    )
    longest = {"duct": 2.6, "acinus": 1.4, "dcis": 1.6, "vessel": 2.2, "necrosis": 1.8}[kind]
    aspect, angle = float(rng.uniform(1.0, longest)), float(rng.uniform(0, np.pi))
    x_um, y_um = (float(v) for v in centre_um)
    return Gland(kind, x_um, y_um, radius_um, lumen_um, core_um, aspect, angle, waves)


def recut(rng: np.random.Generator, gland: Gland) -> Gland:
    """Return the same structure as it looks in another section a few µm deeper."""
    factor = float(np.exp(rng.normal(0, 0.03)))
    shift = rng.normal(0, 1.5, 2)
    return replace(
        gland,
        x_um=gland.x_um + float(shift[0]),
        y_um=gland.y_um + float(shift[1]),
        radius_um=gland.radius_um * factor,
        lumen_um=gland.lumen_um * factor,
        core_um=gland.core_um * factor,
    )


def gland_fields(
    glands: Sequence[Gland], x_um: NDArray[np.floating], y_um: NDArray[np.floating], reach_um: float
) -> GlandFields:
    """Signed distances to the glands at positions of any shape.

    Only glands within ``reach_um`` of the positions' bounding box are looked at; elsewhere the distance is
    ``FAR_UM``.
    """
    shape = np.shape(x_um)
    fields = [np.full(np.size(x_um), FAR_UM, np.float32) for _ in range(4)]
    outer, lumen, necrosis, blood = fields
    glands = _meeting(glands, x_um, y_um, reach_um)
    # Of a large section each structure meets few of the positions: they are looked up, in order of x.
    every_x, every_y = np.ravel(x_um), np.ravel(y_um)
    order = np.argsort(every_x, kind="stable") if glands else np.empty(0, np.intp)
    x_in_order, y_in_order = every_x[order], every_y[order]
    for gland in glands:
        reach = 1.2 * (gland.reach_um + reach_um)
        # No distance is longer than its stretched radius by more than this factor.
        far = reach * np.sqrt(gland.aspect)
        first, end = np.searchsorted(x_in_order, [gland.x_um - far, gland.x_um + far])
        within = np.flatnonzero(np.abs(y_in_order[first:end] - gland.y_um) < far) + first
        radius, wave = gland.polar(x_in_order[within], y_in_order[within])
        near = radius < reach
        places, radius, wave = order[within[near]], radius[near], wave[near]
        outer[places] = np.minimum(outer[places], radius - wave * gland.radius_um)
        if gland.lumen_um > 0:
            lumen[places] = np.minimum(lumen[places], radius - wave * gland.lumen_um)
        if gland.core_um > 0:
            core = blood if gland.kind == "vessel" else necrosis
            core[places] = np.minimum(core[places], radius - wave * gland.core_um)
    return GlandFields(*(field.reshape(shape) for field in fields))


def _meeting(
    glands: Sequence[Gland], x_um: NDArray[np.floating], y_um: NDArray[np.floating], reach_um: float
) -> list[Gland]:
    """Glands that lie near enough to the bounding box of the positions."""
    if np.size(x_um) == 0:
        return []
    left, right, top, bottom = x_um.min(), x_um.max(), y_um.min(), y_um.max()
    return [
        gland
        for gland in glands
        if left - (reach := gland.reach_um + reach_um) < gland.x_um < right + reach
        and top - reach < gland.y_um < bottom + reach
    ]
