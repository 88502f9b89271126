"""Plain PNG and JPEG fields, decoded whole with Pillow."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from ki67.errors import SlideError
from ki67.light import RgbImage
from ki67.slides.openslide_source import one_line
from ki67.slides.pixel_size import UM_PER_RESOLUTION_UNIT, Found, not_for_print
from ki67.slides.sources import REPAIR, ArraySource, Opened, check_field_size, over_white

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC: Final = b"\xff\xd8\xff"
SIXTEEN_TO_EIGHT_BIT: Final = 257  # 65535 / 255
ROWS_AT_ONCE: Final = 256
# What Pillow holds for a pixel; of JPEGs in several scans libjpeg keeps the coefficients of all three colours too.
PILLOW_BYTES: Final = 4
COEFFICIENT_BYTES: Final = 6
START_OF_SCAN: Final = b"\xff\xda"
# Encoders write about ten scans; thousands of them over a large picture keep a decoder busy for hours.
MOST_SCANS: Final = 100
UM_PER_INCH: Final = UM_PER_RESOLUTION_UNIT[2]
EXIF_ORIENTATION: Final = 0x0112
UPRIGHT: Final = 1


def is_plain_image(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is a PNG or a JPEG."""
    return head.startswith((PNG_MAGIC, JPEG_MAGIC))


def open_image(path: Path) -> Opened:
    """Decode a PNG or JPEG to 8-bit RGB; transparency becomes white.

    Raises
    ------
    SlideError
        Where the file is damaged, cut short or too large to be held in memory.
    """
    try:
        with path.open("rb") as stream:
            png = stream.read(len(PNG_MAGIC)) == PNG_MAGIC
            stream.seek(0)
            # The format's own class: Image.open refuses above a process-wide limit; check_field_size has ours.
            opened: Image.Image = (
                PngImagePlugin.PngImageFile(stream) if png else JpegImagePlugin.JpegImageFile(stream)
            )
            with opened as image:
                _check_size(path, image)
                warnings = _warnings(image)
                stated = _stated_size(image)
                image.load()
                pixels = _to_rgb(image)
    except SlideError:
        raise
    except Exception as error:  # what decoders raise on hostile bytes has no end
        raise SlideError(path, f"is a picture that cannot be decoded: {one_line(error)}", REPAIR) from error
    return Opened(ArraySource("png" if png else "jpeg", pixels), stated, warnings)


def _stated_size(image: Image.Image) -> list[Found]:
    """Pixel size by the picture's resolution, where that is too fine to be meant for print or a screen."""
    x, y = image.info.get("dpi", (0, 0))
    if not (x > 0 and y > 0):
        return []
    found = Found(UM_PER_INCH / float(x), UM_PER_INCH / float(y), "its resolution")
    return [found] if not_for_print(found) else []


def _check_size(path: Path, image: Image.Image) -> None:
    in_scans = bool(image.info.get("progressive") or image.info.get("progression"))
    check_field_size(path, *image.size, decoder_bytes_px=PILLOW_BYTES + (COEFFICIENT_BYTES if in_scans else 0))
    if in_scans:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, scans = data.find(START_OF_SCAN), 0
            while at >= 0 and scans <= MOST_SCANS:
                at, scans = data.find(START_OF_SCAN, at + 2), scans + 1
        if scans > MOST_SCANS:
            found = f"is a JPEG in more than {MOST_SCANS} scans, expected about ten"
            raise SlideError(path, found, "Save it anew, as a PNG or a baseline JPEG")


def _warnings(image: Image.Image) -> list[str]:
    warnings = []
    orientation = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    if orientation not in {0, UPRIGHT}:
        warnings.append(turned_warning(f"EXIF orientation {orientation}"))
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        warnings.append(f"it holds {frames} pictures: the first is read, the others are not")
    return warnings


def turned_warning(tag: str) -> str:
    """What to say of a picture that asks to be shown turned or mirrored."""
    return (
        f"it asks to be shown turned or mirrored ({tag}) and is read as it is stored, as QuPath does: regions and "
        "coordinates are those of the stored picture"
    )


def _to_rgb(image: Image.Image) -> RgbImage:
    """Convert band by band, so that the picture is held twice (by Pillow and as the result) and no third time."""
    width, height = image.size
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, ROWS_AT_ONCE):
        bottom = min(top + ROWS_AT_ONCE, height)
        pixels[top:bottom] = _band_to_rgb(image.crop((0, top, width, bottom)), image)
    return pixels


def _band_to_rgb(band: Image.Image, image: Image.Image) -> RgbImage:
    if band.mode.startswith("I"):
        grey = np.clip(np.rint(np.asarray(band, dtype=np.float32) / SIXTEEN_TO_EIGHT_BIT), 0, 255)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        band.info = dict(image.info)
        rgba = np.asarray(band.convert("RGBA"))
        return over_white(rgba[..., :3], rgba[..., 3])
    return np.asarray(band.convert("RGB"))
