"""The known map from the H&E section to the Ki-67 section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

LEAST_WAVELENGTH_UM = 1200.0  # sections stretch and shear over millimetres, not over cells
WAVES = 4
INVERSION_STEPS = 12  # the displacement's slope is below 0.35, so the error shrinks a million times and more


@dataclass(frozen=True)
class Wave:
    """One plane wave of displacement: ``amplitude_um * sin(2π p·k + phase)``, ``k`` in cycles per µm."""

    amplitude_um: tuple[float, float]
    cycles_per_um: tuple[float, float]
    phase: float


@dataclass(frozen=True)
class SectionMap:
    """H&E µm to Ki-67 µm: a smooth displacement in the H&E frame, then a rigid matrix.

    ``ki67 = matrix · (he + u(he))`` with ``u`` the sum of the waves.
    """

    matrix: tuple[tuple[float, float, float], ...]
    waves: tuple[Wave, ...] = ()

    def displacement(self, points_um: Points) -> Points:
        """Return u at H&E points (N, 2), in µm."""
        shift = np.zeros_like(points_um, dtype=np.float64)
        for wave in self.waves:
            phase = 2 * np.pi * (points_um @ np.asarray(wave.cycles_per_um)) + wave.phase
            height = np.sin(phase)
            for axis, amplitude_um in enumerate(wave.amplitude_um):
                shift[:, axis] += height * amplitude_um
        return shift

    def map_points(self, points_um: Points) -> Points:
        """Map H&E points (N, 2) to Ki-67 points (N, 2), both in µm."""
        moved = points_um + self.displacement(points_um)
        matrix = np.asarray(self.matrix)
        return np.asarray(moved @ matrix[:2, :2].T + matrix[:2, 2])

    def inverse_points(self, points_um: Points) -> Points:
        """Map Ki-67 points (N, 2) back to H&E points (N, 2), both in µm, by fixed-point iteration."""
        inverse = np.linalg.inv(np.asarray(self.matrix))
        moved = points_um @ inverse[:2, :2].T + inverse[:2, 2]
        points = moved.copy()
        for _ in range(INVERSION_STEPS if self.waves else 0):
            points = moved - self.displacement(points)
        return np.asarray(points)

    @property
    def rotation_rad(self) -> float:
        """Turn of the rigid part, in radians, from x towards y (clockwise on the screen)."""
        return float(np.arctan2(self.matrix[1][0], self.matrix[0][0]))

    def to_dict(self) -> dict[str, Any]:
        """Return the map as JSON-ready data."""
        return {
            "formula": "ki67 = matrix * (he + sum(amplitude_um * sin(2 pi he.cycles_per_um + phase)))",
            "matrix": [list(row) for row in self.matrix],
            "rotation_deg": float(np.degrees(self.rotation_rad)),
            "waves": [
                {
                    "amplitude_um": list(wave.amplitude_um),
                    "cycles_per_um": list(wave.cycles_per_um),
                    "phase": wave.phase,
                }
                for wave in self.waves
            ],
        }


IDENTITY = SectionMap(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def rigid(rotation_deg: float, centre_um: Points, target_um: Points) -> tuple[tuple[float, float, float], ...]:
    """Matrix that turns about ``centre_um`` and takes it to ``target_um``."""
    angle = np.radians(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = target_um - turn @ centre_um
    return (
        (float(turn[0, 0]), float(turn[0, 1]), float(shift[0])),
        (float(turn[1, 0]), float(turn[1, 1]), float(shift[1])),
        (0.0, 0.0, 1.0),
    )


def draw_waves(rng: np.random.Generator, largest_um: float, extent_um: float) -> tuple[Wave, ...]:
    """Draw a smooth displacement whose length nowhere exceeds ``largest_um``."""
    if largest_um <= 0:
        return ()
    longest = max(2 * LEAST_WAVELENGTH_UM, 1.5 * extent_um)
    lengths = np.exp(rng.uniform(np.log(LEAST_WAVELENGTH_UM), np.log(longest), WAVES))
    weights = lengths / lengths.sum()  # long waves carry more, as in real sections
    waves = []
    for length, weight in zip(lengths, weights, strict=True):
        direction, way, phase = rng.uniform(0, 2 * np.pi, 3)
        amplitude = largest_um * weight
        waves.append(
            Wave(
                (float(amplitude * np.cos(way)), float(amplitude * np.sin(way))),
                (float(np.cos(direction) / length), float(np.sin(direction) / length)),
                float(phase),
            )
        )
    return tuple(waves)
