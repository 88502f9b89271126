"""Where a slide's pixel size comes from, and which values are believed."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final, Literal

import tifffile

from ki67.errors import PixelSizeError

SMALLEST_MPP: Final = 0.05
LARGEST_MPP: Final = 50.0
LARGEST_ANISOTROPY: Final = 0.02
WAY_OUT: Final = "Give the size of a pixel in µm with --mpp (--he-mpp, --ki67-mpp)"
UM_PER_RESOLUTION_UNIT: Final = {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}  # inch, cm, and tifffile's mm, µm
UM_PER_OME_UNIT: Final = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25400.0,
}  # fmt: skip

Found = tuple[float, float] | None


def checked_mpp(path: Path, given: float | None, found: Found) -> tuple[float, Literal["file", "given"]]:
    """Choose and check the pixel size of level 0.

    Parameters
    ----------
    path
        The slide, for the message.
    given
        What the user says, which goes before the file's word.
    found
        What the file says, x and y, in µm.

    Raises
    ------
    PixelSizeError
        Missing, outside 0.05 to 50 µm, or x and y more than 2 % apart.
    """
    span = f"expected {SMALLEST_MPP:g} to {LARGEST_MPP:g} µm"
    if given is not None:
        if not _plausible(given):
            raise PixelSizeError(path, f"was given a pixel size of {given:g} µm, {span}", WAY_OUT)
        return float(given), "given"
    if found is None:
        raise PixelSizeError(path, "does not say how large its pixels are", WAY_OUT)
    x, y = found
    if not (_plausible(x) and _plausible(y)):
        raise PixelSizeError(path, f"says its pixels are {x:g} x {y:g} µm, {span}", WAY_OUT)
    if abs(x - y) > LARGEST_ANISOTROPY * min(x, y):
        found_text = f"says its pixels are {x:g} x {y:g} µm, expected them to be square within 2 %"
        raise PixelSizeError(path, found_text, WAY_OUT)
    return (x + y) / 2, "file"


def _plausible(mpp: float) -> bool:
    return math.isfinite(mpp) and SMALLEST_MPP <= mpp <= LARGEST_MPP


def mpp_of_text(x: str | None, y: str | None) -> Found:
    """Pixel size from two numbers as text, None where one is missing or no number."""
    try:
        return (float(x), float(y)) if x and y else None
    except ValueError:
        return None


def mpp_of_resolution_tags(page: tifffile.TiffPage) -> Found:
    """Pixel size from XResolution, YResolution and ResolutionUnit, None where they give none."""
    tags = page.tags
    unit = UM_PER_RESOLUTION_UNIT.get(int(tags.valueof("ResolutionUnit", 2)))
    sizes = []
    for name in ("XResolution", "YResolution"):
        value = tags.valueof(name)
        if unit is None or value is None or not value[0] or not value[1]:
            return None
        sizes.append(unit * value[1] / value[0])
    return sizes[0], sizes[1]


def mpp_of_ome(xml: str) -> Found:
    """Pixel size from the first ``Pixels`` element of OME-XML, None where it gives none.

    Two attributes of one element are wanted, and a regular expression cannot be made to expand entities.
    """
    element = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    if element is None:
        return None
    sizes = []
    for axis in "XY":
        value = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', element[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', element[0])
        scale = UM_PER_OME_UNIT.get(unit[1]) if unit else 1.0  # OME: the default unit is µm
        number = mpp_of_text(value[1], value[1]) if value else None
        if scale is None or number is None:
            return None
        sizes.append(number[0] * scale)
    return sizes[0], sizes[1]
