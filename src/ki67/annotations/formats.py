"""Which module reads and writes which region file: reading goes by what is in the file, writing by its name."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ki67.annotations import asap, dsa, geojson, imagescope, ndpa
from ki67.annotations.regions import Regions
from ki67.errors import AnnotationError, PixelSizeError
from ki67.slides import PixelFrame
from ki67.vocabulary import RegionFormat


@dataclass(frozen=True)
class Format:
    """One file format: its names, the ends of its files' names, and the functions that read and write it.

    ``write_regions`` returns what the format could not carry over, one clause each.
    """

    key: RegionFormat
    name: str
    suffixes: tuple[str, ...]
    read_regions: Callable[[Path, PixelFrame], Regions]
    read_cells: Callable[[Path, PixelFrame], dict[str, NDArray[np.float64]]]
    write_regions: Callable[[Path, Regions, PixelFrame], list[str]]


_QUPATH: Final = Format(
    RegionFormat.qupath,
    "QuPath GeoJSON",
    (".geojson", ".json"),
    geojson.read_regions,
    geojson.read_cells,
    geojson.write_regions,
)
_DSA: Final = Format(
    RegionFormat.dsa,
    "Digital Slide Archive JSON",
    (".dsa.json",),
    dsa.read_regions,
    dsa.read_cells,
    dsa.write_regions,
)
_ASAP: Final = Format(
    RegionFormat.asap, "ASAP XML", (".xml",), asap.read_regions, asap.read_cells, asap.write_regions
)
_IMAGESCOPE: Final = Format(
    RegionFormat.imagescope,
    "Aperio ImageScope XML",
    (".xml",),
    imagescope.read_regions,
    imagescope.read_cells,
    imagescope.write_imagescope,
)
_HALO: Final = Format(
    RegionFormat.halo,
    "HALO annotations",
    (".annotations",),
    imagescope.read_regions,
    imagescope.read_cells,
    imagescope.write_halo,
)
_NDPA: Final = Format(
    RegionFormat.ndpa, "Hamamatsu NDPA", (".ndpa",), ndpa.read_regions, ndpa.read_cells, ndpa.write_regions
)

FORMATS: Final = (_QUPATH, _DSA, _ASAP, _IMAGESCOPE, _HALO, _NDPA)
"""Readable and writable formats; a new one is one module, its line here, its sign in :func:`format_of` and a word of
``RegionFormat``."""

_HEAD_BYTES: Final = 1 << 20
"""Of a file, unpacked, that are looked at; a root element stands at the very beginning."""

_ROOT: Final = re.compile(r"<\s*([A-Za-z_][\w.-]*)")
_VERTEX: Final = re.compile(r"<(Vertex|V)\s")
_GEOJSON_SIGN: Final = re.compile(r'"(features|geometry|coordinates|Feature|FeatureCollection|geometries)"')
_DSA_SIGN: Final = re.compile(r'"elements"\s*:\s*\[')
_WAY_OUT: Final = "Export the regions from QuPath with File > Export objects as GeoJSON."


def read_regions(path: str | Path, frame: PixelFrame) -> Regions:
    """Read the labelled areas of a region file, whichever program wrote it.

    Parameters
    ----------
    path
        The file; packed with gzip or not. Its content says what it is, not its name.
    frame
        How other programs count pixels on the slide (``Slide.frame``).

    Returns
    -------
    Regions
        In µm in the slide's frame, in the file's order; ``notes`` states what was repaired or left out.

    Raises
    ------
    AnnotationError
        Where the file is missing, unreadable, malformed or holds an area that cannot be repaired; names the feature.
    PixelSizeError
        Where the frame's ``mpp`` is not a positive number.
    """
    return _checked(path, frame).read_regions(Path(path), frame)


def read_cells(path: str | Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the centres of the labelled cells of a region file, by class name, (N, 2) in µm in the slide's frame.

    Cells are detections and cells (the nucleus, where it is given), and all points. An annotation's area is one where
    the file has no detections or cells and it is not larger than a nucleus can be (400 µm²): outlined by hand.
    Larger areas, and areas beside detections, are regions and passed over. Parameters as :func:`read_regions`.

    Raises
    ------
    AnnotationError
        As :func:`read_regions`, and where there are features but no cell.
    PixelSizeError
        Where the frame's ``mpp`` is not a positive number.
    """
    return _checked(path, frame).read_cells(Path(path), frame)


