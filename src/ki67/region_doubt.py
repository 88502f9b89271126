"""What is not sure of a region that a registration carried over: where it lies, and how tightly it was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67 import cells, idc, registration, scoring
from ki67.vocabulary import POSITIVE, TUMOUR_CLASSES

LEAST_PATIENTS: Final = 5
"""Thresholds of fewer patients do not tell how they differ."""


@dataclass(frozen=True)
class DrawnByModel:
    """How a model outlined the carcinoma.

    Parameters
    ----------
    smoothing_um
        Standard deviation of the Gaussian that the heat map was smoothed with.
    thresholds
        At which as much was called as is labelled on patients not trained on (:class:`ki67.idc.ModelCard`).
    """

    smoothing_um: float
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, model: idc.ModelCard, options: idc.OutlineOptions) -> DrawnByModel:
        """What a score needs to know of it; no thresholds where none is tighter than the one drawn at."""
        known = model.area_thresholds
        tighter = known and known[-1] > (options.threshold or model.threshold)
        return cls(options.smoothing_um, known if tighter and len(known) >= LEAST_PATIENTS else ())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DrawnByModel:
        """Build it again from what :func:`dataclasses.asdict` gave."""
        return cls(float(content["smoothing_um"]), tuple(map(float, content["thresholds"])))


@dataclass(frozen=True)
class Outlined:
    """A region as a model drew it, and the heat map it was drawn by."""

    heatmap: idc.HeatMap
    drawn: DrawnByModel


def carried_over(
    table: pa.Table,
    region: BaseGeometry,
    transform: registration.PiecewiseTransform | None,
    *,
    error_um: float | None,
    unknown_share: float,
    outlined: Outlined | None = None,
    motion: NDArray[np.float64] | None = None,
) -> scoring.CarriedOver:
    """Work out how much the index would change were the region another.

    Parameters
    ----------
    table
        Cell table of the Ki-67 slide with ``x_um``, ``y_um``, ``label``, ``excluded`` and ``in_region``.
    region
        On the Ki-67 slide in µm, as it is counted now.
    transform
        Which carried it over; None where it is not at hand, and then nothing is known of the outline.
    error_um
        The registration's estimated error; None where it is not known.
    unknown_share
        Share of the region without a believable place, 0 to 1.
    outlined
        How it was outlined on the H&E slide; None where a person drew it.
    motion
        How it was nudged since, float64 (3, 3), µm to µm.
    """
    spread = None
    if error_um is not None:
        spread = scoring.index_spread(
            table, region, registration.draw_motions(error_um, shapely.get_coordinates(region))
        )
    outline = None
    if outlined is not None and transform is not None and outlined.drawn.thresholds:
        counted = table.filter(pc.and_(table["in_region"], pc.is_in(table["label"], pa.array(TUMOUR_CLASSES))))
        points = np.column_stack([np.asarray(counted[name], np.float64) for name in ("x_um", "y_um")])
        if motion is not None:
            points = registration.apply_matrix(np.asarray(np.linalg.inv(motion), np.float64), points)
        probability = idc.probability_at(
            outlined.heatmap, transform.inverse_points(points), outlined.drawn.smoothing_um
        )
        positive = np.asarray(pc.equal(counted["label"], POSITIVE.label))
        outline = scoring.outline_spread(positive, probability, outlined.drawn.thresholds)
    return scoring.CarriedOver(spread, unknown_share, cells.MARGIN_UM, outline)
