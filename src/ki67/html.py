"""Small HTML for notebooks: pictures, tables, and both together."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape

import cv2

from ki67.light import RgbImage

JPEG_QUALITY = 85


def jpeg_bytes(picture: RgbImage) -> bytes:
    """Encode a picture as a JPEG file; full colour resolution, or else thin red and green lines go grey."""
    # Not through Pillow: what it keeps ready for the encoder is too small for noise in full colour.
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise MemoryError("no room for a picture of the report")
    return bytes(encoded.tobytes())


def jpeg_uri(picture: RgbImage) -> str:
    """Encode a picture (:func:`jpeg_bytes`) as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture)).decode("ascii")


def image_of(picture: RgbImage, alt: str) -> str:
    """A picture as an element of its own, its file within it."""
    return f'<img src="{jpeg_uri(picture)}" alt="{escape(alt)}">'


def table_of(rows: Mapping[str, object]) -> str:
    """Names and values, a row each; what they hold is text and never markup."""
    lines = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(lines)}</table>"


def page_of(parts: Iterable[str]) -> str:
    """Parts below one another."""
    return f"<div>{''.join(parts)}</div>"