def write_regions(
    path: str | Path, regions: Regions, frame: PixelFrame, form: RegionFormat | None = None
) -> tuple[str, ...]:
    """Write regions in the format that the suffix names, whole or not at all.

    Parameters
    ----------
    path
        The file to write.
    regions
        In µm in the slide's frame.
    frame
        How other programs count pixels on the slide (``Slide.frame``).
    form
        The format, where the suffix leaves a choice (``.xml``) or shall not decide.

    Returns
    -------
    tuple of str
        What the format could not carry over, one clause each.

    Raises
    ------
    AnnotationError
        Where the suffix names no format that can be written, or two.
    WriteError
        Where the file cannot be written.
    """
    _check_mpp(path, frame)
    return tuple(format_to_write(path, form).write_regions(Path(path), regions, frame))


def format_to_write(path: str | Path, form: RegionFormat | None = None) -> Format:
    """The format that a name says, or that is asked for; errors as :func:`write_regions`."""
    if form is not None:
        return next(one for one in FORMATS if one.key is form)
    name = Path(path).name.lower()
    ends = [(suffix, one) for one in FORMATS for suffix in one.suffixes if name.endswith(suffix)]
    longest = max((len(suffix) for suffix, _ in ends), default=0)
    fitting = [one for suffix, one in ends if len(suffix) == longest]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        which = " or ".join(f"{one.key.value} ({one.name})" for one in fitting)
        raise AnnotationError(path, f"may be {which} by its name", "Say which, with --to.")
    raise _unreadable(path, f"is no name of a region file that can be written ({Path(path).suffix or 'no suffix'}")


def format_of(path: str | Path) -> Format:
    """The format of a file by its content.

    Raises
    ------
    AnnotationError
        Where the file is missing, unreadable or of no known format.
    """
    file = Path(path)
    name = file.name.lower().removesuffix(".gz")
    head = _head(file)
    text = head.lstrip("\ufeff \t\r\n\0")
    if text.startswith("<"):
        return _xml_format(file, text)
    if text.startswith(("{", "[")):
        return _DSA if not _GEOJSON_SIGN.search(text) and _DSA_SIGN.search(text) else _QUPATH
    if name.endswith((".geojson", ".json")):
        return _QUPATH  # whatever is wrong with it, that reader says
    raise _unreadable(path, f"is not a region file that can be read ({file.suffix or 'no suffix'}")


def _xml_format(path: Path, text: str) -> Format:
    """Format of XML by its root element and what stands in it."""
    plain = re.sub(r"<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^>\[]*(\[.*?\]\s*)?>", "", text, flags=re.DOTALL)
    match = _ROOT.search(plain)
    root = match[1] if match else ""
    if root == "ASAP_Annotations":
        return _ASAP
    if root == "annotations":
        return _NDPA
    if root == "Annotations":
        vertex = _VERTEX.search(plain)
        halo = vertex[1] == "V" if vertex else path.name.lower().endswith(".annotations")
        return _HALO if halo else _IMAGESCOPE
    raise _unreadable(path, f"is XML of no program that is known (its root is {root[:40]!r}")


def _head(path: Path) -> str:
    """Begin of a file as text, unpacked."""
    try:
        if not path.exists():
            raise AnnotationError(path, "does not exist", "Check the path.")
        if not path.is_file() and not path.is_dir():
            raise AnnotationError(path, "is no regular file", "Check the path.")
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            data = stream.read(_HEAD_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AnnotationError(path, f"is damaged ({error})", _WAY_OUT) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(path, f"cannot be read ({reason})", "Check the path and permissions.") from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(data) > 1 and 0 in data[:2])
    encoding = "utf-16-be" if data[:1] in (b"\xfe", b"\0") else "utf-16-le"
    return data.decode(encoding if wide else "utf-8", "replace")


def _checked(path: str | Path, frame: PixelFrame) -> Format:
    _check_mpp(path, frame)
    return format_of(path)


def _check_mpp(path: str | Path, frame: PixelFrame) -> None:
    if not (math.isfinite(frame.mpp) and frame.mpp > 0):
        found = f"needs the slide's pixel size, got {frame.mpp} µm"
        raise PixelSizeError(path, found, "Give a positive one with --mpp.")


def _unreadable(path: str | Path, found: str) -> AnnotationError:
    known = ", ".join(f"{' '.join(one.suffixes)} ({one.name})" for one in FORMATS)
    return AnnotationError(path, f"{found}; known: {known})", _WAY_OUT)
