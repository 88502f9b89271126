"""Synthetic sections with a known answer."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.registration.images import Section, section_from_rgb
from ki67.registration.warp import pixel_matrix

MPP = 8.0
SIDE_PX = 360


def draw_tissue(seed: int, side_px: int = SIDE_PX) -> NDArray[np.float32]:
    """A blob of tissue (density 0 to 1) with glands, vessels and grain, free on the glass."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side_px, :side_px] / side_px - 0.5
    angle = np.arctan2(y, x)
    radius = 0.3 + sum(0.05 / k * np.cos(k * angle + generator.uniform(0, 6.3)) for k in (2, 3, 5))
    inside = (np.hypot(x, 0.8 * y) < radius).astype(np.float32)
    scene = np.full((side_px, side_px), 0.35, np.float32)
    for _ in range(140):
        centre = tuple(int(value) for value in generator.integers(0, side_px, 2))
        axes = tuple(int(value) for value in generator.integers(3, 16, 2))
        shade = float(generator.uniform(0.05, 1.0))
        cv2.ellipse(scene, centre, axes, float(generator.uniform(0, 180)), 0, 360, shade, -1)
    grain = cv2.GaussianBlur(generator.normal(size=scene.shape).astype(np.float32), (0, 0), 1.2)
    return np.clip(scene + 0.15 * grain, 0.02, 1) * cv2.GaussianBlur(inside, (0, 0), 1.0)


def stain(density: NDArray[np.float32], colour: tuple[float, float, float], seed: int) -> NDArray[np.uint8]:
    """The density as light through a stain, with the scanner's noise."""
    light = 244 * np.exp(-density[..., None] * np.asarray(colour, np.float32))
    noise = np.random.default_rng(seed).normal(0, 2, light.shape)
    return np.clip(light + noise, 0, 255).astype(np.uint8)


def known_matrix(angle_deg: float, *, mirrored: bool, shift_um: tuple[float, float]) -> NDArray[np.float64]:
    """Turn about the middle of the section, after a flip, then a shift."""
    middle = SIDE_PX * MPP / 2
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    linear = np.array([[cos, -sin], [sin, cos]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array([middle, middle]) + shift_um - linear @ np.array([middle, middle])
    return matrix


def moved(density: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """The section as it lies after the map ``matrix`` (µm to µm)."""
    scale = pixel_matrix(MPP)
    in_px = np.linalg.inv(scale) @ matrix @ scale
    return np.asarray(cv2.warpAffine(density, in_px[:2], density.shape[::-1]), np.float32)


def make_section(rgb: NDArray[np.uint8], name: str) -> Section:
    height, width = rgb.shape[:2]
    return section_from_rgb(rgb, MPP, (width * MPP, height * MPP), name=name)


HE = (0.6, 1.3, 0.7)
IHC = (0.5, 0.35, 0.25)
