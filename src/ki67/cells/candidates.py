"""Nucleus candidates: connected regions above many levels of three maps, far more than there are nuclei.

One threshold never fits a slide on which near-black and hardly stained nuclei lie side by side. So every
connected region of nuclear size, at every level of a map, is a candidate (a component tree, as in MSER: Matas et al.,
BMVC 2002; for cells: Arteta et al., MICCAI 2012); the forest tells which of them is a nucleus, and of overlapping
ones the likeliest is kept. Three maps are searched: the density sum above the local background (dark nuclei), the
band-passed red density (any nucleus against its surroundings) and band-passed blueness (a pale blue nucleus next to
a brown one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import (
    BLUENESS_OFFSET,
    CONTEXT_NAMES,
    CONTEXT_STEP,
    CONTEXT_WINDOWS_UM,
    DENSITY_SCALE,
    WORKING_MPP,
    Channels,
)
from ki67.cells.stains import Stains

# A nucleus, or a clump that later levels split: from a small lymphocyte cut at its edge to a giant tumour nucleus.
MINIMUM_AREA_UM2 = 7.5
MAXIMUM_AREA_UM2 = 600.0
MAXIMUM_EXTENT_UM = 40.0

# Levels in optical density (density sum: mean of the three channels; band passes: see channels.py). Geometric, since
# a pale nucleus needs fine steps and a dark one coarse ones.
RAISED_LEVELS = tuple(float(level) for level in np.geomspace(0.05, 1.0, 8))
BAND_LEVELS = (0.004, 0.012, 0.03, 0.06, 0.12, 0.2)

_RING_NEAR_PX = 2
_RING_FAR_PX = 4
_CHANNELS = ("Red", "Green", "Blue", "Hematoxylin", "DAB", "Blueness")
_SPREAD = ("Red", "Blue", "Blueness")

FEATURE_NAMES: tuple[str, ...] = (
    "Area", "Major", "Minor", "AR", "EllipseFill", "BoxFill", "Border", "Reach",
    *(f"Mean_{name}" for name in _CHANNELS),
    *(f"StdDev_{name}" for name in _SPREAD),
    "Texture", "RedBand", "BlueBand", "EdgeInside", "EdgeBorder", "BlueEdgeBorder", "EdgeRelative",
    *(f"RingNear_{name}" for name in _CHANNELS),
    *(f"ContrastNear_{name}" for name in _CHANNELS),
    *(f"ContrastFar_{name}" for name in _CHANNELS),
    "RingNearFree", "RingFarFree",
    *(f"Around{window:.0f}_{name}" for window in CONTEXT_WINDOWS_UM for name in CONTEXT_NAMES),
    *(f"ContrastAround_{name}" for name in ("Red", "Green", "Blue", "Blueness")),
    "Level", "Map",
)  # fmt: skip
"""Names of the columns of :attr:`Candidates.features`, in order; densities in OD, lengths in µm."""


MOST_IN_16_BITS = 0xFFFF
"""Tiles hold fewer candidates a level; a labelled section measured in one piece may hold more."""


@dataclass(frozen=True)
class Layer:
    """The candidates of one level of one map: label image (H, W), 0 where there is none."""

    labels: NDArray[np.unsignedinteger[Any]]
    boxes: NDArray[np.int32]


@dataclass(frozen=True)
class Candidates:
    """All candidates of a tile.

    ``x_px``, ``y_px`` are centroids in pixel coordinates of the tile (the centre of pixel 0 is 0.5), ``radius_px``
    the radius of the circle of the same area, ``features`` (N, F) float32; ``layer`` and ``label`` say where the
    mask is.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    radius_px: NDArray[np.float64]
    features: NDArray[np.float32]
    layer: NDArray[np.int32]
    label: NDArray[np.int32]
    layers: tuple[Layer, ...]

    def __len__(self) -> int:
        return len(self.x_px)

    def mask(self, index: int) -> tuple[NDArray[np.bool_], int, int]:
        """Mask of one candidate in its bounding box, and the box's left and top pixel."""
        layer = self.layers[self.layer[index]]
        left, top, width, height = layer.boxes[self.label[index] - 1]
        crop = layer.labels[top : top + height, left : left + width]
        return crop == self.label[index], int(left), int(top)


