"""Opening TIFFs: by tifffile where it knows better, by OpenSlide where the layout is a vendor's own.

Aperio's, generic and OME-TIFFs are decoded straight, whatever OpenSlide would make of them: it takes an OME-TIFF for
a generic one, and sees neither its pixel size nor the levels in its sub-directories. What is stitched, overlaps or is
padded (Hamamatsu, Leica, Philips, Trestle, Ventana) goes through OpenSlide, and so does what is not decoded here.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

import tifffile

from ki67.errors import SlideError
from ki67.slides.addresses import SlideUrl
from ki67.slides.image_source import turned_warning
from ki67.slides.levels import shows_the_same
from ki67.slides.openslide_source import detect_vendor, one_line, open_with_openslide
from ki67.slides.sources import CONVERT, DOWNLOAD, REPAIR, Opened, Source
from ki67.slides.stated_sizes import sizes_in_tiff
from ki67.slides.tiff_colour import colour_problem
from ki67.slides.tiff_layout import Layout, layout_of, size_px
from ki67.slides.tiff_source import (
    TiffSource,
    check_complete,
    check_scaled,
    check_segments,
    layout_problem,
    read_field,
)
from ki67.slides.tiff_structure import check_structure

# Vendors whose levels are plain directories of tiles without overlap, gaps or stitching.
DIRECT_VENDORS: Final = {"aperio", "generic-tiff"}
# What tifffile would do for formats of its own by walking further than the directories.
NO_SPECIAL_CASES: Final = dict.fromkeys(("is_ndpi", "is_lsm", "is_scanimage"), False)
UPRIGHT: Final = 1
TO_RGB: Final = "Convert it to 8-bit RGB"
VENDOR_MARKS: Final = {
    270: r"(<\?xml[^>]*>\s*)?<scn\b",
    271: "Huron",
    305: "Philips|MedScan",
    700: ".*<iScan",
    65000: ".*<Argos",
}
"""By how these tags begin OpenSlide knows TIFFs of Leica, Huron, Philips, Trestle, Ventana and Argos."""
VENDORS_OWN: Final = "is a TIFF of a vendor's own kind, which is not read from a URL"


def open_tiff(path: Path) -> Opened:
    """Open a TIFF of any kind.

    Raises
    ------
    SlideError
        Damaged, cut short, or holding what cannot be shown as one RGB picture.
    """
    if check_structure(path) and isinstance(path, SlideUrl):
        raise SlideError(path, VENDORS_OWN, DOWNLOAD)
    vendor = None if isinstance(path, SlideUrl) else detect_vendor(path)
    if vendor is not None and vendor not in DIRECT_VENDORS:
        return open_with_openslide(path)
    with contextlib.ExitStack() as stack:
        try:
            file = path.open() if isinstance(path, SlideUrl) else path
            tiff = stack.enter_context(tifffile.TiffFile(file, **NO_SPECIAL_CASES))
            if isinstance(path, SlideUrl) and _is_marked(tiff):
                raise SlideError(path, VENDORS_OWN, DOWNLOAD)
            check_complete(path, tiff)
            layout = layout_of(path, tiff)
            stated = sizes_in_tiff(layout)
            reason = _not_here(path, layout, vendor)
            source = None if reason else _decoded_here(path, tiff, layout, stack)
        except SlideError:
            raise
        except Exception as error:  # what a hostile file makes tifffile raise has no end
            raise SlideError(path, f"is a TIFF that cannot be read: {one_line(error)}", REPAIR) from error
        if source is not None:
            stack.pop_all()
    if source is None:
        source = _through_openslide(path, layout, vendor, str(reason))
    return Opened(source, stated, layout.warnings, layout.doubt)


def _is_marked(tiff: tifffile.TiffFile) -> bool:
    """Whether OpenSlide, which cannot be asked at a URL, would take it for a vendor's own."""
    values = ((mark, page.tags.valueof(code)) for page in tiff.pages for code, mark in VENDOR_MARKS.items())
    return any(re.match(mark, str(value), re.DOTALL) for mark, value in values)


def _not_here(path: Path, layout: Layout, vendor: str | None) -> str | None:
    """Why the picture is not decoded here, None where it is; levels that are not decoded here are dropped.

    Raises
    ------
    SlideError
        Where its tiles are too large or too few, or where nobody could show its samples as 8-bit RGB.
    """
    page = layout.page
    check_segments(path, page)
    problem = colour_problem(page)
    if problem:
        raise SlideError(path, f"is a TIFF that cannot be read: {problem}", TO_RGB)
    problem = layout_problem(page)
    if problem:
        return problem
    layout.levels = [
        pages for pages in layout.levels if not any(layout_problem(p) or colour_problem(p) for p in pages)
    ]
    for pages in layout.levels:
        for page in pages:
            check_segments(path, page)
    # Aperio leaves out tiles by mistake now and then; OpenSlide fills those in from another level. Of other files it
    # tells where QuPath counts from, and is not asked at a URL.
    counts = (count for pages in layout.levels for page in pages for count in page.databytecounts)
    return "tiles are missing" if (vendor == "aperio" or isinstance(path, SlideUrl)) and not all(counts) else None


def _decoded_here(path: Path, tiff: tifffile.TiffFile, layout: Layout, stack: contextlib.ExitStack) -> Source:
    page = layout.page
    orientation = int(page.tags.valueof("Orientation", UPRIGHT))
    if orientation not in {0, UPRIGHT}:
        layout.warnings.append(turned_warning(f"TIFF orientation {orientation}"))
    source = TiffSource(path, tiff, layout.levels, aperio=page.description.startswith("Aperio"))
    stack.callback(source.close)
    if page.is_tiled or len(layout.levels) > 1:
        check_scaled(path, page, source.probe())
        layout.warnings += _drop_strangers(source)
        return source
    field = read_field(path, source)
    check_scaled(path, page, field.brightest)
    return field


def _drop_strangers(source: TiffSource) -> list[str]:
    """Drop levels that show another picture; return a warning of each."""
    warnings = []
    level = 1
    while level < len(source.level_sizes_px):
        if shows_the_same(source, level - 1, level):
            level += 1
            continue
        width, height = source.level_sizes_px[level]
        page = f"its page of {width} x {height} px"
        warnings.append(f"{page} has the shape of a coarser level and shows another picture: it is not read")
        source.drop_level(level)
    return warnings


def _through_openslide(path: Path, layout: Layout, vendor: str | None, reason: str) -> Source:
    """Let OpenSlide read what is not decoded here, where it reads the same picture."""
    if isinstance(path, SlideUrl):
        raise SlideError(path, f"is a TIFF that cannot be read from a URL: {reason}", DOWNLOAD)
    refusal = SlideError(path, f"is a TIFF that cannot be read: {reason}", CONVERT)
    if vendor is None or len(layout.levels[0]) > 1:
        raise refusal
    try:
        source = open_with_openslide(path).source
    except SlideError as error:
        raise refusal from error
    if source.level_sizes_px[0] != size_px(layout.page):
        source.close()
        raise refusal
    return source
