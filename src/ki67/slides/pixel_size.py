"""Where a slide's pixel size comes from, and which values are believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import tifffile

from ki67.errors import PixelSizeError

SMALLEST_MPP: Final = 0.05
LARGEST_MPP: Final = 50.0
SAME_SIZE: Final = 0.02
"""Two sizes of a pixel that lie this close are one: scanners state theirs to two or three digits."""

WAY_OUT: Final = "Give the size of a pixel in µm with --mpp (--he-mpp, --ki67-mpp)"
OVERRIDE: Final = "--mpp-overrides-file"
INSIST: Final = (
    "Leave --mpp (--he-mpp, --ki67-mpp) out to take the file's word; where you know the file to be wrong, insist "
    f"with {OVERRIDE}"
)
LARGEST_PICTURE_MPP: Final = 4.0
"""A coarser one in a plain picture may be meant for print or a screen; neither has these 6,350 dots per inch."""

UM_PER_RESOLUTION_UNIT: Final = {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}  # inch, cm, and tifffile's mm, µm


@dataclass(frozen=True, slots=True)
class Found:
    """What a file says of its pixels: width and height in µm, and where it says so."""

    x_um: float
    y_um: float
    where: str


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The pixel size taken for a slide.

    Parameters
    ----------
    mpp
        µm per pixel of level 0.
    source
        ``"file"`` or ``"given"``.
    own
        What the file says by itself; None where it says nothing.
    contradicts
        Whether a size was given, with insistence, that is not the file's own.
    """

    mpp: float
    source: Literal["file", "given"]
    own: Found | None = None
    contradicts: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence that names both sizes where they differ."""
        if not self.contradicts or self.own is None:
            return ()
        told = (
            f"its pixel size was given as {self.mpp:g} µm against the file's own {size_text(self.own)}, by "
            f"{OVERRIDE}: every area, distance and cell rests on the size given"
        )
        return (told,)


def size_text(found: Found) -> str:
    """What a file says, with where: one number where width and height agree."""
    x, y = f"{found.x_um:.5g}", f"{found.y_um:.5g}"
    return f"{x if x == y else f'{x} x {y}'} µm ({found.where})"


def chosen_size(path: Path, given: float | None, found: Found | None, *, overrides_file: bool = False) -> PixelSize:
    """Choose and check the pixel size of level 0.

    Parameters
    ----------
    path
        The slide, for the message.
    given
        What the user says.
    found
        What the file says. What no pixel of a slide can be is as good as nothing.
    overrides_file
        Take what the user says although the file says otherwise.

    Raises
    ------
    PixelSizeError
        Missing, outside 0.05 to 50 µm, x and y more than 2 % apart, or the user's word more than 2 % from the file's.
    """
    span = f"expected {SMALLEST_MPP:g} to {LARGEST_MPP:g} µm"
    if given is not None:
        if not _plausible(given):
            raise PixelSizeError(path, f"was given a pixel size of {given:g} µm, {span}", WAY_OUT)
        contradicts = found is not None and believable(found) and not _agree(given, found)
        if contradicts and found is not None and not overrides_file:
            text = f"was given a pixel size of {given:g} µm, but the file itself says {size_text(found)}"
            raise PixelSizeError(path, text, INSIST)
        return PixelSize(float(given), "given", found, contradicts)
    if found is None:
        raise PixelSizeError(path, "does not say how large its pixels are", WAY_OUT)
    if not believable(found):
        raise PixelSizeError(path, f"says its pixels are {size_text(found)}, {span}", WAY_OUT)
    if abs(found.x_um - found.y_um) > SAME_SIZE * min(found.x_um, found.y_um):
        found_text = f"says its pixels are {size_text(found)}, expected them to be square within 2 %"
        raise PixelSizeError(path, found_text, f"{WAY_OUT}, and {OVERRIDE}")
    return PixelSize((found.x_um + found.y_um) / 2, "file", found)


def believable(found: Found) -> bool:
    """Whether what a file says can be the size of a pixel of a slide at all."""
    return _plausible(found.x_um) and _plausible(found.y_um)


def not_for_print(found: Found | None) -> bool:
    """Whether the resolution of a plain picture tells of the specimen, not of print or a screen."""
    return found is not None and believable(found) and max(found.x_um, found.y_um) <= LARGEST_PICTURE_MPP


def _agree(given: float, found: Found) -> bool:
    # A hair more than 2 %: 0.51 is 2 % above 0.5 to the user, and 2.0000000000000018 % in binary.
    return all(abs(given - own) <= (SAME_SIZE + 1e-9) * own for own in (found.x_um, found.y_um))


def _plausible(mpp: float) -> bool:
    return math.isfinite(mpp) and SMALLEST_MPP <= mpp <= LARGEST_MPP


def mpp_of_text(x: str | None, y: str | None, where: str) -> Found | None:
    """Pixel size from two numbers as text, None where one is missing or no number."""
    try:
        return Found(float(x), float(y), where) if x and y else None
    except ValueError:
        return None


def mpp_of_resolution_tags(page: tifffile.TiffPage) -> Found | None:
    """Pixel size from XResolution, YResolution and ResolutionUnit, None where they give none."""
    tags = page.tags
    unit = UM_PER_RESOLUTION_UNIT.get(int(tags.valueof("ResolutionUnit", 2)))
    sizes = []
    for name in ("XResolution", "YResolution"):
        value = tags.valueof(name)
        if unit is None or value is None or not value[0] or not value[1]:
            return None
        sizes.append(unit * value[1] / value[0])
    return Found(sizes[0], sizes[1], "resolution tags")
