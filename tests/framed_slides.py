"""Slides that QuPath shows cropped to what was scanned: the same picture at an offset on a larger, empty canvas."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def write_scn(path: Path, pixels: Pixels, mpp: float, offset_px: tuple[int, int]) -> None:
    """Leica SCN: the slide is the canvas, the scan lies on it."""
    height, width = pixels.shape[:2]
    left, top = offset_px
    nm = round(mpp * 1000)
    canvas = ((width + 2 * left) * nm, (height + 2 * top) * nm)
    macro = np.full((64, 64, 3), 240, np.uint8)
    images = _scn_image("macro", 0, (64, 64), canvas, (0, 0), 1)
    images += _scn_image("main", 1, (width, height), (width * nm, height * nm), (left * nm, top * nm), 20)
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:0">'
        f'<collection name="c" uuid="urn:uuid:1" sizeX="{canvas[0]}" sizeY="{canvas[1]}">{images}</collection></scn>'
    )
    plain = {"photometric": "rgb", "compression": "jpeg", "metadata": None, "software": None, "resolutionunit": 3}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(macro, description=xml, tile=(64, 64), resolution=(312.5, 312.5), **plain)
        tiff.write(pixels, tile=(256, 256), resolution=(1e4 / mpp, 1e4 / mpp), compressionargs={"level": 98}, **plain)


def _scn_image(
    name: str, ifd: int, px: tuple[int, int], nm: tuple[int, int], offset_nm: tuple[int, int], power: int
) -> str:
    size = f'sizeX="{px[0]}" sizeY="{px[1]}"'
    return (
        f'<image name="{name}" uuid="urn:uuid:{name}"><creationDate>2020-01-01T00:00:00Z</creationDate>'
        f'<device model="x" version="1"/><pixels {size}><dimension {size} r="0" ifd="{ifd}"/></pixels>'
        f'<view sizeX="{nm[0]}" sizeY="{nm[1]}" offsetX="{offset_nm[0]}" offsetY="{offset_nm[1]}" spacingZ="0"/>'
        f"<scanSettings><objectiveSettings><objective>{power}</objective></objectiveSettings>"
        "<illuminationSettings><numericalAperture>0.4</numericalAperture>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"
    )


def write_sparse_tiff(path: Path, pixels: Pixels, mpp: float, offset_px: tuple[int, int], tile_px: int = 128) -> None:
    """Generic tiled TIFF whose first columns and rows of tiles were never written."""
    left, top = offset_px
    canvas = np.full((pixels.shape[0] + top, pixels.shape[1] + left, 3), 255, np.uint8)
    canvas[top:, left:] = pixels
    tifffile.imwrite(
        path,
        canvas,
        tile=(tile_px, tile_px),
        photometric="rgb",
        compression="deflate",
        resolution=(1e4 / mpp, 1e4 / mpp),
        resolutionunit=3,
        metadata=None,
    )
    across = -(-canvas.shape[1] // tile_px)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileByteCounts", "TileOffsets"):
            tag = tiff.pages[0].tags[name]
            kept = [
                value if index % across >= left // tile_px and index // across >= top // tile_px else 0
                for index, value in enumerate(tag.value)
            ]
            tag.overwrite(kept)


def write_mrxs(path: Path, pixels: Pixels, mpp: float, offset_px: tuple[int, int], tile_px: int = 100) -> None:
    """MIRAX: an index of JPEG tiles on a grid, of which only the scanned ones are there."""
    left, top = (side // tile_px for side in offset_px)
    down, across = (side // tile_px for side in pixels.shape[:2])
    columns, rows = across + 2 * left, down + 2 * top
    folder = path.with_suffix("")
    folder.mkdir()
    Image.new("RGB", (32, 32), "white").save(path, "JPEG")
    identifier = "A" * 32
    head = f"01.02{identifier}".encode()
    data = io.BytesIO(head)
    data.seek(0, io.SEEK_END)
    entries = []
    for row in range(down):
        for column in range(across):
            tile = pixels[row * tile_px : (row + 1) * tile_px, column * tile_px : (column + 1) * tile_px]
            jpeg = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(tile)).save(jpeg, "JPEG", quality=98)
            entries.append(((row + top) * columns + column + left, data.tell(), len(jpeg.getvalue()), 0))
            data.write(jpeg.getvalue())
    (folder / "Data0000.dat").write_bytes(data.getvalue())
    root = len(head) + 8
    # The root names the place of the one zoom level, that says 0 and the place of its page: a number of entries, 0.
    table = struct.pack("<3i", root + 4, 0, root + 12)
    table += struct.pack("<2i", len(entries), 0) + b"".join(struct.pack("<4i", *entry) for entry in entries)
    (folder / "Index.dat").write_bytes(head + struct.pack("<2i", root, 0) + table)
    sections = {
        "GENERAL": {
            "SLIDE_VERSION": "01.02",
            "SLIDE_ID": identifier,
            "IMAGENUMBER_X": columns,
            "IMAGENUMBER_Y": rows,
            "OBJECTIVE_MAGNIFICATION": 20,
            "CameraImageDivisionsPerSide": 1,
        },
        "HIERARCHICAL": {
            "HIER_COUNT": 1,
            "NONHIER_COUNT": 0,
            "INDEXFILE": "Index.dat",
            "HIER_0_NAME": "Slide zoom level",
            "HIER_0_COUNT": 1,
            "HIER_0_VAL_0": "ZoomLevel_0",
            "HIER_0_VAL_0_SECTION": "LAYER_0_LEVEL_0_SECTION",
        },
        "DATAFILE": {"FILE_COUNT": 1, "FILE_0": "Data0000.dat"},
        "LAYER_0_LEVEL_0_SECTION": {
            "OVERLAP_X": 0,
            "OVERLAP_Y": 0,
            "MICROMETER_PER_PIXEL_X": mpp,
            "MICROMETER_PER_PIXEL_Y": mpp,
            "IMAGE_FORMAT": "JPEG",
            "IMAGE_FILL_COLOR_BGR": 0xFFFFFF,
            "DIGITIZER_WIDTH": tile_px,
            "DIGITIZER_HEIGHT": tile_px,
            "IMAGE_CONCAT_FACTOR": 0,
        },
    }
    lines = [
        f"[{name}]\r\n" + "".join(f"{key} = {value}\r\n" for key, value in own.items())
        for name, own in sections.items()
    ]
    (folder / "Slidedat.ini").write_text("\r\n".join(lines).replace("\r\n", "\n"))
