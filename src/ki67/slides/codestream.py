"""What the compressed stream of a tile says of itself, read before it is decoded.

A decoder believes the stream and not the directory around it: a tile of 256 px whose stream announces 60,000 px takes
gigabytes, and one that says RGB of colours that are YCbCr comes out in other colours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

JPEG_CODES: Final = {6, 7, 33007, 34892}
JPEG2000_CODES: Final = {33003, 33004, 33005, 34712}
WEBP_CODES: Final = {34927, 50001}
JPEGXL_CODES: Final = {50002, 52546}
PNG_CODES: Final = {34933}
# Codes whose decoders are told how much to give out: none, LZW, deflate, PackBits, LZMA, Zstandard.
BOUNDED_CODES: Final = {1, 5, 8, 32946, 32773, 34925, 34926, 50000}
READABLE_CODES: Final = (
    BOUNDED_CODES | (JPEG_CODES - {6}) | JPEG2000_CODES | WEBP_CODES | JPEGXL_CODES | PNG_CODES
)  # fmt: skip

_JPEG2000_START: Final = b"\xff\x4f\xff\x51"
_JPEGXL_BOX: Final = b"\0\0\0\x0cJXL "
_START_OF_FRAME: Final = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEGXL_BITS: Final = (9, 13, 18, 30)
_JPEGXL_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True)
class JpegHead:
    """What precedes the pixels of a JPEG stream."""

    width: int
    height: int
    sampling: tuple[int, ...]
    ids: bytes
    jfif: bool
    adobe_transform: int | None

    @property
    def colours(self) -> str | None:
        """``"rgb"`` or ``"ycbcr"`` where the stream leaves no doubt, None where it does."""
        if len(self.ids) != 3:
            return None
        if len(set(self.sampling)) > 1 or self.adobe_transform == 1:  # only chroma is ever stored coarser
            return "ycbcr"
        if self.adobe_transform == 0 or self.ids == b"RGB":
            return "rgb"
        return "ycbcr" if self.jfif else None


def jpeg_head(data: bytes) -> JpegHead | None:
    """Read a JPEG stream up to its start of frame; None where there is none."""
    at, jfif, adobe = 2, False, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker in _START_OF_FRAME:
            if len(body) < 6 or len(body) < 6 + 3 * body[5]:
                return None
            height, width = struct.unpack_from(">HH", body, 1)
            parts = body[6 : 6 + 3 * body[5]]
            return JpegHead(width, height, tuple(parts[1::3]), bytes(parts[0::3]), jfif, adobe)
        if marker == 0xE0 and body.startswith(b"JFIF"):
            jfif = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        at += 2 + max(length, 2)
    return None


def stream_size_px(compression: int, data: bytes) -> tuple[int, int] | None:
    """Width and height that a compressed stream announces; None where it has no head to read."""
    if compression in JPEG_CODES:
        head = jpeg_head(data)
        return (head.width, head.height) if head else None
    try:
        if compression in JPEG2000_CODES:
            return _jpeg2000(data)
        if compression in WEBP_CODES:
            return _webp(data)
        if compression in JPEGXL_CODES:
            return _jpegxl(data)
        if compression in PNG_CODES and data[12:16] == b"IHDR":
            return struct.unpack_from(">II", data, 16)
    except (struct.error, IndexError):
        return None
    return None


def _jpeg2000(data: bytes) -> tuple[int, int] | None:
    start = data.find(_JPEG2000_START)
    if start < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    return right - left, bottom - top


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpegxl(data: bytes) -> tuple[int, int] | None:
    """Read the size header of ISO/IEC 18181-1, D.2."""
    if data.startswith(_JPEGXL_BOX):
        data = _jpegxl_codestream(data)
    if not data.startswith(b"\xff\x0a"):
        return None
    bits, at = int.from_bytes(data[2:16], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (at - count) & ((1 << count) - 1)

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take(_JPEGXL_BITS[take(2)]) + 1

    height = side()
    ratio = take(3)
    if ratio == 0:
        return side(), height
    above, below = _JPEGXL_RATIOS[ratio - 1]
    return height * above // below, height


def _jpegxl_codestream(data: bytes) -> bytes:
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"jxlc":
            return data[at + 8 :]
        if kind == b"jxlp":
            return data[at + 12 :]
        if length < 8:
            break
        at += length
    return b""
