"""What finds the nuclei of a tile; today the forest, behind an interface that another engine can fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ki67.cells.candidates import find_candidates
from ki67.cells.channels import WORKING_MPP, make_channels
from ki67.cells.forest import NEGATIVE, OTHER, POSITIVE, ForestModel
from ki67.cells.stains import Stains
from ki67.cells.suppression import suppress

# Candidates less likely than this to be a tumour nucleus are neither counted nor kept as "other" nuclei.
_MINIMUM_SCORE = 0.10
# Centroids are kept in steps of 1/1024 px, so that they are equal to the last bit in every tile.
_CENTROID_STEPS = 1024.0


@dataclass(frozen=True)
class Mask:
    """Pixels of one nucleus in its bounding box; ``left``, ``top`` is the box's first pixel in the tile."""

    pixels: NDArray[np.bool_]
    left: int
    top: int


@dataclass(frozen=True)
class FoundNuclei:
    """Nuclei of one tile: centres in pixels (centre of the first pixel: 0.5), class, probability, masks.

    ``label`` is an index into :data:`ki67.cells.forest.CLASSES`, ``probability`` that of the label among the three,
    for ``other`` that of not being a tumour nucleus.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    label: NDArray[np.int8]
    probability: NDArray[np.float32]
    masks: tuple[Mask, ...]


@dataclass(frozen=True)
class Core:
    """The part of a tile that owns nuclei, in pixels of the tile: left and top included, right and bottom not."""

    left: int
    top: int
    right: int
    bottom: int

    def owns(self, x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether centres lie in the core."""
        return (x_px >= self.left) & (x_px < self.right) & (y_px >= self.top) & (y_px < self.bottom)


class Engine(Protocol):
    """Finds nuclei in a tile; what it finds in the core must not depend on where the tile ends.

    ``halo_px`` is how much of the slide it must see around the core for that.
    """

    @property
    def halo_px(self) -> int:
        """Pixels of the working resolution around the core."""
        ...

    def find(self, rgb: NDArray[np.uint8], stains: Stains, core: Core) -> FoundNuclei:
        """Nuclei centred in the core of a tile (H, W, 3) at the working resolution."""
        ...


@dataclass(frozen=True)
class ForestEngine:
    """The paper's way: segmentation, features, random forest."""

    model: ForestModel

    @property
    def halo_px(self) -> int:
        """Largest nucleus, the maps' support, and two steps of suppression between neighbours."""
        return 160

    def find(self, rgb: NDArray[np.uint8], stains: Stains, core: Core) -> FoundNuclei:
        """Nuclei centred in the core of a tile (H, W, 3) at the working resolution."""
        candidates = find_candidates(make_channels(rgb, stains), stains)
        probability = self.model.probabilities(candidates.features)
        score = probability[:, POSITIVE] + probability[:, NEGATIVE]
        likely = np.flatnonzero(score >= _MINIMUM_SCORE)
        x_px = np.round(candidates.x_px[likely] * _CENTROID_STEPS) / _CENTROID_STEPS
        y_px = np.round(candidates.y_px[likely] * _CENTROID_STEPS) / _CENTROID_STEPS
        radius_um = candidates.radius_px[likely] * WORKING_MPP
        best = suppress(x_px * WORKING_MPP, y_px * WORKING_MPP, radius_um, score[likely], self.model.card.overlap)
        best = best[core.owns(x_px[best], y_px[best])]
        label, certainty = self._labels(probability[likely[best]])
        masks = tuple(Mask(*candidates.mask(index)) for index in likely[best].tolist())
        return FoundNuclei(x_px[best], y_px[best], label, certainty, masks)

    def _labels(self, probability: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        card = self.model.card
        positive = probability[:, POSITIVE] >= probability[:, NEGATIVE]
        score = probability[:, POSITIVE] + probability[:, NEGATIVE]
        threshold = np.where(positive, card.positive_threshold, card.negative_threshold)
        label = np.where(score < threshold, OTHER, np.where(positive, POSITIVE, NEGATIVE)).astype(np.int8)
        return label, probability[np.arange(len(label)), label].astype(np.float32)
