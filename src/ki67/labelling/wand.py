"""The magic outline: what looks like the place that was clicked, as far as it hangs together."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import MultiPolygon, Point, Polygon

from ki67.errors import RefusedError
from ki67.geometry import RectUm, as_multipolygon, fill_holes
from ki67.light import RgbImage
from ki67.slides import Slide
from ki67.slides.mask_polygons import outline_um

WINDOW_PX: Final = 768
"""Side of the square that is looked at around the place, in pixels of the view: about a screen."""

REACHES: Final = (0.25, 2.5)
"""How unlike the place an area may be: at 1 a little less than where likeness parts best in two (Otsu, 1979)."""

# In pixels of the view. Nuclei and gaps are blurred into their tissue, as they are to an eye at this zoom.
_BLUR_PX, _SEED_PX, _JOIN_PX, _SMOOTH_PX = 5.0, 3, 7, 1.0
# Holes smaller than this share of the area are filled.
_HOLE_SHARE = 0.01
# CIE L*a*b* (1976): a difference of 2.3 can just be seen (Mahy et al. 1994).
_JUST_SEEN = 2.3
_ALL_OF_IT = 0.97
_NOTHING = "nothing stands out here; a larger reach takes more, or outline by hand"
# At the parting itself an area runs over into what lies around; a little before it, it rarely does.
_BEFORE_THE_PARTING = 0.8


def magic_outline(slide: Slide, x_um: float, y_um: float, um_per_px: float, reach: float = 1.0) -> Polygon:
    """Outline what looks like a place and hangs together with it, by local contrast at the resolution of a view.

    No model has a say, so a label made with it is a person's own.

    Parameters
    ----------
    slide
        The slide.
    x_um, y_um
        The place, in µm of the slide.
    um_per_px
        Resolution of the view: from far areas are outlined, from near single nuclei.
    reach
        How unlike it may be (:data:`REACHES`).

    Returns
    -------
    Polygon
        With holes, in µm of the slide, on the slide.

    Raises
    ------
    RefusedError
        Where nothing stands out, or the place lies beside the slide.
    """
    um_per_px = max(um_per_px, slide.mpp)
    half = WINDOW_PX / 2 * um_per_px
    bounds = slide.bounds_um
    if not (
        bounds.x_um <= x_um < bounds.x_um + bounds.width_um and bounds.y_um <= y_um < bounds.y_um + bounds.height_um
    ):
        raise RefusedError("this place lies beside the slide")
    window = RectUm(x_um - half, y_um - half, 2 * half, 2 * half)
    mask = like_the_middle(slide.read(window, um_per_px), reach)
    parts: MultiPolygon = outline_um(mask, um_per_px)
    whole = max(parts.geoms, key=lambda part: part.area)
    moved = affinity.translate(whole, window.x_um, window.y_um)
    # Around a slide all is white as glass is, but nobody's to label.
    on_slide = as_multipolygon(moved.intersection(bounds.polygon))
    if on_slide.is_empty:
        raise RefusedError(_NOTHING)
    own = min(on_slide.geoms, key=Point(x_um, y_um).distance)
    own = fill_holes(own, _HOLE_SHARE * own.area)
    smooth = shapely.simplify(own, _SMOOTH_PX * um_per_px)
    return smooth if isinstance(smooth, Polygon) else own


def like_the_middle(picture: RgbImage, reach: float) -> NDArray[np.bool_]:
    """Pixels (H, W) that look like those in the middle and hang together with them.

    Raises
    ------
    RefusedError
        Where nothing stands out, or everything is alike.
    """
    blurred = cv2.GaussianBlur(picture, (0, 0), _BLUR_PX).astype(np.float32) / 255
    lab = cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB)
    row, column = picture.shape[0] // 2, picture.shape[1] // 2
    near = slice(row - _SEED_PX, row + _SEED_PX + 1), slice(column - _SEED_PX, column + _SEED_PX + 1)
    unlike = np.linalg.norm(lab - np.median(lab[near].reshape(-1, 3), axis=0), axis=2)
    most = float(np.percentile(unlike, 99.5))
    if most < 2 * _JUST_SEEN:
        raise RefusedError("nothing stands out here: everything around looks alike; zoom out, or outline by hand")
    like = (unlike <= reach * _BEFORE_THE_PARTING * _parted_at(unlike, most)).astype(np.uint8)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_JOIN_PX, _JOIN_PX))
    like = cv2.morphologyEx(cv2.morphologyEx(like, cv2.MORPH_OPEN, around), cv2.MORPH_CLOSE, around)
    _, parts = cv2.connectedComponents(like)
    own = parts[near][parts[near] > 0]
    if not own.size:
        raise RefusedError(_NOTHING)
    mask = parts == np.bincount(own).argmax()
    if mask.mean() > _ALL_OF_IT:
        raise RefusedError("everything around looks like this place; take a smaller reach, or zoom out")
    return np.asarray(mask)


def _parted_at(unlike: NDArray[np.float32], most: float) -> float:
    """Where likeness parts best in two; and what is alike once more, since glass is unlike any tissue."""
    for _ in range(2):
        steps = np.minimum(unlike[unlike <= most] * (255 / most), 255).astype(np.uint8)
        parted, _ = cv2.threshold(steps, 0, 255, cv2.THRESH_OTSU)
        if parted * most / 255 < 2 * _JUST_SEEN:
            break
        most = float(parted) * most / 255
    return most
