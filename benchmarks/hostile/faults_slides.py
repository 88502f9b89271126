"""Faults of slides and pictures: pixel sizes, stains, TIFF layouts, hangs and bombs, orientation and depth."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from hostile import dicom
from hostile.fault import Draw, count, fault, index, no_index, refused, same, told

Pixels = NDArray[Any]
CM: Final = {"resolution": (20000, 20000), "resolutionunit": 3}
TILED: Final[dict[str, Any]] = {"tile": (160, 160), "photometric": "rgb", "metadata": None}
NUCLEI: Final = "nucle"
COLOURS: Final = "colou?r|stain|red and blue|brown|grey|H&E"
SCORE: Final = "score {small}/he.tif {small}/ki67.tif --regions {small}/he_regions.geojson"
NAMED: Final = refused("0\\.25.*0\\.5|0\\.5.*0\\.25")
SIZE_DOUBTED: Final = (told(NUCLEI), no_index(NUCLEI), refused(NUCLEI))
NOT_COUNTED: Final = (no_index(COLOURS), refused(COLOURS))
DOUBTED: Final = (*NOT_COUNTED, told(COLOURS))
NO_NUMBER: Final = (no_index("."), refused("."))
UNSUPPORTED: Final = refused("compress|convert", "damaged")
DECODED: Final = (same("crop"), UNSUPPORTED)
DECODED_NEARLY: Final = (same("crop", 0.15), UNSUPPORTED)
PUT_TOGETHER: Final = (same("crop"), refused("channel|plane|stack"))
ONE_SLIDE: Final = refused("same|itself|twice|one slide")
SWAPPED: Final = refused("swap|exchang|order")
TURNED: Final = (same("crop", 0.1, "orient|turn"), refused("orient|turn"))
FLOAT: Final = (same("crop", 0.02), refused("float"))


CORNER: Final = (2432, 3648)
SIDE: Final = 640
"""Where tumour cells are dense on the simulated section: enough to tell a right count from a wrong one, and cheap."""


def crop(sim: Path, side: int = SIDE) -> Pixels:
    """Return a field of a simulated section: tumour and stroma."""
    x, y = CORNER
    return np.ascontiguousarray(tifffile.imread(sim / "ki67.tif", level=0)[y : y + side, x : x + side])


def tif(name: str, change: Callable[[Pixels], Pixels] = lambda p: p, **more: Any) -> Draw:
    """Draw the middle, changed, as a tiled TIFF."""
    options = {**TILED, **CM, "compression": "deflate", **more}
    return lambda folder, sim: tifffile.imwrite(folder / name, np.ascontiguousarray(change(crop(sim))), **options)


def picture(name: str, change: Callable[[Pixels], Any] = lambda p: p, **more: Any) -> Draw:
    """Draw the middle, changed, as a PNG or JPEG."""

    def draw(folder: Path, sim: Path) -> None:
        changed = change(crop(sim))
        image = changed if isinstance(changed, Image.Image) else Image.fromarray(changed)
        image.save(folder / name, **more)

    return draw


def raw(name: str, data: bytes) -> Draw:
    """Write these bytes."""
    return lambda folder, _: (folder / name).write_bytes(data) and None


def ome(folder: Path, sim: Path) -> None:
    """XML 0.5 µm, tags 0.25 µm."""
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(
        folder / "f.ome.tif", crop(sim), tile=(160, 160), photometric="rgb", compression="deflate", ome=True,
        metadata={"axes": "YXS", **sizes}, resolution=(40000, 40000), resolutionunit=3,
    )  # fmt: skip


def aperio(mpp: float, **tags: Any) -> Draw:
    """An SVS whose description says one pixel size and whose tags another."""

    def draw(folder: Path, sim: Path) -> None:
        text = (
            f"Aperio Image Library v12.0.0\r\n640x640 [0,0 640x640] (160x160) JPEG/RGB Q=70|AppMag = 20|MPP = {mpp}"
        )
        options = {**TILED, "compression": "jpeg", "description": text, "software": None, **tags}
        tifffile.imwrite(folder / "f.svs", crop(sim), **options)

    return draw


# fmt: off
PIXEL_SIZE: Final = [
    count(0, "crop", tif("f.tif"), index(5, 60, (100, 2000)), "an index", sound=True),
    count(1, "count --mpp 0.25 on 0.5", tif("f.tif"), NAMED, "refused, both named", "--mpp 0.25"),
    count(1, "count --mpp 1.0 on 0.5", tif("f.tif"), refused("\\b1\\b.*0\\.5|0\\.5.*\\b1\\b"), "refused, both named",
        "--mpp 1.0"),
    count(1, "count --mpp 0.505 on 0.5", tif("f.tif"), same("crop", 0.1), "as without", "--mpp 0.505"),
    count(1, "--mpp-overrides-file", tif("f.tif"), (told("0\\.5"), no_index("0\\.5")), "counted, said",
        "--mpp 0.25 --mpp-overrides-file"),
    fault(1, "idc predict --mpp 1 on 0.5", "idc predict {small}/he.tif --mpp 1.0 --out {out}", refused("0\\.5"),
        "refused, both named"),
    fault(1, "score --ki67-mpp 0.25 on 0.5", SCORE + " --ki67-mpp 0.25", NAMED, "refused, both named"),
    fault(1, "score --he-mpp 1.0 on 0.5", SCORE + " --he-mpp 1.0", refused("0\\.5"), "refused, both named"),
    count(1, "OME-XML 0.5, tags 0.25", ome, same("crop", 0.0, "0\\.25.*0\\.5|0\\.5.*0\\.25"), "0.5, both named",
        file="f.ome.tif"),
    count(1, "Aperio 0.5, tags 0.25", aperio(0.5, resolution=(40000, 40000), resolutionunit=3), NAMED,
        "refused, both named", file="f.svs"),
    count(1, "Aperio 0.5, tags 72 dpi", aperio(0.5, resolution=(72, 72), resolutionunit=2), same("crop", 0.1),
        "0.5: 72 dpi is print", file="f.svs"),
    count(1, "file alone says 0.25 of 0.5", tif("f.tif", resolution=(40000, 40000)), SIZE_DOUBTED, "nuclear size"),
    count(1, "file alone says 1.0 of 0.5", tif("f.tif", resolution=(10000, 10000)), SIZE_DOUBTED, "nuclear size"),
    count(1, "PNG --mpp 0.25 of 0.5", picture("f.png"), SIZE_DOUBTED, "nuclear size", "--mpp 0.25", file="f.png"),
    count(1, "PNG --mpp 0.5", picture("f.png"), same("crop"), "as the TIFF", "--mpp 0.5", file="f.png"),
    count(1, "x 0.5, y 0.25", tif("f.tif", resolution=(20000, 40000)), refused("square"), "refused"),
]
# fmt: on


def ycbcr_called_rgb(folder: Path, sim: Path) -> None:
    """A JPEG TIFF whose data is YCbCr and whose tag says RGB, with nothing in the stream to tell."""
    pixels = crop(sim)
    tiles = [
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(pixels[y : y + 160, x : x + 160]), level=90, colorspace="rgb", outcolorspace="ycbcr"
        )
        for y in range(0, SIDE, 160)
        for x in range(0, SIDE, 160)
    ]
    bare = [
        tile.replace(tile[2 : 4 + struct.unpack_from(">H", tile, 4)[0]], b"", 1) if tile[2:4] == b"\xff\xe0" else tile
        for tile in tiles
    ]
    tifffile.imwrite(
        folder / "f.tif", iter(bare), shape=pixels.shape, dtype=np.uint8, compression="jpeg", **TILED, **CM
    )


def dicom_of(folder: Path, sim: Path, colours: str) -> None:
    """A DICOM slide of YCbCr tiles, and what its header says of their colours."""
    (folder / "f.dcm").write_bytes(dicom.slide(crop(sim), 0.5, colours=colours))


# fmt: off
STAIN: Final = [
    count(2, "DICOM that says RGB of YCbCr", lambda folder, sim: dicom_of(folder, sim, "RGB"),
        (same("crop", 0.1), no_index(COLOURS), refused(COLOURS)), "right or no index", file="f.dcm"),
    count(2, "DICOM that says YCbCr", lambda folder, sim: dicom_of(folder, sim, "YBR_FULL_422"), same("crop", 0.1),
        "right", file="f.dcm"),
    fault(2, "score a slide with itself",
        "score {small}/ki67.tif {small}/ki67.tif --regions {small}/ki67_regions.geojson", ONE_SLIDE, "refused"),
    fault(2, "score H&E with itself", "score {small}/he.tif {small}/he.tif --regions {small}/he_regions.geojson",
        ONE_SLIDE, "refused"),
    fault(2, "score with a renamed copy",
        "score {small}/ki67.tif {i}/copy.tif --regions {small}/ki67_regions.geojson", ONE_SLIDE, "refused",
        lambda folder, sim: shutil.copy(sim.parent / "small/ki67.tif", folder / "copy.tif") and None),
    fault(2, "slides swapped", "score {small}/ki67.tif {small}/he.tif", SWAPPED, "refused"),
    fault(2, "slides swapped, with regions",
        "score {small}/ki67.tif {small}/he.tif --regions {small}/ki67_regions.geojson", SWAPPED, "refused"),
    fault(2, "count of an H&E (simulated)", "count {small}/he.tif --regions {small}/he_regions.geojson",
        no_index("H&E|stain"), "no index, said"),
    fault(2, "count of an H&E (real)", "count {data}/slides/os1_he.ome.tif", no_index("H&E|stain"), "no index, said",
        needs="slides/os1_he.ome.tif"),
    fault(2, "... --use-unusable-stain", "count {data}/slides/os1_he.ome.tif --use-unusable-stain", told("H&E|stain"),
        "index, said", needs="slides/os1_he.ome.tif"),
    fault(2, "fluorescence", "count {data}/slides/fluorescence.ndpi", NO_NUMBER, "no index or refused",
        needs="slides/fluorescence.ndpi"),
    count(2, "grey picture", tif("f.tif", lambda p: np.repeat(p.mean(axis=2, keepdims=True).astype(np.uint8), 3, 2)),
        NOT_COUNTED, "no index, said"),
    count(2, "grey PNG", picture("f.png", lambda p: Image.fromarray(p).convert("L")), NOT_COUNTED, "no index, said",
        "--mpp 0.5", file="f.png"),
    count(2, "almost grey", tif("f.tif", lambda p: (0.9 * p.mean(axis=2, keepdims=True) + 0.1 * p).astype(np.uint8)),
        DOUBTED, "no index or said"),
    count(2, "faded to a quarter", tif("f.tif", lambda p: (p * 0.25 + 170).astype(np.uint8)), NOT_COUNTED,
        "no index, said"),
    count(2, "red and blue swapped", tif("f.tif", lambda p: p[..., ::-1]), (refused("red and blue"),
        no_index("red and blue")), "recognised"),
    count(2, "red and green swapped", tif("f.tif", lambda p: p[..., [1, 0, 2]]), (*DOUBTED, same("crop", 0.1)),
        "recognised, or no other number"),
    count(2, "negative of the picture", tif("f.tif", lambda p: 255 - p), NO_NUMBER, "no index or refused"),
    count(2, "YCbCr called RGB", ycbcr_called_rgb, (same("crop", 0.1), no_index(COLOURS), refused(COLOURS)),
        "right or no index"),
    count(2, "one colour everywhere", tif("f.tif", lambda p: np.full_like(p, 200)), NO_NUMBER,
        "no index or refused"),
    count(2, "black", tif("f.tif", np.zeros_like), NO_NUMBER, "no index or refused"),
]
# fmt: on


def separate(folder: Path, sim: Path) -> None:
    """Red, green and blue as three grey planes, tiled."""
    tifffile.imwrite(
        folder / "f.tif",
        np.moveaxis(crop(sim), -1, 0),
        tile=(160, 160),
        photometric="minisblack",
        compression="deflate",
        metadata=None,
        **CM,
    )


def planes(folder: Path, sim: Path) -> None:
    """RGB in separate planes (PlanarConfiguration 2)."""
    tifffile.imwrite(
        folder / "f.tif",
        np.moveaxis(crop(sim), -1, 0),
        tile=(160, 160),
        photometric="rgb",
        planarconfig="separate",
        compression="deflate",
        metadata=None,
        **CM,
    )


def second_page(folder: Path, sim: Path) -> None:
    """A mask of the same size behind the picture."""
    pixels = crop(sim)
    with tifffile.TiffWriter(folder / "f.tif") as writer:
        writer.write(pixels, compression="deflate", **TILED, **CM)
        writer.write(pixels[::-1, ::-1].copy(), compression="deflate", **TILED)


def coded(code: int, encode: Callable[[Pixels], bytes]) -> Draw:
    """Tiles of a compression that tifffile does not write by itself."""

    def draw(folder: Path, sim: Path) -> None:
        pixels = crop(sim)
        tiles = (
            encode(np.ascontiguousarray(pixels[y : y + 160, x : x + 160]))
            for y in range(0, SIDE, 160)
            for x in range(0, SIDE, 160)
        )
        tifffile.imwrite(folder / "f.tif", tiles, shape=pixels.shape, dtype=np.uint8, compression=code, **TILED, **CM)

    return draw


def jpeg2000(pixels: Pixels) -> bytes:
    """Without loss, RGB inside."""
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", mct=True, reversible=True))


# fmt: off
TIFFS: Final = [
    count(4, "three grey planes", separate, PUT_TOGETHER, "right or refused"),
    count(4, "RGB in separate planes", planes, PUT_TOGETHER, "right or refused"),
    count(4, "a second page of the same size", second_page, (same("crop"), refused("page|series|picture")),
        "the first page"),
    *[count(4, f"JPEG 2000 tiles ({code})", coded(code, jpeg2000), DECODED, "right") for code in (33003, 33004, 33005,
        34712)],
    count(4, "WebP tiles", tif("f.tif", compression="webp"), DECODED_NEARLY, "right"),
    count(4, "JPEG XL tiles", tif("f.tif", compression="jpegxl"), DECODED_NEARLY, "right"),
    count(4, "LZMA tiles", tif("f.tif", compression="lzma"), DECODED, "right"),
    count(4, "Zstandard tiles", tif("f.tif", compression="zstd"), DECODED, "right"),
    count(4, "LERC tiles", tif("f.tif", compression="lerc"), DECODED, "right"),
]
# fmt: on


def oriented(value: int) -> Draw:
    """A TIFF that is to be shown turned."""

    def draw(folder: Path, sim: Path) -> None:
        tifffile.imwrite(
            folder / "f.tif", crop(sim), compression="deflate", extratags=[(274, 3, 1, value, True)], **TILED, **CM
        )

    return draw


def exif(folder: Path, sim: Path) -> None:
    """A JPEG whose EXIF says that it is to be turned."""
    data = Image.Exif()
    data[274] = 6
    Image.fromarray(crop(sim)).save(folder / "f.jpg", quality=95, exif=data)


def imagej(folder: Path, sim: Path) -> None:
    """ImageJ's calibration: 2 pixels per micron, no unit in the tags."""
    tifffile.imwrite(folder / "f.tif", crop(sim), imagej=True, resolution=(2.0, 2.0), metadata={"unit": "micron"})


# fmt: off
SMALL: Final = [
    *[count(16, f"TIFF orientation {value}", oriented(value),
        TURNED, "right or said",) for value in (3, 6)],
    count(16, "EXIF orientation 6", exif, TURNED, "right or said",
        "--mpp 0.5", file="f.jpg"),
    count(16, "ImageJ calibration", imagej, (same("crop"), refused("does not say how large|--mpp")),
        "right or asked for"),
    count(16, "12 bits in 16", tif("f.tif", lambda p: p.astype(np.uint16) * 16),
        (same("crop", 0.1), refused("bit|scale|dark")), "right or said"),
    count(16, "16 bits", tif("f.tif", lambda p: p.astype(np.uint16) * 257), same("crop"), "right"),
    count(16, "float 0 to 1", tif("f.tif", lambda p: (p / 255).astype(np.float32)), FLOAT, "right or said"),
    count(16, "float 0 to 255", tif("f.tif", lambda p: p.astype(np.float32)), FLOAT, "right or said"),
    count(16, "float half (16)", tif("f.tif", lambda p: (p / 255).astype(np.float16)), FLOAT, "right or said"),
]
# fmt: on


FAULTS: Final = [*PIXEL_SIZE, *STAIN, *TIFFS, *SMALL]
