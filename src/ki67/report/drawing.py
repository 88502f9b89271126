"""Pixels of figures: outlines, scale bars, colour maps, data URIs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ki67.annotations import Regions
from ki67.errors import InstallationError
from ki67.geometry import RectUm, polygons_of

Picture = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont

JPEG_QUALITY: Final = 90
"""Nuclei keep their chromatin at 90; at 75 outlines bleed."""

_SHIFT: Final = 4
_SUBPIXEL: Final = 1 << _SHIFT
"""OpenCV draws on a grid of 1/16 pixel."""

_HALO: Final = (255, 255, 255)
_TEXT_SHARE: Final = 1 / 32
"""Height of a scale bar's letters as a share of the picture's width: 13 px where two pictures share a page."""

_DASH_PX: Final = 6.0
"""Dashes and gaps of a dashed outline are about this long."""


@dataclass(frozen=True)
class Frame:
    """A picture's place on a slide: pixel (r, c) covers ``mpp`` µm from ``rect_um``'s corner on."""

    rect_um: RectUm
    mpp: float

    def to_px(self, xy_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (N, 2) in µm as continuous pixel coordinates (0 is the left edge of the first pixel)."""
        xy_px: NDArray[np.float64] = (xy_um - np.array([self.rect_um.x_um, self.rect_um.y_um])) / self.mpp
        return xy_px


def frame_of(rect_um: RectUm, longest_px: int, finest_mpp: float) -> Frame:
    """Frame in which a rectangle's longer side has ``longest_px`` pixels, but none finer than the slide."""
    return Frame(rect_um, max(max(rect_um.width_um, rect_um.height_um) / longest_px, finest_mpp))


def draw_regions(picture: Picture, frame: Frame, regions: Regions, width_px: int = 3) -> None:
    """Draw the outlines of regions in their colours, on a white halo that keeps them visible on any stain."""
    reach_um = (width_px + 2) * frame.mpp
    view = frame.rect_um.expanded(reach_um).polygon
    shapely.prepare(view)
    seen = [region for region in regions if shapely.intersects(view, region.geometry)]
    for color, extra in ((_HALO, 2), (None, 0)):
        for region in seen:
            rings = [
                ring for polygon in polygons_of(region.geometry) for ring in (polygon.exterior, *polygon.interiors)
            ]
            lines = [_fixed_point(frame.to_px(np.asarray(ring.coords)[:, :2])) for ring in rings]
            cv2.polylines(picture, lines, True, color or region.display_color, width_px + extra, cv2.LINE_AA, _SHIFT)


def draw_outline(
    picture: Picture, corners_px: NDArray[np.float64], color: tuple[int, int, int], *, dashed: bool
) -> None:
    """Draw a closed outline (N, 2), solid or dashed (so that colour is not the only cue)."""
    closed = np.vstack([corners_px, corners_px[:1]])
    if not dashed:
        cv2.polylines(picture, [_fixed_point(closed)], False, color, 2, cv2.LINE_AA, _SHIFT)
        return
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    ends = np.linspace(0.0, along[-1], 2 * max(1, round(along[-1] / (2 * _DASH_PX))) + 1)
    for start, end in zip(ends[:-1:2], ends[1::2], strict=True):
        places = np.concatenate([[start], along[(along > start) & (along < end)], [end]])
        dash = np.column_stack([np.interp(places, along, values) for values in closed.T])
        cv2.polylines(picture, [_fixed_point(dash)], False, color, 2, cv2.LINE_AA, _SHIFT)


def draw_dot(picture: Picture, centre_px: tuple[float, float], radius_px: float, color: tuple[int, int, int]) -> None:
    """Draw a dot with a white rim."""
    x, y = (round((value - 0.5) * _SUBPIXEL) for value in centre_px)
    for fill, share in ((_HALO, 1.0), (color, 0.65)):
        cv2.circle(picture, (x, y), round(radius_px * share * _SUBPIXEL), fill, -1, cv2.LINE_AA, _SHIFT)


def draw_scale_bar(picture: Picture, mpp: float) -> Picture:
    """Return the picture with a scale bar of a round length, about a fifth of its width, at the lower left."""
    height, width = picture.shape[:2]
    length_um = round_length(width * mpp / 5)
    length_px = length_um / mpp
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    size = max(12, round(width * _TEXT_SHARE))
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    letters = font(size)
    text_width = draw.textlength(text.replace("µ", "u"), font=letters)
    left, bottom, pad = size * 0.6, height - size * 0.6, size * 0.4
    box_width = max(length_px, text_width) + 2 * pad
    box_height = size * 1.25 + size * 0.35 + 2 * pad
    draw.rectangle((left, bottom - box_height, left + box_width, bottom), fill=(255, 255, 255, 220))
    digits_height = -letters.getbbox("0", anchor="ls")[1]
    baseline = bottom - box_height + pad + digits_height
    _draw_text(draw, (left + (box_width - text_width) / 2, baseline), text, letters)
    bar_left = left + (box_width - length_px) / 2
    draw.rectangle((bar_left, bottom - pad - size * 0.3, bar_left + length_px, bottom - pad), fill=(0, 0, 0))
    return np.asarray(image)


def _draw_text(draw: ImageDraw.ImageDraw, start_px: tuple[float, float], text: str, letters: Font) -> None:
    """Draw black text from the left end of its baseline on, with a µ made of a u and what hangs down of a p."""
    x, baseline = (round(value) for value in start_px)
    draw.text((x, baseline), text.replace("µ", "u"), fill=(0, 0, 0), font=letters, anchor="ls")
    before, micro, _ = text.partition("µ")
    if micro:
        _, _, right, below = letters.getbbox("p", anchor="ls")
        stem = Image.new("L", (math.ceil(right), math.ceil(below)))
        ImageDraw.Draw(stem).text((0, 0), "p", fill=255, font=letters, anchor="ls")
        draw.bitmap((x + round(draw.textlength(before, font=letters)), baseline), stem, fill=(0, 0, 0))


@cache
def font(size: int) -> Font:
    """Pillow's own font, which has the letters and signs of ASCII only.

    Raises
    ------
    InstallationError
        Where Pillow was built without what draws it.
    """
    letters = ImageFont.load_default(size)
    if not isinstance(letters, ImageFont.FreeTypeFont):
        raise InstallationError(
            "Pillow is installed without FreeType. Mend it with: pip install --force-reinstall pillow"
        )
    return letters


def round_length(length_um: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not longer."""
    decade = 10.0 ** math.floor(math.log10(length_um))
    return max(step * decade for step in (1, 2, 5) if step * decade <= length_um * (1 + 1e-9))


def viridis(values: NDArray[np.float64]) -> Picture:
    """Colours (…, 3) of values from 0 to 1: viridis, even to the eye, also to a colour-blind one and in grey."""
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(-1, 1), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    index = np.clip(np.nan_to_num(values) * 255 + 0.5, 0, 255).astype(np.uint8)
    colors: Picture = table[index]
    return colors


def css_gradient(steps: int = 9) -> str:
    """The same colours as a CSS gradient, for the legend."""
    colors = viridis(np.linspace(0, 1, steps))
    return "linear-gradient(to right, " + ", ".join(_css(color) for color in colors) + ")"


def _css(color: Iterable[int]) -> str:
    return f"rgb({', '.join(str(int(value)) for value in color)})"


def _fixed_point(xy_px: NDArray[np.float64]) -> NDArray[Any]:
    # OpenCV's integer coordinates are pixel centres, ours are pixel edges: half a pixel apart.
    return np.round((xy_px - 0.5) * _SUBPIXEL).astype(np.int32)
