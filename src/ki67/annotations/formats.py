"""Which module reads and writes which region file, by its suffix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ki67.annotations import geojson
from ki67.annotations.regions import Regions
from ki67.errors import AnnotationError, PixelSizeError
from ki67.slides import PixelFrame


@dataclass(frozen=True)
class Format:
    """One file format: a name for messages and the functions that read and write it."""

    name: str
    read_regions: Callable[[Path, PixelFrame], Regions]
    read_cells: Callable[[Path, PixelFrame], dict[str, NDArray[np.float64]]]
    write_regions: Callable[[Path, Regions, PixelFrame], None]


_GEOJSON: Final = Format("QuPath GeoJSON", geojson.read_regions, geojson.read_cells, geojson.write_regions)

FORMATS: Final[dict[str, Format]] = {".geojson": _GEOJSON, ".json": _GEOJSON}
"""Readable and writable formats by lower-case suffix; a new format is one module and its line here."""


def read_regions(path: str | Path, frame: PixelFrame) -> Regions:
    """Read the labelled areas of a region file.

    Parameters
    ----------
    path
        The file; its suffix names the format, ``.gz`` behind it that it is packed.
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
    return _format_of(_unpacked(path), frame).read_regions(Path(path), frame)


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
    return _format_of(_unpacked(path), frame).read_cells(Path(path), frame)


def write_regions(path: str | Path, regions: Regions, frame: PixelFrame) -> None:
    """Write regions in the format that the suffix names, whole or not at all.

    Parameters
    ----------
    path
        The file to write.
    regions
        In µm in the slide's frame.
    frame
        How other programs count pixels on the slide (``Slide.frame``).

    Raises
    ------
    AnnotationError
        Where the suffix names no format that can be written.
    WriteError
        Where the file cannot be written.
    """
    _format_of(path, frame).write_regions(Path(path), regions, frame)


def _unpacked(path: str | Path) -> Path:
    """Name of a packed file without the suffix that says so."""
    return Path(path).with_suffix("") if Path(path).suffix.lower() == ".gz" else Path(path)


def _format_of(path: str | Path, frame: PixelFrame) -> Format:
    mpp = frame.mpp
    if not (math.isfinite(mpp) and mpp > 0):
        raise PixelSizeError(path, f"needs the slide's pixel size, got {mpp} µm", "Give a positive one with --mpp.")
    found = FORMATS.get(Path(path).suffix.lower())
    if found is None:
        known = ", ".join(f"{suffix} ({format_.name})" for suffix, format_ in FORMATS.items())
        suffix = Path(path).suffix or "no suffix"
        raise AnnotationError(
            path,
            f"is not a region file that can be read ({suffix}; readable: {known})",
            "Export the regions from QuPath with File > Export objects as GeoJSON.",
        )
    return found
