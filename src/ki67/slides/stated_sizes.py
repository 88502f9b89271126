"""What a file says of its pixel size, wherever it says so, and which of it is taken where that differs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import openslide

from ki67.errors import PixelSizeError
from ki67.slides.ome import UM_PER_UNIT
from ki67.slides.pixel_size import (
    SAME_SIZE,
    WAY_OUT,
    Found,
    believable,
    mpp_of_resolution_tags,
    mpp_of_text,
    not_for_print,
    size_text,
)
from ki67.slides.tiff_layout import Layout

OME: Final = "OME-XML"
_APERIO_MPP: Final = re.compile(r"\|\s*MPP\s*=\s*([\d.,eE+-]+)")
_IMAGEJ_UNIT: Final = re.compile(r"^unit=(.+)$", re.MULTILINE)
_VIPS_MPP: Final = r"<name>openslide\.mpp-{axis}</name>\s*<value[^>]*>([^<]{{1,40}})</value>"
_ALMOST: Final = 1e-9  # 0.51 is 2 % above 0.5 to people and a hair more in binary


def sizes_in_tiff(layout: Layout) -> list[Found]:
    """Every statement of a TIFF on its pixel size, the most trusted first.

    The resolution tags of a picture without tiles and levels are left out where they can be meant for print, as
    cameras and drawing programs write them. ImageJ writes pixels per micrometre there, and the unit into the
    description.
    """
    page, description = layout.page, layout.page.description
    stated: list[Found | None] = []
    if layout.ome is not None and layout.ome.pixel_um is not None:
        stated.append(Found(*layout.ome.pixel_um, OME))
    if description.startswith("Aperio"):
        text = _APERIO_MPP.search(description)
        value = text[1].replace(",", ".") if text else None
        stated.append(mpp_of_text(value, value, "Aperio's MPP"))
    if description.startswith("ImageJ="):
        stated.append(_imagej_size(layout))
    x, y = (re.search(_VIPS_MPP.format(axis=axis), description) for axis in "xy")
    if x and y:
        stated.append(mpp_of_text(x[1], y[1], "libvips' openslide.mpp"))
    tags = mpp_of_resolution_tags(page)
    if page.is_tiled or len(layout.levels) > 1 or layout.ome is not None or not_for_print(tags):
        stated.append(tags)
    return [found for found in stated if found is not None]


def sizes_of_properties(properties: Mapping[str, str], vendor: str) -> list[Found]:
    """What OpenSlide says of a slide's pixel size, and what the resolution tags of its TIFF say, if it is one."""
    x, y = (properties.get(name) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
    stated = [mpp_of_text(x, y, f"its {vendor} data")]
    unit = {"inch": UM_PER_UNIT["in"], "centimeter": UM_PER_UNIT["cm"]}.get(properties.get("tiff.ResolutionUnit", ""))
    tags = mpp_of_text(properties.get("tiff.XResolution"), properties.get("tiff.YResolution"), "resolution tags")
    if unit and tags is not None and tags.x_um > 0 and tags.y_um > 0:
        stated.append(Found(unit / tags.x_um, unit / tags.y_um, tags.where))
    return [found for found in stated if found is not None]


def _imagej_size(layout: Layout) -> Found | None:
    """Pixel size of ImageJ's calibration: pixels per unit in the resolution tags, the unit in the description."""
    unit = _IMAGEJ_UNIT.search(layout.page.description)
    name = unit[1].strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ") if unit else ""
    scale = UM_PER_UNIT.get({"inch": "in"}.get(name, name))
    values = [layout.page.tags.valueof(tag) for tag in ("XResolution", "YResolution")]
    if scale is None or not all(isinstance(value, tuple) and len(value) == 2 and all(value) for value in values):
        return None
    x, y = (scale * below / above for above, below in values)
    return Found(x, y, "ImageJ's calibration")


def agreed(path: Path, stated: Sequence[Found], given: float | None) -> tuple[Found | None, list[str]]:
    """Choose what a file says of its pixel size.

    Parameters
    ----------
    path
        The slide, for messages.
    stated
        What it says, the most trusted first.
    given
        What the user says; of several statements that differ, the one the user confirms is the file's.

    Returns
    -------
    tuple
        The statement taken (None where there is none), and a warning that names both where another one differs.

    Raises
    ------
    PixelSizeError
        Two differ by more than 2 %, neither is OME-XML, and no size was given.
    """
    # What no pixel of a slide can be means print, or nothing: it is told only where nothing else is said.
    candidates = [found for found in stated if believable(found)]
    if not candidates:
        return (stated[0] if stated else None), []
    chosen = candidates[0]
    other = next((found for found in candidates if not _same(found, chosen)), None)
    if chosen.where == OME:
        other = other or next((found for found in stated if not _same(found, chosen)), None)
        if other is None:
            return chosen, []
        text = f"it says two sizes of its pixels, {size_text(chosen)} and {size_text(other)}: that of {OME} is taken"
        return chosen, [text]
    if other is None:
        return chosen, []
    if given is None:
        text = f"says two sizes of its pixels, {size_text(chosen)} and {size_text(other)}, expected them within 2 %"
        raise PixelSizeError(path, text, WAY_OUT)
    confirmed = next((found for found in candidates if _same(found, Found(given, given, ""))), None)
    if confirmed is None:
        return chosen, []
    denied = other if confirmed is chosen else chosen
    return confirmed, [
        f"it says two sizes of its pixels, {size_text(confirmed)} and {size_text(denied)}: the first was given too"
    ]


def _same(one: Found, other: Found) -> bool:
    pairs = ((one.x_um, other.x_um), (one.y_um, other.y_um))
    return all(abs(a - b) <= (SAME_SIZE + _ALMOST) * min(a, b) for a, b in pairs)
