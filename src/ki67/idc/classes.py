"""What a model that tells several classes apart says of tissue that it does not take for invasive carcinoma."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.annotations import Regions
from ki67.idc.heatmap import HeatMap
from ki67.slides import TissueMask


def with_tumour(
    probabilities: NDArray[np.floating], tumour: int, scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Probabilities of all classes, (N, classes), with other ones of IDC, (N,); the rest keep their proportions."""
    rest = np.maximum(1.0 - probabilities[:, tumour].astype(np.float64), np.finfo(np.float64).tiny)
    result = probabilities * ((1.0 - scores) / rest)[:, None]
    result[:, tumour] = scores
    return result


def areas_beside_mm2(others: Mapping[str, HeatMap], carcinoma: Regions, tissue: TissueMask) -> dict[str, float]:
    """Tissue in mm² outside the outlined carcinoma, by the class that is the likeliest there.

    Parameters
    ----------
    others
        Heat maps of all classes but IDC.
    carcinoma, tissue
        Of the same slide. A pixel of the heat maps is outside where its middle is.
    """
    first = next(iter(others.values()))
    width, height = first.size_px
    x_um, y_um = (np.arange(count, dtype=np.float64) * first.mpp for count in (width, height))
    middle = np.meshgrid(x_um + first.mpp / 2, y_um + first.mpp / 2)
    outside = first.tissue & ~shapely.contains_xy(carcinoma.union(), *middle)
    likeliest = np.stack([one.probability[outside] for one in others.values()]).argmax(axis=0)
    shares = tissue.fractions(x_um, y_um, first.mpp)[outside]
    areas_mm2 = np.bincount(likeliest, shares, len(others)) * (first.mpp / 1000) ** 2
    return dict(zip(others, areas_mm2.tolist(), strict=True))
