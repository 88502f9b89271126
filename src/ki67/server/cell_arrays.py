"""Cells as the page draws them: plain arrays, found by place, in the order of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ki67.case.corrections import Counted
from ki67.files import json_text
from ki67.vocabulary import CLASSES, NEGATIVE, POSITIVE

Rows = NDArray[np.intp]

NOT_COUNTED: Final = 128
"""Bit of a class's number: the cell lies outside the region, or where cells do not count."""

CORRECTED: Final = 64
"""Bit of a class's number: a person added the cell, or gave it another class."""


@dataclass(frozen=True)
class Automatic:
    """The cell table as it was counted: name, probability and number of the class of each row."""

    cell_id: NDArray[np.int64]
    probability: NDArray[np.float32]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class CellArrays:
    """Cells with the corrections that hold; arrays of equal length N, sorted by ``row``.

    Parameters
    ----------
    row
        uint32: place in the cell table; cells that were added have the numbers after its last.
    cell_id
        int64: name of the cell (:func:`ki67.cells.cell_ids`).
    x_um, y_um
        float64.
    label
        uint8: number of the class (:class:`ki67.vocabulary.CellClass`).
    probability
        float32: of the class that the model gave; NaN where it gave none, or a person gave another class.
    in_region
        Whether it counts where it lies.
    corrected
        Whether a person added it, or gave it another class.
    automatic_rows
        Rows of the cell table itself.
    """

    row: NDArray[np.uint32]
    cell_id: NDArray[np.int64]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    label: NDArray[np.uint8]
    probability: NDArray[np.float32]
    in_region: NDArray[np.bool_]
    corrected: NDArray[np.bool_]
    automatic_rows: int

    @classmethod
    def of(cls, automatic: Automatic, counted: Counted) -> CellArrays:
        """Number the cells of a count.

        Parameters
        ----------
        automatic
            The cell table itself.
        counted
            The count, with the corrections that hold.
        """
        names = automatic.cell_id
        table = counted.table
        ids = np.asarray(table["cell_id"], np.int64)
        order = np.argsort(names, kind="stable")
        place = np.minimum(np.searchsorted(names[order], ids), max(len(names) - 1, 0))
        known = names[order][place] == ids if len(names) else np.zeros(len(ids), bool)
        # A cell that was added where one is already comes after it, and is another one.
        first = np.zeros(len(ids), bool)
        first[np.unique(ids, return_index=True)[1]] = True
        known &= first
        row = np.empty(len(ids), np.int64)
        row[known] = order[place[known]]
        row[~known] = len(names) + np.arange(int((~known).sum()))
        sure = np.full(len(ids), np.nan, np.float32)
        sure[known] = automatic.probability[row[known]]
        label = numbers_of(table["label"].to_pylist())
        corrected = np.ones(len(ids), bool)
        corrected[known] = label[known] != automatic.label[row[known]]
        new = np.argsort(row, kind="stable")
        return cls(
            row[new].astype(np.uint32),
            ids[new],
            np.asarray(table["x_um"], np.float64)[new],
            np.asarray(table["y_um"], np.float64)[new],
            label[new],
            sure[new],
            np.asarray(table["in_region"], bool)[new],
            corrected[new],
            len(names),
        )

    def __len__(self) -> int:
        return len(self.row)

    def index_of(self, row: int) -> int | None:
        """Place of a row in the arrays; None where there is no such cell."""
        place = int(np.searchsorted(self.row, row))
        return place if place < len(self) and self.row[place] == row else None

    def index_of_name(self, name: int) -> int | None:
        """Place of a cell by its name; None where there is none."""
        found = np.flatnonzero(self.cell_id == name)
        return int(found[0]) if len(found) else None

    def within(self, x0: float, y0: float, x1: float, y1: float) -> Rows:
        """Places of the cells in a rectangle in µm, those that do not count included."""
        inside = (self.x_um >= x0) & (self.x_um <= x1) & (self.y_um >= y0) & (self.y_um <= y1)
        return np.flatnonzero(inside)

    def gallery(self, order: str, label: int | None) -> Rows:
        """Places of the counted cells, ``uncertain`` or by falling ``probability``, or by ``class`` and then so.

        Cells without a probability come last.
        """
        chosen = np.flatnonzero(self.in_region if label is None else self.in_region & (self.label == label))
        sure = self.probability[chosen].astype(np.float64)
        least_first = np.where(np.isnan(sure), np.inf, sure)
        if order == "uncertain":
            return chosen[np.argsort(least_first, kind="stable")]
        most_first = np.where(np.isnan(sure), np.inf, -sure)
        if order == "probability":
            return chosen[np.argsort(most_first, kind="stable")]
        return chosen[np.lexsort((least_first, self.label[chosen]))]

    def packed(self, chosen: Rows) -> bytes:
        """Binary of the chosen cells, little-endian: their number as uint32, then one array after the other.

        ``x_um`` float32, ``y_um`` float32, class uint8 (:data:`NOT_COUNTED` added where it does not count,
        :data:`CORRECTED` where a person made it what it is), probability float32, row uint32.
        """
        label = self.label[chosen] | np.where(self.in_region[chosen], 0, NOT_COUNTED).astype(np.uint8)
        label |= np.where(self.corrected[chosen], CORRECTED, 0).astype(np.uint8)
        parts = (
            np.array([len(chosen)], "<u4"),
            self.x_um[chosen].astype("<f4"),
            self.y_um[chosen].astype("<f4"),
            label.astype("u1"),
            self.probability[chosen].astype("<f4"),
            self.row[chosen].astype("<u4"),
        )
        return b"".join(part.tobytes() for part in parts)

    def raster(self, cell_um: float) -> bytes:
        """Counted cells on a grid: one line of JSON, then float32 counts of positive and of negative cells, by rows.

        The line tells ``columns``, ``rows``, ``cell_um``, ``x_um`` and ``y_um`` (corner of the first square), and
        ``layers``, in the order in which they follow.
        """
        tumour = [np.flatnonzero(self.in_region & (self.label == one)) for one in (POSITIVE, NEGATIVE)]
        every = np.concatenate(tumour)
        first = [int(np.floor(v[every].min() / cell_um)) if len(every) else 0 for v in (self.x_um, self.y_um)]
        last = [int(np.floor(v[every].max() / cell_um)) if len(every) else 0 for v in (self.x_um, self.y_um)]
        columns, rows = (end - start + 1 for start, end in zip(first, last, strict=True))
        head = {
            "columns": columns,
            "rows": rows,
            "cell_um": cell_um,
            "x_um": first[0] * cell_um,
            "y_um": first[1] * cell_um,
            "layers": [POSITIVE.label, NEGATIVE.label],
        }
        layers = []
        for chosen in tumour:
            column = np.floor(self.x_um[chosen] / cell_um).astype(np.int64) - first[0]
            row = np.floor(self.y_um[chosen] / cell_um).astype(np.int64) - first[1]
            layers.append(np.bincount(row * columns + column, minlength=rows * columns).astype("<f4"))
        return json_text(head).encode() + b"\n" + b"".join(layer.tobytes() for layer in layers)


def numbers_of(labels: list[str]) -> NDArray[np.uint8]:
    """Numbers of classes by their names."""
    numbers = {label: number for number, label in enumerate(CLASSES)}
    return np.fromiter((numbers[label] for label in labels), np.uint8, len(labels))
