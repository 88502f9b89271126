"""What finds the nuclei of a tile: the network or the forest, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ki67.cells.candidates import find_candidates
from ki67.cells.card import CellCard
from ki67.cells.channels import WORKING_MPP, TilePixels, make_channels
from ki67.cells.forest import ForestModel, load_model
from ki67.cells.masks import Mask, Masks, stacked
from ki67.cells.network import STRIDE, NetworkModel, load_network
from ki67.cells.peaks import find_peaks, tumour_labels
from ki67.cells.score_curves import probability
from ki67.cells.segmentation import STEPS_PER_PX, segment
from ki67.cells.suppression import suppress
from ki67.cells.tiling import GRID_PX, Core
from ki67.model_files import CPU_PROVIDER
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE, Device, EngineName

DEFAULT_ENGINE: Final = EngineName.network
"""The better one on the validation fields of both labelled sets."""

# Candidates less likely than this to be a tumour nucleus are neither counted nor kept as "other" nuclei.
_MINIMUM_SCORE = 0.10

# Beside what the network sees: the reach of peaks (8) and of neighbours' outlines (36).
_PEAKS_AND_OUTLINES_PX = 44


@dataclass(frozen=True)
class FoundNuclei:
    """Nuclei of one tile: centres in pixels (centre of the first pixel: 0.5), class, probability, masks.

    ``label`` is an index into :data:`ki67.vocabulary.CLASSES`, ``probability`` that of the label among the three,
    for ``other`` that of not being of the likelier tumour class.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    label: NDArray[np.int8]
    probability: NDArray[np.float32]
    masks: Masks


class Engine(Protocol):
    """Finds nuclei in a tile; what it finds in the core must not depend on where the tile ends.

    ``halo_px`` is how much of the slide it must see around the core for that.
    """

    @property
    def card(self) -> CellCard:
        """The card of its model."""
        ...

    @property
    def provider(self) -> str:
        """What runs its model, by ONNX Runtime's name: a processor runs whole numbers where it can."""
        ...

    @property
    def halo_px(self) -> int:
        """Pixels of the working resolution around the core."""
        ...

    def find(self, tile: TilePixels, core: Core) -> FoundNuclei:
        """Nuclei centred in the core of a tile."""
        ...


@dataclass(frozen=True)
class ForestEngine:
    """The paper's way: segmentation, features, random forest."""

    model: ForestModel

    @property
    def card(self) -> CellCard:
        """The card of the forest."""
        return self.model.card

    @property
    def provider(self) -> str:
        """The processor, whatever the device: trees gain nothing from a graphics card."""
        return CPU_PROVIDER

    @property
    def halo_px(self) -> int:
        """Largest nucleus, the maps' support, and two steps of suppression between neighbours."""
        return 160

    def find(self, tile: TilePixels, core: Core) -> FoundNuclei:
        """Nuclei centred in the core of a tile."""
        candidates = find_candidates(make_channels(tile), tile.stains)
        shares = self.model.probabilities(candidates.features)
        score = shares[:, POSITIVE] + shares[:, NEGATIVE]
        likely = np.flatnonzero(score >= _MINIMUM_SCORE)
        x_px, y_px = _on_grid(candidates.x_px[likely]), _on_grid(candidates.y_px[likely])
        radius_um = candidates.radius_px[likely] * WORKING_MPP
        best = suppress(x_px * WORKING_MPP, y_px * WORKING_MPP, radius_um, score[likely], self.model.overlap)
        best = best[core.owns(x_px[best], y_px[best])]
        label = tumour_labels(shares[likely[best]], self.card.positive_threshold, self.card.negative_threshold)
        certainty = shares[likely[best], label].astype(np.float32)
        masks = stacked([Mask(*candidates.mask(index)) for index in likely[best].tolist()])
        return FoundNuclei(x_px[best], y_px[best], label, certainty, masks)


@dataclass(frozen=True)
class NetworkEngine:
    """A fully convolutional network finds the centres and their class; the outline follows from the centre."""

    model: NetworkModel

    @property
    def card(self) -> CellCard:
        """The card of the network."""
        return self.model.card

    @property
    def provider(self) -> str:
        """What runs the network, by ONNX Runtime's name."""
        return CPU_PROVIDER if self.model.device is Device.cpu else self.model.runner.provider

    @property
    def halo_px(self) -> int:
        """As :meth:`seen`, on the side where it is more."""
        return max(self._around_px)

    @property
    def _around_px(self) -> tuple[int, int]:
        """Pixels before and after the core that the network must see, in multiples of its grid."""
        before, after = (-(-(seen + _PEAKS_AND_OUTLINES_PX) // GRID_PX) * GRID_PX for seen in self.model.seen_px)
        return before, after

    def seen(self, core: Core) -> tuple[slice, slice]:
        """Rows and columns of a tile that the network must see."""
        before, after = self._around_px
        return (
            slice(max(0, core.top - before), core.bottom + after),
            slice(max(0, core.left - before), core.right + after),
        )

    def find(self, tile: TilePixels, core: Core) -> FoundNuclei:
        """Nuclei centred in the core of a tile."""
        rows, columns = self.seen(core)
        peaks = find_peaks(self.model.maps(tile.rgb[rows, columns], tile.stains.background_rgb))
        x_px, y_px = _on_grid(peaks.x_px * STRIDE) + columns.start, _on_grid(peaks.y_px * STRIDE) + rows.start
        own = np.flatnonzero(core.owns(x_px, y_px))
        label, certainty = self._labels(peaks.values[own])
        masks = segment(tile.smooth_density, x_px, y_px, own)
        return FoundNuclei(x_px[own], y_px[own], label, certainty, masks)

    def _labels(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Labels and how likely they are right; "other" is what the likelier tumour class is not."""
        label = tumour_labels(scores, self.card.positive_threshold, self.card.negative_threshold)
        likelier = np.where(scores[:, POSITIVE] >= scores[:, NEGATIVE], POSITIVE, NEGATIVE)
        certainty = np.empty(len(label))
        for number, curve in self.card.curves.items():
            own = likelier == number
            certainty[own] = probability(scores[own, number], curve)
        return label, np.where(label == OTHER, 1.0 - certainty, certainty).astype(np.float32)


def _on_grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(values * STEPS_PER_PX) / STEPS_PER_PX


def load_engine(
    name: EngineName = DEFAULT_ENGINE, model: str | Path | None = None, device: Device | None = None
) -> Engine:
    """Load an engine with the shipped model, or another, to run on a device; None leaves that to the job.

    Raises
    ------
    ModelError
        Where the model cannot be used.
    """
    if name == EngineName.forest:
        return ForestEngine(load_model(model))
    return NetworkEngine(load_network(model, device))
