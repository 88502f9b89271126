"""Closed outlines in µm: the tissue's edge, the tumour's, and distance maps of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.geometry import as_multipolygon, polygons_of

Floats = NDArray[np.float32]

RASTER_PITCH_UM = 8.0  # outlines are smooth over tens of µm; 8 µm keeps 300 mm² within 20 MB
FAR_UM = 1e4  # distance reported outside a raster: far outside
VERTICES = 720


@dataclass(frozen=True)
class DistanceRaster:
    """Signed distance to an outline (negative inside), sampled on a grid that starts at ``origin_um``."""

    pixels: Floats
    origin_um: tuple[float, float]
    pitch_um: float = RASTER_PITCH_UM

    def at(self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]) -> Floats:
        """Bilinear signed distance in µm at positions of any shape; far outside the raster it is ``FAR_UM``."""
        u = (np.asarray(x_um, dtype=np.float64) - self.origin_um[0]) / self.pitch_um - 0.5
        v = (np.asarray(y_um, dtype=np.float64) - self.origin_um[1]) / self.pitch_um - 0.5
        rows, columns = self.pixels.shape
        outside = (u < 0) | (v < 0) | (u > columns - 1) | (v > rows - 1)
        u, v = np.clip(u, 0, columns - 1.001), np.clip(v, 0, rows - 1.001)
        c, r = u.astype(np.intp), v.astype(np.intp)
        a, b = (u - c).astype(np.float32), (v - r).astype(np.float32)
        top = self.pixels[r, c] * (1 - a) + self.pixels[r, c + 1] * a
        bottom = self.pixels[r + 1, c] * (1 - a) + self.pixels[r + 1, c + 1] * a
        return np.where(outside, np.float32(FAR_UM), top * (1 - b) + bottom * b).astype(np.float32)


def distance_raster(geometry: BaseGeometry, size_um: tuple[float, float]) -> DistanceRaster:
    """Signed distance map of an areal geometry over ``(0, 0)`` to ``size_um``."""
    columns, rows = (int(np.ceil(side / RASTER_PITCH_UM)) + 2 for side in size_um)
    mask = np.zeros((rows, columns), np.uint8)
    shift = 4  # cv2's fixed point: sixteenths of a pixel
    for polygon in polygons_of(geometry):
        rings = [polygon.exterior, *polygon.interiors]
        points = [
            np.round((np.asarray(ring.coords) / RASTER_PITCH_UM + 0.5) * 2**shift).astype(np.int32) for ring in rings
        ]
        cv2.fillPoly(mask, points, (1,), cv2.LINE_8, shift)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    signed = np.where(mask > 0, 0.5 - inside, outside - 0.5) * RASTER_PITCH_UM
    signed = np.asarray(signed, dtype=np.float32)
    # the blur takes the raster's steps out of the outline
    smooth = cv2.GaussianBlur(signed, (0, 0), 1.5)
    return DistanceRaster(np.asarray(smooth), (-RASTER_PITCH_UM, -RASTER_PITCH_UM))


def _wobble(rng: np.random.Generator, orders: range, strength: float, fall_off: float) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = np.ones(VERTICES)
    for order in orders:
        amplitude = strength * rng.normal() / order**fall_off
        radius += amplitude * np.sin(order * angle + rng.uniform(0, 2 * np.pi))
    return np.maximum(radius, 0.35)


def tissue_outline(rng: np.random.Generator, size_um: tuple[float, float], margin_um: float) -> Polygon:
    """Draw an irregular piece of tissue that fills the slide up to the margin of glass.

    The low orders make it asymmetric, so that only one turn brings two sections together.
    """
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = _wobble(rng, range(1, 4), 0.22, 0.8) * _wobble(rng, range(4, 40), 0.12, 1.0)
    # a superellipse of order 2.6: tissue blocks are trimmed to something between an ellipse and a rectangle
    power = 2.6
    radius /= (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (1 / power)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    low, high = points.min(0), points.max(0)
    extent = np.asarray(size_um) - 2 * margin_um
    return Polygon((points - low) / (high - low) * extent + margin_um)


def tumour_shape(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the outline of an invasive tumour about the origin, of area 1: lobed and slightly spiculated."""
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = _wobble(rng, range(2, 6), 0.25, 1.0) * _wobble(rng, range(6, 24), 0.12, 0.8)
    stretch = np.exp(rng.uniform(-0.18, 0.18))
    points = np.stack([radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch], 1)
    return np.asarray(points / np.sqrt(Polygon(points).area))


def place_tumour(
    shape: NDArray[np.float64], centre_um: NDArray[np.float64], area_um2: float, within: BaseGeometry
) -> MultiPolygon:
    """Scale a tumour shape to an area about a centre and cut it to the tissue."""
    outline = shapely.make_valid(Polygon(shape * np.sqrt(area_um2) + centre_um))
    return as_multipolygon(shapely.simplify(outline.intersection(within), 1.0))
