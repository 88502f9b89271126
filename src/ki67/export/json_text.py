"""JSON of many cells at once: columns of text, put together by Arrow, a hundred times as fast as one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ki67.case import CaseView
from ki67.export.cells import CellPart, counted_cells
from ki67.vocabulary import CLASSES

PLACE_DECIMALS: Final = 2
"""Of a pixel, as QuPath writes them itself (``ROITypeAdapters``)."""

MEASUREMENT_DECIMALS: Final = 4
"""More than any measurement is good for."""


def joined(*parts: pa.Array | str) -> pa.Array:
    """Texts put together row by row; None where one of them is."""
    return pc.binary_join_element_wise(*parts, "")


def points(places_px: NDArray[np.float64], more: str = "") -> pa.Array:
    """``[x,y]`` of each of the places (N, 2); ``more`` stands behind y."""
    return joined("[", _places(places_px, more), "]")


def rings(part: CellPart, corners_px: NDArray[np.float64], more: str = "", *, closed: bool) -> pa.Array:
    """List of each cell's corners, (N,); None for a cell without an outline.

    Parameters
    ----------
    part
        The cells.
    corners_px
        Their corners in the file's pixels, (K, 2).
    more
        Stands behind the y of each corner.
    closed
        Whether the first corner stands at the end again, as GeoJSON asks.
    """
    counts, order = part.counts, np.arange(len(corners_px))
    if closed:
        ends = np.cumsum(counts)[counts > 0]
        order = np.insert(order, ends, ends - counts[counts > 0])
        counts = counts + (counts > 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, _places(corners_px, more).take(pa.array(order)))
    texts = joined("[[", pc.binary_join(lists, "],["), "]]")
    return pc.if_else(pa.array(counts > 0), texts, None)


def measurements(part: CellPart) -> pa.Array:
    """Object with each cell's measurements by their names; what a cell has not is left out."""
    texts: list[pa.Array | str] = []
    for name, values in part.measurements.items():
        field = f'{"," if texts else ""}"{name}":'
        if values.dtype.kind == "f":
            known = joined(field, pc.cast(pa.array(np.round(values, MEASUREMENT_DECIMALS)), pa.string()))
            texts.append(pc.if_else(pa.array(np.isnan(values)), "", known))
        else:
            texts.append(joined(field, pc.cast(pa.array(values), pa.string())))
    return joined("{", *texts, "}")


def by_class(part: CellPart, texts: Mapping[str, str]) -> pa.Array:
    """Text of each cell's class."""
    return pa.array([texts[label] for label in CLASSES]).take(pa.array(part.classes))


def _places(places_px: NDArray[np.float64], more: str) -> pa.Array:
    x, y = (pc.cast(pa.array(column), pa.string()) for column in np.round(places_px, PLACE_DECIMALS).T.copy())
    return joined(x, ",", y, more)


def write_items(stream: TextIO, view: CaseView, items: Callable[[CellPart], list[str]]) -> int:
    """Write the items of a JSON array, what each part of a case's counted cells becomes; returns how many cells."""
    count = 0
    for part in counted_cells(view):
        lines = ",\n".join(items(part))
        if lines:
            stream.write(",\n" if count else "\n")
            stream.write(lines)
        count += len(part)
    stream.write("\n")
    return count
