"""Cells as QuPath knows them: names and colours of their classes, and points of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.annotations.regions import Rgb
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

CELL_CLASSES: Final[dict[str, tuple[str, Rgb]]] = {
    # QuPath counts "Tumor: Positive" and "Tumor: Negative" into its "Positive %" by these very names;
    # red and green are Feng et al. 2020, Fig 5.
    POSITIVE.label: ("Tumor: Positive", (255, 0, 0)),
    NEGATIVE.label: ("Tumor: Negative", (0, 170, 0)),
    OTHER.label: ("Other", (150, 150, 150)),
}
"""QuPath class name and colour of each label of the cell table."""


def point_features(places_px: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Cells as points that QuPath opens and ``ki67 cells train --set qupath=DIR`` learns from.

    Parameters
    ----------
    places_px
        By label, (N, 2) in pixels as QuPath counts them. Labels of the cell table get QuPath's names.
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPoint", "coordinates": places.round(3).tolist()},
            "properties": {"objectType": "annotation", "classification": {"name": _qupath_name(label)}},
        }
        for label, places in places_px.items()
    ]
    return {"type": "FeatureCollection", "features": features}


def _qupath_name(label: str) -> str:
    named = CELL_CLASSES.get(label.lower())
    return named[0] if named else label
