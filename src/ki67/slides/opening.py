"""Opening any slide or picture: which reader, which pixel size.

TIFFs are opened by what is in them (``tiff_opening``), PNG and JPEG through Pillow, everything else that OpenSlide
knows through OpenSlide, and what the program does not know by an installed reader. Damage is looked for at once: the
tiles must lie inside the file, and a few of each level are decoded.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from ki67.errors import PixelSizeError, SlideError
from ki67.slides.addresses import SlideUrl, slide_address
from ki67.slides.dicom import check_dicom, dicom_slide_in
from ki67.slides.frame import foreign_frame
from ki67.slides.image_source import is_plain_image, open_image
from ki67.slides.openslide_source import detect_vendor, open_with_openslide
from ki67.slides.pixel_size import WAY_OUT, chosen_size
from ki67.slides.readers import open_with_plugin
from ki67.slides.slide import Slide
from ki67.slides.sources import DOWNLOAD, REPAIR, Opened
from ki67.slides.stated_sizes import agreed
from ki67.slides.tiff_opening import open_tiff
from ki67.slides.tiff_structure import TIFF_MAGICS

FORMATS: Final = (
    "Slides (SVS, NDPI, MRXS, SCN, BIF, DICOM, tiled TIFF, OME-TIFF) and PNG, JPEG, TIFF fields can be read"
)
HEAD_BYTES: Final = 16
MIRAX: Final = ".mrxs"  # its pixels lie in a folder of the same name
READING_VERSION: Final = 2
"""Raised when the same file gives other pixels or another pixel size, so that finished cases are done again."""
KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
UM_PER_MM: Final = 1000.0
# The largest glass in use (8 x 6 inches) is 203 x 152 mm; on breast, whole-mount sections of 100 x 80 mm.
LARGEST_SIDE_MM: Final = 250.0
LARGEST_AREA_MM2: Final = 32_000


def open_slide(path: str | Path, mpp: float | None = None, *, overrides_file: bool = False) -> Slide:
    """Open a whole slide or a plain picture.

    Parameters
    ----------
    path
        A file, a folder of DICOM files, or the URL of a TIFF (extra ``url``).
    mpp
        µm per pixel of level 0, where the file does not say. Most plain pictures need it: the resolution that a
        camera or a drawing program writes into them means print, not specimen.
    overrides_file
        Take ``mpp`` although the file itself says a size more than 2 % away; the slide then has a warning.

    Raises
    ------
    SlideError
        Missing, unknown, damaged or cut short.
    SlideAwayError
        At a URL whose server does not answer.
    PixelSizeError
        No believable pixel size (0.05 to 50 µm, square within 2 %), or ``mpp`` is not the file's own; names
        ``--mpp``.
    """
    path = slide_address(path)
    if mpp is not None:
        chosen_size(path, mpp, None)  # before minutes are spent on a large file
    file, opened = _open_source(path)
    source = opened.source
    try:
        found, notes = agreed(path, opened.stated, mpp) if opened.doubt is None else (None, [])
        if opened.doubt is not None and mpp is None:
            raise PixelSizeError(path, opened.doubt, WAY_OUT)
        size = chosen_size(path, mpp, found, overrides_file=overrides_file)
        _check_extent(path, source.level_sizes_px[0], size.mpp)
        frame = foreign_frame(file, source.level_sizes_px[0], size.mpp)
    except SlideError:
        source.close()
        raise
    return Slide(path, source, size, frame, [*opened.warnings, *notes])


def _head_of(path: Path) -> bytes:
    """Return the first bytes of a file; what is no file is not opened, a pipe would be waited for without end."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for test, name in KINDS if test(mode)), "no file")
            raise SlideError(path, f"is {kind}, expected a file", FORMATS)
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise SlideError(path, "does not exist", "Check the path") from error
    except OSError as error:
        raise SlideError(path, f"cannot be read: {error.strerror}", "Check its permissions") from error
    except ValueError as error:  # a zero byte in the name
        raise SlideError(path, f"is no path: {error}", "Check the path") from error
    if not head:
        raise SlideError(path, "is empty (0 bytes)", REPAIR)
    return head


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that is too long, a folder that may not be entered: told by _head_of
        return False


def _open_source(path: Path) -> tuple[Path, Opened]:
    """Open with the first reader that knows the file; of a folder, the file of its slide is opened."""
    if _is_folder(path):
        opened = open_with_plugin(path, b"")
        if opened is not None:
            return path, opened
        path = dicom_slide_in(path, FORMATS)
    head = _head_of(path)
    if head.startswith(TIFF_MAGICS):
        return path, open_tiff(path)
    if isinstance(path, SlideUrl):
        found = "is no TIFF, and only TIFFs (SVS, OME-TIFF, tiled and plain ones) are read from a URL"
        raise SlideError(path, found, DOWNLOAD)
    _refuse_pipes_of(path)
    vendor = detect_vendor(path)
    if vendor == "dicom":
        check_dicom(path)
    if vendor is not None:
        return path, open_with_openslide(path)
    if is_plain_image(head):  # asked after OpenSlide: the first file of a MIRAX slide is a JPEG
        return path, open_image(path)
    opened = open_with_plugin(path, head)
    if opened is None:
        raise SlideError(path, "is not a slide or a picture that can be read", FORMATS)
    return path, opened


def _refuse_pipes_of(path: Path) -> None:
    """Refuse a MIRAX slide with a pipe, socket or device among its files: OpenSlide would wait for it without end."""
    folder = path.with_suffix("")
    if path.suffix.lower() == MIRAX and _is_folder(folder):
        for file in sorted(folder.iterdir()):
            if not file.is_file() and not file.is_dir():
                raise SlideError(path, f"has {file.name} among its files, which is no file", REPAIR)


def _check_extent(path: Path, size_px: tuple[int, int], mpp: float) -> None:
    width, height = (side * mpp / UM_PER_MM for side in size_px)
    if max(width, height) > LARGEST_SIDE_MM or width * height > LARGEST_AREA_MM2:
        limits = f"at most {LARGEST_SIDE_MM:g} mm a side and {LARGEST_AREA_MM2:,} mm²"
        found = f"would be {width:,.0f} x {height:,.0f} mm at {mpp:g} µm a pixel, expected {limits}"
        raise PixelSizeError(path, found, WAY_OUT)