def find_candidates(channels: Channels, stains: Stains) -> Candidates:
    """All candidates of a tile with the features the forest looks at."""
    layers: list[Layer] = []
    features: list[NDArray[np.float64]] = []
    places: list[NDArray[np.float64]] = []
    owners: list[NDArray[np.int32]] = []
    measure = _Measure(channels, stains)
    for map_index, (image, levels) in enumerate(_maps(channels)):
        for level_index, level in enumerate(levels):
            layer = _layer(image > level)
            if layer is None:
                continue
            place, values = measure(layer)
            count = len(place)
            features.append(np.column_stack([values, np.full(count, level_index), np.full(count, map_index)]))
            places.append(place)
            owners.append(np.column_stack([np.full(count, len(layers)), np.arange(1, count + 1)]).astype(np.int32))
            layers.append(layer)
    place = np.concatenate(places) if places else np.empty((0, 3))
    owner = np.concatenate(owners) if owners else np.empty((0, 2), np.int32)
    table = np.concatenate(features) if features else np.empty((0, len(FEATURE_NAMES)))
    return Candidates(
        place[:, 0], place[:, 1], place[:, 2], table.astype(np.float32), owner[:, 0], owner[:, 1], tuple(layers)
    )


def _maps(channels: Channels) -> list[tuple[NDArray[np.int32], list[int]]]:
    raised = [round(level * 3 * DENSITY_SCALE) for level in RAISED_LEVELS]
    band = [round(level * DENSITY_SCALE) for level in BAND_LEVELS]
    return [(channels.raised, raised), (channels.red_band, band), (channels.blue_band, band)]


def _layer(mask: NDArray[np.bool_]) -> Layer | None:
    pixel_um2 = WORKING_MPP**2
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    area_um2 = stats[:, cv2.CC_STAT_AREA] * pixel_um2
    extent_um = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) * WORKING_MPP
    kept = (area_um2 >= MINIMUM_AREA_UM2) & (area_um2 <= MAXIMUM_AREA_UM2) & (extent_um <= MAXIMUM_EXTENT_UM)
    kept[0] = False
    found = int(kept.sum())
    if found == 0:
        return None
    renumber = np.zeros(count, np.uint16 if found <= MOST_IN_16_BITS else np.uint32)
    renumber[kept] = np.arange(1, found + 1)
    return Layer(renumber[labels], stats[kept, :4])


