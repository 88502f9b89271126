"""Cells for QuPath: GeoJSON with what QuPath adds to it, written as a stream."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import pyarrow.compute as pc

from ki67.annotations import CELL_CLASSES
from ki67.case import CaseView, Summary
from ki67.export.cells import CellPart
from ki67.export.json_text import by_class, joined, measurements, points, rings, write_items
from ki67.files import atomic_path
from ki67.slides import PixelFrame

_FASTEST: Final = 1
"""zlib's level: a third of the time of its default, for files a fifth larger."""


def write_geojson(view: CaseView, target: Path) -> Summary:
    """Write the counted cells as QuPath's cell objects.

    Every cell has its ``nucleusGeometry``; the program outlines nuclei only, so the cell's own ``geometry`` is the
    same outline. A nucleus without an outline is a detection at its centre. ``measurements`` are columns of the cell
    table by their names. Pixels are those of level 0 as QuPath counts them (:class:`ki67.slides.PixelFrame`).

    Parameters
    ----------
    view
        The case.
    target
        File to write; packed where its name ends in ``.gz``.

    Returns
    -------
    dict
        ``cells``: how many were written.

    Raises
    ------
    CaseError
        Where the case holds no counted cells, or was made before the origin of QuPath's pixels was noted.
    WriteError
        Where the file cannot be written.
    """
    frame = view.frame("ki67")
    with _text_stream(target) as stream:
        stream.write('{"type":"FeatureCollection","features":[')
        count = write_items(stream, view, lambda part: _features(part, frame))
        stream.write("]}\n")
    return {"cells": count}


@contextmanager
def _text_stream(target: Path) -> Iterator[TextIO]:
    with atomic_path(target) as path:
        if target.suffix.lower() != ".gz":
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream
            return
        # Neither name nor time of writing goes in: equal cells are equal bytes.
        with (
            path.open("wb") as raw,
            gzip.GzipFile("", "wb", _FASTEST, raw, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as stream,
        ):
            yield stream


def _features(part: CellPart, frame: PixelFrame) -> list[str]:
    ring = rings(part, frame.to_px(part.corners_um), closed=True)
    properties = joined(by_class(part, _CLASSIFICATION), ',"measurements":', measurements(part), "}}")
    outline = joined('{"type":"Polygon","coordinates":[', ring, "]}")
    cell = joined(outline, ',"nucleusGeometry":', outline, ',"properties":{"objectType":"cell",')
    centre = points(frame.to_px(part.centres_um))
    bare = joined('{"type":"Point","coordinates":', centre, '},"properties":{"objectType":"detection",')
    texts: list[str] = joined('{"type":"Feature","geometry":', pc.coalesce(cell, bare), properties).to_pylist()
    return texts


_CLASSIFICATION: Final = {
    label: '"classification":' + json.dumps({"name": name, "color": [*color]}, separators=(",", ":"))
    for label, (name, color) in CELL_CLASSES.items()
}
