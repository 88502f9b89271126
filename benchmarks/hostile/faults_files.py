"""Faults of files: rings, bombs, pipes and devices; folders of DICOM slides."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import tifffile
from PIL import Image

from hostile import dicom
from hostile.fault import Draw, count, fault, index, refused, same
from hostile.faults_slides import CM, TILED, crop, raw


def png_of(width: int, height: int, colour: int, depth: int, line: bytes) -> bytes:
    """Return a PNG whose lines are all alike: small as a file, large as a picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    press = zlib.compressobj(9)
    body = b"".join(press.compress(b"\0" + line) for _ in range(height)) + press.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def png_bomb(width: int, height: int, colour: int, depth: int, bytes_a_line: int) -> Draw:
    """Write one."""
    return lambda folder, _: (
        (folder / "f.png").write_bytes(png_of(width, height, colour, depth, bytes(bytes_a_line))) and None
    )


def one_tile(side: int) -> Draw:
    """A TIFF of a single tile, or of one that is much larger than what it holds."""

    def draw(folder: Path, _: Path) -> None:
        press = zlib.compressobj(9)
        row = bytes([230]) * side * 3
        body = b"".join(press.compress(row) for _ in range(side)) + press.flush()
        tifffile.imwrite(
            folder / "f.tif",
            iter([body]),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(side, side),
            photometric="rgb",
            compression="adobe_deflate",
            metadata=None,
            bigtiff=True,
            **CM,
        )

    return draw


def tile_bomb(folder: Path, sim: Path) -> None:
    """A tile of 160 px whose deflate stream gives three gigabytes."""
    press = zlib.compressobj(9)
    zeros = bytes(10**7)
    body = b"".join(press.compress(zeros) for _ in range(300)) + press.flush()
    pixels = crop(sim, side=320)
    tiles = [
        zlib.compress(np.ascontiguousarray(pixels[y : y + 160, x : x + 160]).tobytes())
        for y in (0, 160)
        for x in (0, 160)
    ]
    tiles[3] = body
    tifffile.imwrite(
        folder / "f.tif", iter(tiles), shape=pixels.shape, dtype=np.uint8, compression="adobe_deflate", **TILED, **CM
    )


def fifo(folder: Path, _: Path) -> None:
    """A pipe that nobody writes to."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(folder / "f.tif")


def loop(folder: Path, _: Path) -> None:
    """A link to itself."""
    (folder / "f.tif").symlink_to("f.tif")


def text_bomb(folder: Path, sim: Path) -> None:
    """A PNG with a compressed text of two gigabytes."""
    Image.fromarray(crop(sim, side=256)).save(folder / "f.png")
    data = (folder / "f.png").read_bytes()
    press = zlib.compressobj(9)
    zeros = bytes(10**7)
    body = b"Comment\0\0" + b"".join(press.compress(zeros) for _ in range(200)) + press.flush()
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    (folder / "f.png").write_bytes(data[:33] + chunk + data[33:])


RING: Final = bytes.fromhex("49492a00080000000000") + bytes.fromhex("08000000")
TWO_RINGS: Final = b"II*\0\x08\0\0\0" + b"\0\0\x0e\0\0\0" + b"\0\0\x08\0\0\0"
SUB_RING: Final = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 330, 4, 1, 8) + struct.pack("<I", 0)
BIG_RING: Final = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 0) + struct.pack("<Q", 16)
ANY: Final = (refused("."),)

# fmt: off
BOMBS: Final = [
    *[count(10, f"directories in a ring ({name})", raw("f.tif", data), ANY, "refused") for name,
        data in (("14 bytes", RING), ("two", TWO_RINGS), ("below", SUB_RING), ("BigTIFF", BIG_RING))],
    count(10, "PNG of 19,999²", png_bomb(19999, 19999, 0, 8, 19999), ANY, "refused", "--mpp 0.5", file="f.png"),
    count(10, "PNG RGBA16 of 19,999²", png_bomb(19999, 19999, 6, 16, 19999 * 8), ANY, "refused", "--mpp 0.5",
        file="f.png"),
    count(10, "PNG of 1 x 100 million", png_bomb(100_000_000, 1, 0, 1, 12_500_000), ANY, "refused", "--mpp 0.5",
        file="f.png"),
    count(10, "PNG with 2 GB of text", text_bomb, (refused("."), index(0, 100)), "refused or right", "--mpp 0.5",
        file="f.png"),
    count(10, "one TIFF tile of 46,336²", one_tile(46336), ANY, "refused"),
    count(10, "a tile that inflates to 3 GB", tile_bomb, ANY, "refused"),
    count(10, "FIFO", fifo, ANY, "refused"),
    count(10, "link to itself", loop, ANY, "refused"),
    fault(10, "/dev/zero", "count /dev/zero --mpp 0.5", ANY, "refused"),
    fault(10, "/dev/random", "count /dev/urandom --mpp 0.5", ANY, "refused"),
]
# fmt: on


def dicom_folder(*slides: int, more: bool = False) -> Draw:
    """A folder of DICOM slides, the last one Ki-67, and perhaps what else a disc holds."""

    def draw(folder: Path, sim: Path) -> None:
        for number in slides:
            pixels = crop(sim) if number == slides[-1] else crop(sim)[::-1].copy()
            (folder / f"IM{number}.dcm").write_bytes(dicom.slide(pixels, 0.5, uid=number))
        if more:
            (folder / "DICOMDIR").write_bytes(b"not one")
            (folder / "readme.txt").write_text("exported", encoding="utf-8")

    return draw


# fmt: off
DICOM: Final = [
    fault(12, "two slides in a folder", "count {i}", (refused("(2|two) slides.*IM1.*IM2"), refused("IM1.*IM2")),
        "refused, both named", dicom_folder(1, 2)),
    fault(12, "three slides in a folder", "count {i}", (refused("IM1.*IM2"), refused("3 slides")), "refused, named",
        dicom_folder(1, 2, 3)),
    fault(12, "one slide and other files", "count {i}", same("crop", 0.1), "right", dicom_folder(1, more=True)),
    count(12, "one slide of several, by name", dicom_folder(1, 2), same("crop", 0.1), "right", file="IM2.dcm"),
    fault(12, "a folder without a slide", "count {i}", refused("DICOM"), "refused", lambda folder,
        _: (folder / "a.txt").write_text("x") and None),
]
# fmt: on


FAULTS: Final = [*BOMBS, *DICOM]
