"""Maps of a case as transparent tiles: probability of carcinoma, index in hexagons, agreement of the sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.case import artefacts
from ki67.case.view import CaseView, Role
from ki67.geometry import RectUm
from ki67.registration import LocalBelief
from ki67.report.drawing import viridis
from ki67.report.index_map import scale_end
from ki67.scoring.local import HEXAGON_CELLS, HexagonMap, TumourCells, hexagon_corners, hexagon_map
from ki67.server.library import OpenCase
from ki67.server.tiles import TilePlace, digest_of

HEATMAP: Final = "heatmap"
INDEX: Final = "index"
AGREEMENT: Final = "agreement"
LABELS: Final = {
    HEATMAP: "Probability of invasive carcinoma",
    INDEX: "Ki-67 index in hexagons",
    AGREEMENT: "Estimated error of the registration",
}

LARGEST_ERROR_UM: Final = 50.0
"""Upper end of the colour scale of the registration's error: the width around the region that is counted too."""

OPAQUE: Final = 255
LOST_RGB: Final = (213, 94, 0)
"""Vermilion, which viridis does not have: tissue that has no believable place."""

Rgba = NDArray[np.uint8]


class Layer(Protocol):
    """A map that can be drawn on any tile of a slide's grid."""

    def tile(self, place: TilePlace) -> Rgba:
        """Draw a tile: (H, W, 4) uint8, transparent where the map says nothing."""
        ...


@dataclass(frozen=True)
class Lattice:
    """Colours (R, C, 4) of square cells from the slide's corner on, ``cell_um`` wide."""

    colours: Rgba
    cell_um: float

    def tile(self, place: TilePlace) -> Rgba:
        """Draw a tile; each pixel has the colour of its cell."""
        centres = place.centres_um() / self.cell_um
        column, row = centres[0, :, 0].astype(np.intp), centres[:, 0, 1].astype(np.intp)
        rows, columns = self.colours.shape[:2]
        drawn = np.zeros((place.height, place.width, 4), np.uint8)
        inside = np.ix_(row < rows, column < columns)
        drawn[inside] = self.colours[np.ix_(row[row < rows], column[column < columns])]
        return drawn


@dataclass(frozen=True)
class Hexagons:
    """Index of each hexagon that holds enough cells."""

    hexagons: HexagonMap

    def tile(self, place: TilePlace) -> Rgba:
        """Draw the hexagons that reach into a tile."""
        drawn = np.zeros((place.height, place.width, 4), np.uint8)
        if not len(self.hexagons.cells):
            return drawn
        reach = RectUm.expanded(place.rect_um, self.hexagons.side_um)
        x, y = self.hexagons.centres_um.T
        near = (x >= reach.x_um) & (x <= reach.right_um) & (y >= reach.y_um) & (y <= reach.bottom_um)
        colours = viridis(self.hexagons.index_percent[near] / scale_end(self.hexagons))
        corner = np.array([place.rect_um.x_um, place.rect_um.y_um])
        for shape, colour in zip(
            hexagon_corners(self.hexagons.centres_um[near], self.hexagons.side_um), colours, strict=True
        ):
            points = np.rint((shape - corner) / place.mpp - 0.5).astype(np.int32)
            cv2.fillPoly(drawn, [points], (*colour.tolist(), OPAQUE))
        return drawn


def layer_facts(case: OpenCase) -> list[dict[str, Any]]:
    """Layers of a case: ``id``, ``label``, the ``slide`` they lie on, ``digest``, and the ends of their colours."""
    found: list[dict[str, Any]] = []
    for name, label in LABELS.items():
        digest = layer_digest(case, name)
        if digest is not None:
            low, high = _ends(case, name)
            legend = f"{low} (dark) to {high} (yellow)" + (", orange: no place found" if name == AGREEMENT else "")
            facts = {"id": name, "label": label, "slide": layer_slide(name), "digest": digest}
            found.append(facts | {"low": low, "high": high, "legend": legend})
    return found


def layer_digest(case: OpenCase, name: str) -> str | None:
    """Name of a layer's tiles; None where the case has no such layer."""
    view = case.view
    if name == HEATMAP:
        return _digest_of(view, artefacts.HEATMAP, name)
    if name == AGREEMENT:
        known = view.quality is not None and view.quality.places
        return _digest_of(view, artefacts.QUALITY, name) if known else None
    if name == INDEX and case.has_score:
        return digest_of(case.corrected().version, _digest_of(view, artefacts.CELLS, name))
    return None


def layer_slide(name: str) -> Role:
    """Slide on which a layer lies."""
    return "ki67" if name == INDEX else "he"


def layer(case: OpenCase, name: str) -> Layer:
    """Make a layer that the case has (:func:`layer_digest`)."""
    if name == INDEX:
        return Hexagons(_hexagons(case))
    if name == HEATMAP:
        heatmap = case.view.heatmap
        assert heatmap is not None
        known = ~np.isnan(heatmap.probability)
        return Lattice(_coloured(heatmap.probability, known), heatmap.mpp)
    quality = case.view.quality
    assert quality is not None
    belief = LocalBelief.from_dict(quality.places)
    known = np.isfinite(belief.error_um)
    colours = _coloured(belief.error_um / LARGEST_ERROR_UM, known)
    colours[belief.tissue & ~known] = (*LOST_RGB, OPAQUE)
    return Lattice(colours, belief.cell_um)


def _hexagons(case: OpenCase) -> HexagonMap:
    found = case.corrected()
    counted = found.counted or case.finished.counted

    def make() -> HexagonMap:
        return hexagon_map(TumourCells.of(counted.table), counted.where).judged(HEXAGON_CELLS)

    return case.made("hexagons", found.version, make)


def _ends(case: OpenCase, name: str) -> tuple[str, str]:
    if name == HEATMAP:
        return "0", "1"
    if name == AGREEMENT:
        return "0 µm", f"{LARGEST_ERROR_UM:.0f} µm"
    hexagons = _hexagons(case)
    return "0 %", f"{scale_end(hexagons):.0f} %" if len(hexagons.cells) else "100 %"


def _coloured(values: NDArray[Any], known: NDArray[np.bool_]) -> Rgba:
    colours = np.zeros((*values.shape, 4), np.uint8)
    colours[..., :3] = viridis(np.clip(np.nan_to_num(values), 0, 1))
    colours[..., 3] = np.where(known, OPAQUE, 0)
    return colours


def _digest_of(view: CaseView, file: str, name: str) -> str | None:
    sha256 = view.sha256_of(file)
    return None if sha256 is None else digest_of(name, sha256)
