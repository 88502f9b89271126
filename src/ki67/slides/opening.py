"""Opening any slide or picture: which reader, which levels, which pixel size.

OpenSlide is asked first what a file is. Aperio and generic tiled TIFFs, whose layout is plain, are then decoded
straight; so are OME-TIFFs and other tiled TIFFs that OpenSlide does not know. The rest goes through OpenSlide,
PNG and JPEG through Pillow. Damage is looked for at once: the tiles must lie inside the file, and a few of each
level are decoded.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import openslide
import tifffile

from ki67.errors import SlideError
from ki67.slides.frame import foreign_frame
from ki67.slides.image_source import is_plain_image, open_image
from ki67.slides.openslide_source import OpenSlideSource, detect_vendor, one_line, open_handle
from ki67.slides.pixel_size import Found, chosen_size, mpp_of_ome, mpp_of_resolution_tags, mpp_of_text
from ki67.slides.slide import Slide
from ki67.slides.sources import REPAIR, Source
from ki67.slides.tiff_source import (
    DECODER_ERRORS,
    TiffSource,
    check_complete,
    check_scaled,
    direct_problem,
    read_field,
)

TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Vendors whose levels are plain tiled directories without overlap, gaps or stitching.
DIRECT_VENDORS: Final = {"aperio", "generic-tiff"}
FORMATS: Final = (
    "Slides (SVS, NDPI, MRXS, SCN, BIF, DICOM, tiled TIFF, OME-TIFF) and PNG, JPEG, TIFF fields can be read"
)
HEAD_BYTES: Final = 16
PICTURE_AXES: Final = {"YX", "YXS", "SYX"}

Opened = tuple[Source, Found | None]


def open_slide(path: str | Path, mpp: float | None = None, *, overrides_file: bool = False) -> Slide:
    """Open a whole slide or a plain picture.

    Parameters
    ----------
    path
        A file, or a folder of DICOM files.
    mpp
        µm per pixel of level 0, where the file does not say. Plain pictures need it: the resolution that a camera or
        a drawing program writes into them means print, not specimen.
    overrides_file
        Take ``mpp`` although the file itself says a size more than 2 % away; the slide then has a warning.

    Raises
    ------
    SlideError
        Missing, unknown, damaged or cut short.
    PixelSizeError
        No believable pixel size (0.05 to 50 µm, square within 2 %), or ``mpp`` is not the file's own; names
        ``--mpp``.
    """
    path = Path(path)
    file = _dicom_of(path) if path.is_dir() else path
    head = _head_of(file)
    if mpp is not None:
        chosen_size(path, mpp, None)  # before minutes are spent on a large file
    source, found = _open_source(file, head)
    try:
        size = chosen_size(path, mpp, found, overrides_file=overrides_file)
    except SlideError:
        source.close()
        raise
    return Slide(path, source, size, foreign_frame(file, source.level_sizes_px[0], size.mpp))


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise SlideError(path, "does not exist", "Check the path") from error
    except OSError as error:
        raise SlideError(path, f"cannot be read: {error.strerror}", "Check its permissions") from error
    if not head:
        raise SlideError(path, "is empty (0 bytes)", REPAIR)
    return head


def _dicom_of(folder: Path) -> Path:
    """Return a file of the DICOM slide in a folder; OpenSlide finds the others of its series from it."""
    for file in sorted(folder.iterdir()):
        with contextlib.suppress(openslide.OpenSlideError):  # a label, a macro picture, something else
            if file.is_file() and openslide.OpenSlide.detect_format(file) == "dicom":
                openslide.OpenSlide(file).close()
                return file
    raise SlideError(folder, "is a folder without a DICOM slide in it", FORMATS)


def _open_source(path: Path, head: bytes) -> Opened:
    vendor = detect_vendor(path)
    is_tiff = head.startswith(TIFF_MAGICS)
    if vendor is not None:
        return _open_with_openslide(path, vendor, is_tiff=is_tiff)
    if is_tiff:
        return _open_tiff(path)
    if is_plain_image(head):
        return open_image(path), None
    raise SlideError(path, "is not a slide or a picture that can be read", FORMATS)


def _open_with_openslide(path: Path, vendor: str, *, is_tiff: bool) -> Opened:
    handle = open_handle(path)
    properties = handle.properties
    x, y = (properties.get(name) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
    found = mpp_of_text(x, y, "resolution tags" if vendor == "generic-tiff" else f"its {vendor} data")
    try:
        direct = _direct_source(path, handle, vendor) if is_tiff else None
        if direct is not None:
            handle.close()
            return direct, found
        source = OpenSlideSource(path, handle)
        source.probe()
    except SlideError:
        handle.close()
        raise
    return source, found


def _direct_source(path: Path, handle: openslide.OpenSlide, vendor: str) -> TiffSource | None:
    """Return the straight decoder where it sees the levels that OpenSlide sees, None where OpenSlide must do it."""
    with contextlib.ExitStack() as stack:
        try:
            tiff = stack.enter_context(tifffile.TiffFile(path))
            check_complete(path, tiff)
            levels = _matching_levels(tiff, handle, vendor)
        except DECODER_ERRORS:
            return None  # a layout that tifffile cannot follow; OpenSlide's own probe finds damage
        if levels is None:
            return None
        try:
            source = TiffSource(path, tiff, levels)
            stack.callback(source.close)
            brightest = source.probe()
        except (SlideError, *DECODER_ERRORS):
            return None  # OpenSlide has the last word: it opens the file, or says why not
        check_scaled(path, levels[0].dtype, brightest)
        stack.pop_all()
    return source


def _matching_levels(
    tiff: tifffile.TiffFile, handle: openslide.OpenSlide, vendor: str
) -> list[tifffile.TiffPage] | None:
    if vendor not in DIRECT_VENDORS:
        return None
    by_size = {(int(page.imagewidth), int(page.imagelength)): page for page in tiff.pages if page.is_tiled}
    levels = [by_size.get((int(width), int(height))) for width, height in handle.level_dimensions]
    pages = [page for page in levels if page is not None]
    # Aperio leaves out tiles by mistake now and then; OpenSlide fills those in from another level.
    complete = all(count > 0 for page in pages for count in page.databytecounts)
    fits = len(pages) == len(levels) and complete and not any(direct_problem(page) for page in pages)
    return pages if fits else None


def _open_tiff(path: Path) -> Opened:
    """Open a TIFF that OpenSlide does not know: OME-TIFF, tiled TIFF in odd colours, plain field."""
    with contextlib.ExitStack() as stack:
        try:
            tiff = stack.enter_context(tifffile.TiffFile(path))
            check_complete(path, tiff)
            series = _picture_of(path, tiff)
            levels = [level.keyframe for level in series.levels]
            found = mpp_of_ome(tiff.ome_metadata) if tiff.ome_metadata else None
            if found is None and (levels[0].is_tiled or len(levels) > 1):
                found = mpp_of_resolution_tags(levels[0])
            if any(direct_problem(page) for page in levels):
                return read_field(path, levels[0]), found
            source = TiffSource(path, tiff, levels)
            stack.callback(source.close)
            check_scaled(path, levels[0].dtype, source.probe())
        except DECODER_ERRORS as error:
            raise SlideError(path, f"is a TIFF that cannot be read: {one_line(error)}", REPAIR) from error
        stack.pop_all()
    return source, found


def _picture_of(path: Path, tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the one picture; stacks and separate channels are refused: which plane to count on would be a guess."""
    if not tiff.series:
        raise SlideError(path, "is a TIFF without a picture in it", REPAIR)
    series = tiff.series[0]
    if series.axes not in PICTURE_AXES:
        shape = " x ".join(str(size) for size in series.shape)
        found = f"holds a stack or separate channels ({series.axes}, {shape}), expected one grey or RGB picture"
        raise SlideError(path, found, "Export one plane as RGB")
    return series
