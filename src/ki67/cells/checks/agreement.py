"""How much the network finds again on a picture that is made a little smaller or darker.

On fields like those that a network has learnt from, small changes of size and stain hardly matter; where it knows
nothing like them, other nuclei are found each time. No label is needed to see that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ki67.cells.channels import WORKING_MPP
from ki67.cells.engine import Engine, NetworkEngine
from ki67.cells.network import STRIDE, maps_of, transmitted
from ki67.cells.peaks import find_peaks, tumour_labels
from ki67.cells.stains import Stains
from ki67.domain import Check, Verdict
from ki67.geometry import RectUm
from ki67.slides import Slide
from ki67.vocabulary import NEGATIVE, POSITIVE, TUMOUR_CLASSES

NAME: Final = "cell_agreement"

AGREEMENT_COLUMNS: Final = ("x_um", "y_um", "label", "in_region")
"""What the check needs of the cell table."""

CHANGES: Final = ((0.87, 1.0), (1.0, 1.3))
"""Factors of nuclear size and of optical density: smaller nuclei, and a darker picture. Of four changes tried on
labelled fields these two together go best with the F1."""

SURE_AGREEMENT: Final = 0.92
UNSURE_BETWEEN: Final = 0.35
"""Above the first the index of 66 fields was off by no more than chance in counting explains; of 92 fields below it
by 0.35 besides (standard deviation of the logit between fields)."""

WITHIN_UM: Final = 4.0
"""A nucleus is found again where one of its class lies this near: a nucleus is some 8 µm wide."""

LEAST_AGREEMENT: Final = 0.88
"""Below it, two networks on three laboratories' fields, as they are and changed in size and density, had a mean F1 of
0.60 (86 of 203 fields), above 0.94 of 0.85 (docs/decisions/035)."""

SQUARE_UM: Final = 256.0
SQUARES: Final = 4
"""Squares looked at on a slide, and their side."""

LEAST_IN_SQUARE: Final = 30
LEAST_CELLS: Final = 100
"""Tumour cells below which a square is passed over, and a slide is not judged."""

_DARKEST: Final = 1e-3


@dataclass(frozen=True)
class Agreement:
    """Tumour nuclei found on pixels as they are and on changed ones, and those found on both."""

    as_is: int = 0
    changed: int = 0
    both: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.as_is + other.as_is, self.changed + other.changed, self.both + other.both)

    @property
    def share(self) -> float | None:
        """F1 of the changed against the unchanged picture, 0 to 1; None where nothing was found."""
        found = self.as_is + self.changed
        return 2 * self.both / found if found else None


def agreement_on(
    engine: NetworkEngine, rgb: NDArray[np.uint8], background_rgb: tuple[float, float, float]
) -> Agreement:
    """Compare what a network finds on pixels with what it finds on them changed, all changes added up.

    Parameters
    ----------
    engine
        The network.
    rgb
        uint8 (H, W, 3) at the working resolution.
    background_rgb
        Of the slide.
    """
    light = np.maximum(transmitted(rgb, background_rgb), np.float32(_DARKEST))
    plain = _tumour_cells(engine, light)
    total = Agreement()
    for size, density in CHANGES:
        found = _tumour_cells(engine, _changed(light, size, density))
        for own, other in zip(plain, found, strict=True):
            total += Agreement(len(own), len(other), _in_common(own, other / size))
    return total


def judge_agreement(slide: Slide, table: pa.Table, stains: Stains, engine: Engine) -> Check:
    """Judge whether a network finds the same nuclei again on a slide that is changed a little.

    Parameters
    ----------
    slide
        The Ki-67 slide, or a field.
    table
        Its cells, at least :data:`AGREEMENT_COLUMNS`.
    stains
        The slide's.
    engine
        What found them; only a network is judged.
    """
    name, usual = NAME, (LEAST_AGREEMENT, None)
    if not isinstance(engine, NetworkEngine):
        return Check(name, Verdict.usual, "not judged: known of networks only", usual=usual)
    total = Agreement()
    for rect in busy_squares(table, slide.bounds_um, SQUARES):
        total += agreement_on(engine, slide.read(rect, WORKING_MPP), stains.background_rgb)
    if total.share is None or total.as_is < len(CHANGES) * LEAST_CELLS:
        return Check(name, Verdict.usual, "not measured: too few tumour cells", usual=usual)
    if total.share >= LEAST_AGREEMENT:
        return Check(name, Verdict.usual, value=total.share, usual=usual)
    text = (
        f"only {100 * total.share:.0f} % of the nuclei are found again when the picture is made a little smaller or "
        f"darker, expected at least {100 * LEAST_AGREEMENT:.0f} %: the model knows little like this slide, so nuclei "
        "may be missed or called wrongly and the index be further off than its interval says; look at the outlined "
        "fields, and count some by hand"
    )
    return Check(name, Verdict.unusual, text, total.share, usual)


def least_between(checks: Iterable[Check]) -> float:
    """How far an index may be off at least, whatever the model's card says (standard deviation of the logit).

    Parameters
    ----------
    checks
        Of the case; without one of agreement, or where that was not measured, nothing follows.
    """
    shares = [check.value for check in checks if check.name == NAME and check.value is not None]
    return UNSURE_BETWEEN if any(share < SURE_AGREEMENT for share in shares) else 0.0


def busy_squares(table: pa.Table, bounds_um: RectUm, count: int | None = None) -> list[RectUm]:
    """Squares with tumour cells of the region, spread evenly over it; all of them where no ``count`` is given.

    Parameters
    ----------
    table
        Cell table with :data:`AGREEMENT_COLUMNS`.
    bounds_um
        Of the slide: what of a square lies beyond is cut off.
    count
        At most so many.
    """
    counted = table.filter(pc.and_(table["in_region"], pc.is_in(table["label"], pa.array(TUMOUR_CLASSES))))
    places = np.column_stack([np.asarray(counted[name], np.float64) for name in ("y_um", "x_um")])
    found, cells = np.unique(np.floor(places / SQUARE_UM), axis=0, return_counts=True)
    busy = found[cells >= LEAST_IN_SQUARE]
    if count is not None and len(busy) > count:
        busy = busy[np.linspace(0, len(busy) - 1, count).round().astype(int)]
    squares = (RectUm(column * SQUARE_UM, row * SQUARE_UM, SQUARE_UM, SQUARE_UM) for row, column in busy.tolist())
    return [rect for square in squares if (rect := square.intersection(bounds_um)) is not None]


def _changed(light: NDArray[np.float32], size: float, density: float) -> NDArray[np.float32]:
    if density != 1.0:
        return np.power(light, np.float32(density))
    way = cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(light), None, fx=size, fy=size, interpolation=way), np.float32)


def _tumour_cells(engine: NetworkEngine, light: NDArray[np.float32]) -> Sequence[NDArray[np.float64]]:
    """Centres (N, 2) in µm of positive and of negative nuclei."""
    peaks = find_peaks(maps_of(light, engine.model.run))
    label = tumour_labels(peaks.values, engine.card.positive_threshold, engine.card.negative_threshold)
    centres = np.column_stack([peaks.x_px, peaks.y_px]) * STRIDE * WORKING_MPP
    return [centres[label == one] for one in (POSITIVE, NEGATIVE)]


def _in_common(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Pairs that are each other's nearest, within :data:`WITHIN_UM`."""
    if not len(one) or not len(other):
        return 0
    distance, place = cKDTree(other).query(one)
    back = cKDTree(one).query(other)[1]
    return int(np.count_nonzero((distance <= WITHIN_UM) & (back[place] == np.arange(len(one)))))
