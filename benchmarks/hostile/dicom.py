"""A whole-slide DICOM file written by hand: explicit little endian, one level, JPEG tiles.

DICOM PS3.3, C.8.12 (the slide) and PS3.5, 7 and A.4 (the encoding).
"""

from __future__ import annotations

import io
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
ROOT: Final = "2.25."
LONG: Final = ("OB", "OW", "SQ", "UN")
PACK: Final = {"US": "<H", "UL": "<I", "FL": "<f", "FD": "<d"}


def element(group: int, number: int, kind: str, *values: Any) -> bytes:
    """Return one element with its head."""
    if kind == "SQ":
        body = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in values)
    elif kind in PACK:
        body = b"".join(struct.pack(PACK[kind], value) for value in values)
    elif kind == "OB":
        body = bytes(values[0])
    else:
        body = "\\".join(str(value) for value in values).encode()
        body += (b"\0" if kind == "UI" else b" ") * (len(body) % 2)
    head = struct.pack("<HH", group, number) + kind.encode()
    return head + (struct.pack("<HI", 0, len(body)) if kind in LONG else struct.pack("<H", len(body))) + body


def slide(
    pixels: NDArray[np.uint8], mpp: float, *, colours: str = "YBR_FULL_422", uid: int = 1, tile: int = 160
) -> bytes:
    """Return the bytes of a slide; ``colours`` is what the header says of its tiles, which are YCbCr."""
    height, width = pixels.shape[:2]
    frames = []
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            block = np.full((tile, tile, 3), 244, np.uint8)
            part = pixels[y : y + tile, x : x + tile]
            block[: part.shape[0], : part.shape[1]] = part
            stream = io.BytesIO()
            Image.fromarray(block).save(stream, "JPEG", quality=95, subsampling=2)
            frames.append(stream.getvalue() + b"\0" * (len(stream.getvalue()) % 2))
    instance = f"{ROOT}{uid}01"
    meta = b"".join((
        element(2, 0x1, "OB", b"\0\1"), element(2, 0x2, "UI", WHOLE_SLIDE), element(2, 0x3, "UI", instance),
        element(2, 0x10, "UI", JPEG_BASELINE), element(2, 0x12, "UI", ROOT + "9"),
    ))  # fmt: skip
    spacing = element(0x28, 0x30, "DS", mpp / 1000, mpp / 1000)
    measures = element(0x18, 0x50, "DS", 0.004) + spacing
    path = element(0x48, 0x106, "SH", "1") + element(0x48, 0x112, "DS", 20)
    origin = element(0x40, 0x72A, "DS", 0) + element(0x40, 0x73A, "DS", 0)
    body = b"".join((
        element(8, 0x8, "CS", "ORIGINAL", "PRIMARY", "VOLUME", "NONE"), element(8, 0x16, "UI", WHOLE_SLIDE),
        element(8, 0x18, "UI", instance), element(8, 0x60, "CS", "SM"), element(8, 0x70, "LO", "none"),
        element(0x10, 0x10, "PN", "Test"), element(0x10, 0x20, "LO", "1"),
        element(0x20, 0xD, "UI", ROOT + "7"), element(0x20, 0xE, "UI", f"{ROOT}{uid}02"),
        element(0x20, 0x11, "IS", 1),
        element(0x20, 0x13, "IS", 1), element(0x20, 0x52, "UI", f"{ROOT}{uid}03"),
        element(0x20, 0x9311, "CS", "TILED_FULL"),
        element(0x28, 0x2, "US", 3), element(0x28, 0x4, "CS", colours), element(0x28, 0x6, "US", 0),
        element(0x28, 0x8, "IS", len(frames)), element(0x28, 0x10, "US", tile), element(0x28, 0x11, "US", tile),
        element(0x28, 0x100, "US", 8), element(0x28, 0x101, "US", 8), element(0x28, 0x102, "US", 7),
        element(0x28, 0x103, "US", 0), element(0x28, 0x301, "CS", "NO"), element(0x28, 0x2110, "CS", "01"),
        element(0x48, 0x1, "FL", width * mpp / 1000), element(0x48, 0x2, "FL", height * mpp / 1000),
        element(0x48, 0x6, "UL", width), element(0x48, 0x7, "UL", height), element(0x48, 0x8, "SQ", origin),
        element(0x48, 0x102, "DS", 0, 1, 0, 1, 0, 0), element(0x48, 0x105, "SQ", path), element(0x48, 0x302, "UL", 1),
        element(0x48, 0x303, "UL", 1), element(0x5200, 0x9229, "SQ", element(0x28, 0x9110, "SQ", measures)),
    ))  # fmt: skip
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    items += b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame for frame in frames)
    data = (
        struct.pack("<HH", 0x7FE0, 0x10)
        + b"OB"
        + struct.pack("<HI", 0, 2**32 - 1)
        + items
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    return b"\0" * 128 + b"DICM" + element(2, 0, "UL", len(meta)) + meta + body + data
