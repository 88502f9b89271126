"""Periodic random textures, and reading them at any position.

Everything continuous in the scene is a function of position built from these textures, so that any piece of a
slide can be drawn without its surroundings and memory does not grow with the slide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ki67.jobs import current

Floats = NDArray[np.float32]

ROW_LENGTH = 8192  # cv2.remap refuses images of 32768 and more on a side, so long point lists are folded


@dataclass(frozen=True)
class Texture:
    """A square periodic image: pixel (r, c) is the value at ``((c + 0.5) * pitch_um, (r + 0.5) * pitch_um)``."""

    pixels: Floats
    pitch_um: float

    @property
    def period_um(self) -> float:
        """Side after which the texture repeats."""
        return float(self.pixels.shape[0] * self.pitch_um)

    def at(self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]) -> Floats:
        """Bilinear values at positions of any shape, µm."""
        shape = np.shape(x_um)
        if np.ndim(x_um) == 2 and max(shape) < ROW_LENGTH:
            return self._remap(x_um, y_um)
        count = int(np.prod(shape))
        rows = max(1, -(-count // ROW_LENGTH))
        pad = rows * ROW_LENGTH - count
        folded = [np.pad(np.ravel(v), (0, pad)).reshape(rows, ROW_LENGTH) for v in (x_um, y_um)]
        step = ROW_LENGTH
        parts = [self._remap(folded[0][r : r + step], folded[1][r : r + step]) for r in range(0, rows, step)]
        return np.asarray(np.concatenate(parts).ravel()[:count].reshape(shape), dtype=np.float32)

    def _remap(self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]) -> Floats:
        if x_um.size == 0:
            return np.zeros(x_um.shape, np.float32)
        # whole periods are taken off in double precision, or float32 would lose the sub-pixel part far out
        u = (x_um - np.floor(x_um.min() / self.period_um) * self.period_um) / self.pitch_um - 0.5
        v = (y_um - np.floor(y_um.min() / self.period_um) * self.period_um) / self.pitch_um - 0.5
        return np.asarray(
            cv2.remap(
                self.pixels, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
        )


def _standardised(pixels: NDArray[np.floating]) -> Floats:
    return np.asarray((pixels - pixels.mean()) / pixels.std(), dtype=np.float32)


def noise(
    rng: np.random.Generator, size_px: int, pitch_um: float, wavelength_um: float, octaves: float = 0.5
) -> Texture:
    """Isotropic Gaussian noise of one dominant wavelength, mean 0, standard deviation 1.

    ``octaves`` is the standard deviation of the band around it.
    """
    return stretched_noise(rng, size_px, pitch_um, (wavelength_um, wavelength_um), octaves)


def stretched_noise(
    rng: np.random.Generator,
    size_px: int,
    pitch_um: float,
    wavelength_um: tuple[float, float],
    octaves: float = 0.5,
) -> Texture:
    """Gaussian noise with different wavelengths along x and y, mean 0, standard deviation 1."""
    white = rng.standard_normal((size_px, size_px), dtype=np.float32)
    fx = np.fft.rfftfreq(size_px, pitch_um)[None, :] * wavelength_um[0]
    fy = np.fft.fftfreq(size_px, pitch_um)[:, None] * wavelength_um[1]
    radius = np.sqrt(fx**2 + fy**2)
    band = np.exp(-0.5 * (np.log2(np.maximum(radius, 1e-6)) / octaves) ** 2)
    return Texture(_standardised(np.fft.irfft2(np.fft.rfft2(white) * band, s=white.shape)), pitch_um)


def power_noise(rng: np.random.Generator, size_px: int, pitch_um: float, exponent: float) -> Texture:
    """Gaussian noise with amplitude ~ frequency ** -exponent, mean 0, standard deviation 1."""
    white = rng.standard_normal((size_px, size_px), dtype=np.float32)
    radius = np.hypot(np.fft.rfftfreq(size_px)[None, :], np.fft.fftfreq(size_px)[:, None])
    radius[0, 0] = 1.0
    spectrum = np.fft.rfft2(white) * radius**-exponent
    spectrum[0, 0] = 0.0
    return Texture(_standardised(np.fft.irfft2(spectrum, s=white.shape)), pitch_um)


def fibres(rng: np.random.Generator, size_px: int, pitch_um: float) -> Texture:
    """Collagen seen along x: fine fibrils within bundles, values 0 (gap) to 1 (dense), mean about 0.5."""
    bundles = stretched_noise(rng, size_px, pitch_um, (170.0, 17.0), 0.6).pixels
    strands = stretched_noise(rng, size_px, pitch_um, (70.0, 5.0), 0.6).pixels
    fibrils = stretched_noise(rng, size_px, pitch_um, (20.0, 1.9), 0.6).pixels
    mixed = _standardised(0.55 * bundles + 0.5 * strands + 0.55 * fibrils)
    return Texture(np.asarray(1.0 / (1.0 + np.exp(-1.5 * mixed)), dtype=np.float32), pitch_um)


def foam(rng: np.random.Generator, size_px: int, pitch_um: float, cell_um: float) -> Texture:
    """Fat cells: distance in µm to the nearest cell border (a periodic Voronoi foam of jittered cells)."""
    period = size_px * pitch_um
    per_side = max(3, round(period / cell_um))
    base = np.stack(np.meshgrid(np.arange(per_side), np.arange(per_side)), -1).reshape(-1, 2).astype(float)
    base[:, 0] += 0.5 * (base[:, 1] % 2)
    centres = (base + rng.uniform(-0.33, 0.33, base.shape)) * (period / per_side) % period
    tree = cKDTree(centres, boxsize=period)
    axis = (np.arange(size_px) + 0.5) * pitch_um
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    distance, index = tree.query(grid, k=2, workers=current().threads)
    apart = centres[index[:, 1]] - centres[index[:, 0]]
    apart -= period * np.round(apart / period)
    # the distance to the bisector of the two nearest centres
    border = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * np.linalg.norm(apart, axis=1))
    return Texture(np.asarray(border.reshape(size_px, size_px), dtype=np.float32), pitch_um)