class _Measure:
    """Features of all candidates of one layer, by counting over label images (no loop over candidates)."""

    def __init__(self, channels: Channels, stains: Stains) -> None:
        self._channels = channels
        self._unmixing = stains.unmixing
        od = channels.od
        self._od = [np.ascontiguousarray(od[..., k]).ravel() for k in range(3)]
        self._blueness = channels.blueness.ravel()

    def __call__(self, layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centroid x, y and radius (N, 3) in pixels, and the features without level and map (N, F - 2)."""
        count = len(layer.boxes)
        flat = layer.labels.ravel()
        inside = np.flatnonzero(flat)
        owner = flat[inside].astype(np.intp)
        area = np.bincount(owner, minlength=count + 1)[1:].astype(np.float64)
        place, shape = self._shape(layer, inside, owner, area)
        colour, spread = self._colour(inside, owner, area)
        rows = [shape, colour, spread, self._structure(layer, inside, owner, area, colour)]
        rows.append(self._rings(layer, area, colour))
        rows.append(self._surroundings(place, colour))
        place[:, :2] += 0.5
        return place, np.column_stack(rows)

    def _sums(self, values: NDArray[np.generic], owner: NDArray[np.intp], count: int) -> NDArray[np.float64]:
        return np.asarray(np.bincount(owner, values.astype(np.float64), count + 1)[1:], np.float64)

    def _shape(
        self, layer: Layer, inside: NDArray[np.intp], owner: NDArray[np.intp], area: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        count = len(area)
        y, x = np.divmod(inside, layer.labels.shape[1])
        x -= layer.boxes[owner - 1, 0]
        y -= layer.boxes[owner - 1, 1]
        cx, cy = self._sums(x, owner, count) / area, self._sums(y, owner, count) / area
        # A pixel is a square, not a point: 1/12 is its own second moment.
        xx = self._sums(x * x, owner, count) / area - cx * cx + 1 / 12
        yy = self._sums(y * y, owner, count) / area - cy * cy + 1 / 12
        xy = self._sums(x * y, owner, count) / area - cx * cy
        half, turn = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
        major, minor = np.sqrt(half + turn), np.sqrt(np.maximum(half - turn, 1 / 12))
        border = self._border(layer)
        border_length = np.bincount(border[1], minlength=count + 1)[1:]
        box = layer.boxes[:, 2].astype(np.float64) * layer.boxes[:, 3]
        shape = np.column_stack(
            [
                area * WORKING_MPP**2, 4 * major * WORKING_MPP, 4 * minor * WORKING_MPP, major / minor,
                area / (4 * np.pi * major * minor), area / box, border_length / np.sqrt(area),
                layer.boxes[:, 2:4].max(axis=1) * WORKING_MPP,
            ]
        )  # fmt: skip
        return np.column_stack([cx + layer.boxes[:, 0], cy + layer.boxes[:, 1], np.sqrt(area / np.pi)]), shape

    def _border(self, layer: Layer) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        core = cv2.erode(layer.labels, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        flat = layer.labels.ravel()
        where = np.flatnonzero(flat != core.ravel())
        where = where[flat[where] > 0]
        return where, flat[where].astype(np.intp)

    def _means(
        self, where: NDArray[np.intp], owner: NDArray[np.intp], area: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean density of red, green, blue, haematoxylin, DAB and blueness; zero where there is no pixel."""
        size = np.maximum(area, 1) * DENSITY_SCALE
        rgb = np.column_stack([self._sums(plane[where], owner, len(area)) / size for plane in self._od])
        return np.column_stack([rgb, rgb @ self._unmixing, rgb[:, 0] - rgb[:, 2]])

    def _colour(
        self, inside: NDArray[np.intp], owner: NDArray[np.intp], area: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means = self._means(inside, owner, area)
        spread = []
        for plane, mean, offset in (
            (self._od[0], means[:, 0], 0.0),
            (self._od[2], means[:, 2], 0.0),
            (self._blueness, means[:, 5], BLUENESS_OFFSET),
        ):
            values = plane[inside].astype(np.float64) - offset
            square = self._sums(values * values, owner, len(area)) / area / DENSITY_SCALE**2
            spread.append(np.sqrt(np.maximum(square - mean**2, 0.0)))
        return means, np.column_stack(spread)

    def _structure(
        self,
        layer: Layer,
        inside: NDArray[np.intp],
        owner: NDArray[np.intp],
        area: NDArray[np.float64],
        colour: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        count, channels = len(area), self._channels
        size = area * DENSITY_SCALE
        planes = (channels.texture, channels.red_band, channels.blue_band, channels.edge)
        inner = [self._sums(plane.ravel()[inside], owner, count) / size for plane in planes]
        where, border_owner = self._border(layer)
        length = np.maximum(np.bincount(border_owner, minlength=count + 1)[1:], 1) * DENSITY_SCALE
        edge = self._sums(channels.edge.ravel()[where], border_owner, count) / length
        blue_edge = self._sums(channels.blue_edge.ravel()[where], border_owner, count) / length
        # 0.05 OD keeps the ratio finite in candidates that are hardly stained.
        return np.column_stack([*inner, edge, blue_edge, edge / (colour[:, :3].sum(axis=1) + 0.05)])

    def _rings(self, layer: Layer, area: NDArray[np.float64], colour: NDArray[np.float64]) -> NDArray[np.float64]:
        count = len(area)
        rings, free = [], []
        previous = layer.labels
        for reach in (_RING_NEAR_PX, _RING_FAR_PX):
            size = 2 * reach + 1
            grown = cv2.dilate(layer.labels, np.ones((size, size), np.uint8)).ravel()
            where = np.flatnonzero(grown != previous.ravel())
            where = where[previous.ravel()[where] == 0]
            owner = grown[where].astype(np.intp)
            pixels = np.bincount(owner, minlength=count + 1)[1:].astype(np.float64)
            rings.append(self._means(where, owner, pixels))
            free.append(pixels / area)
            previous = grown
        return np.column_stack([rings[0], colour - rings[0], colour - rings[1], *free])

    def _surroundings(self, place: NDArray[np.float64], colour: NDArray[np.float64]) -> NDArray[np.float64]:
        context = self._channels.context
        row = np.minimum((place[:, 1] + 0.5) // CONTEXT_STEP, context.shape[0] - 1).astype(np.intp)
        column = np.minimum((place[:, 0] + 0.5) // CONTEXT_STEP, context.shape[1] - 1).astype(np.intp)
        around = context[row, column].astype(np.float64)
        wide = around[:, len(CONTEXT_NAMES) :]
        blueness = wide[:, 3] - BLUENESS_OFFSET / DENSITY_SCALE
        return np.column_stack([around, colour[:, :3] - wide[:, :3], colour[:, 5] - blueness])
