"""Pictures of hits, misses and false alarms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.errors import WriteError
from ki67.fields.labelled_fields import LabelledField
from ki67.fields.matching import match
from ki67.vocabulary import TUMOUR_CLASSES

# Drawn at this resolution whatever the field's own: nuclei are some 35 px wide and rings stay thin.
_PICTURE_MPP = 0.25
_RED, _GREEN = (220, 30, 30), (20, 140, 20)
_COLOURS = dict(zip(TUMOUR_CLASSES, (_RED, _GREEN), strict=True))
_RING_UM = 2.5
_PALE = 255
_LEGEND_PX = 28
_LEGEND = "red: positive, green: negative | ring: hit, cross: missed, square: false alarm"


def draw_field(path: Path, field: LabelledField, found_um: dict[str, NDArray[np.float64]], radius_um: float) -> None:
    """Write a PNG of a field: rings are hits, crosses labelled cells that were missed, squares false alarms.

    What is not completely labelled is pale.

    Parameters
    ----------
    path
        The PNG.
    field
        The field with its labels.
    found_um
        Cells found (N, 2) by class, µm.
    radius_um
        Matching radius.
    """
    with field.open() as slide:
        picture = slide.read(slide.bounds_um, _PICTURE_MPP).copy()
    if field.labelled is not None:
        unlabelled = ~field.labelled.resampled(picture.shape[:2], _PICTURE_MPP)
        picture[unlabelled] = picture[unlabelled] // 2 + _PALE // 2
    size = round(_RING_UM / _PICTURE_MPP)
    for name, colour in _COLOURS.items():
        truth, found = field.points[name], found_um[name]
        hit_truth, hit_found = match(truth, found, radius_um)
        for place in _pixels(found[hit_found]):
            cv2.circle(picture, place, size, colour, 2, cv2.LINE_AA)
        for place in _pixels(np.delete(truth, hit_truth, axis=0)):
            cv2.drawMarker(picture, place, colour, cv2.MARKER_TILTED_CROSS, 2 * size, 2, cv2.LINE_AA)
        for x, y in _pixels(np.delete(found, hit_found, axis=0)):
            cv2.rectangle(picture, (x - size, y - size), (x + size, y + size), colour, 2)
    legend = np.full((_LEGEND_PX, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(legend, _LEGEND, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    drawn, encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack([picture, legend]), cv2.COLOR_RGB2BGR))
    if not drawn:
        raise WriteError(path, "could not be encoded as PNG")
    path.write_bytes(encoded.tobytes())


def _pixels(points_um: NDArray[np.float64]) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in points_um / _PICTURE_MPP]
