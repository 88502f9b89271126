"""Plain PNG and JPEG fields, decoded whole with Pillow."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from ki67.errors import SlideError
from ki67.slides.sources import REPAIR, ArraySource, RgbImage, check_field_size, over_white

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC: Final = b"\xff\xd8\xff"
SIXTEEN_TO_EIGHT_BIT: Final = 257  # 65535 / 255
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def is_plain_image(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is a PNG or a JPEG."""
    return head.startswith((PNG_MAGIC, JPEG_MAGIC))


def open_image(path: Path) -> ArraySource:
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
                check_field_size(path, *image.size)
                image.load()
                pixels = _to_rgb(image)
    except _DECODER_ERRORS as error:
        raise SlideError(path, f"is a picture that cannot be decoded: {error}", REPAIR) from error
    return ArraySource("png" if png else "jpeg", pixels)


def _to_rgb(image: Image.Image) -> RgbImage:
    if image.mode.startswith("I"):
        grey = np.clip(np.rint(np.asarray(image, dtype=np.float32) / SIXTEEN_TO_EIGHT_BIT), 0, 255)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return over_white(rgba[..., :3], rgba[..., 3])
    return np.asarray(image.convert("RGB"))
