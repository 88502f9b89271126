"""Rows of CSV files: those that a person made, with errors that name the line, and those that are written."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ki67.errors import DataSetError
from ki67.files import read_text


@dataclass(frozen=True)
class Row:
    """One line of a CSV file: its values by column, and where it stands.

    ``layout`` is the sentence that says what the file should look like; it ends every error. ``decimal`` is the
    sign before the decimals of a number.
    """

    path: Path
    line: int
    values: dict[str, str]
    layout: str
    decimal: str = "."

    def error(self, found: str) -> DataSetError:
        """Return the error that names this line."""
        return DataSetError(self.path, f"line {self.line} {found}", self.layout)

    def text(self, column: str) -> str:
        """Return a value that must be there.

        Raises
        ------
        DataSetError
            Where it is empty.
        """
        value = self.values.get(column, "")
        if not value:
            raise self.error(f"has no {column}")
        return value

    def number(self, column: str, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``.

        Raises
        ------
        DataSetError
            Where it is none, or outside.
        """
        text = self.values.get(column, "")
        try:
            value = float(text.replace(self.decimal, "."))
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            between = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise self.error(f"has the {column} {text!r}, expected a number {between}")
        return value

    def number_or_none(self, column: str, low: float, high: float) -> float | None:
        """As :meth:`number`; None where the value is empty or the column is not there."""
        return self.number(column, low, high) if self.values.get(column) else None

    def count_or_none(self, column: str) -> int | None:
        """Return a whole number of at least 0; None where the value is empty or the column is not there.

        Raises
        ------
        DataSetError
            Where it is none.
        """
        value = self.number_or_none(column, 0, _LARGEST_COUNT)
        if value is not None and not value.is_integer():
            raise self.error(f"has the {column} {self.values[column]!r}, expected a whole number")
        return None if value is None else int(value)


LEAST_FRACTIONS: Final = 5
"""So many values between 0 and 1, and none above, are fractions: no series of carcinomas is that quiet."""

_LARGEST_COUNT: Final = 2.0**53
"""Up to here float64 holds every whole number."""


def read_rows(path: Path, columns: Iterable[str], layout: str) -> list[Row]:
    """Read a CSV file in UTF-8 with a header; further columns are kept, lines without a value passed over.

    Where the header has semicolons and no commas, as spreadsheets in many languages write it, values are parted by
    semicolons and numbers may have a decimal comma.

    Parameters
    ----------
    path
        The file.
    columns
        Columns it must have.
    layout
        What it should look like, as a sentence.

    Raises
    ------
    DataSetError
        Where it cannot be read, is no CSV file, lacks a column, a line has more values than the header, or
        percentages are fractions.
    """
    try:
        text = read_text(path, DataSetError, layout, "a CSV file")
        header = text.lstrip().partition("\n")[0]
        semicolons = ";" in header and "," not in header
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if semicolons else ",", strict=True)
        names = [name.strip() for name in reader.fieldnames or []]
        _require_columns(path, names, columns, layout)
        reader.fieldnames = names
        decimal = "," if semicolons else "."
        lines = (_row(path, reader.line_num, values, layout, decimal) for values in reader)
        rows = [row for row in lines if any(row.values.values())]
    except csv.Error as error:
        raise DataSetError(path, f"is not a CSV file in UTF-8 ({error})", layout) from error
    for name in names:
        if name.endswith("_percent"):
            _refuse_fractions(name, rows)
    return rows


def _refuse_fractions(column: str, rows: list[Row]) -> None:
    """Refuse a column of percentages whose values are plainly fractions: agreement of such looks perfect."""
    values = []
    for row in rows:
        with contextlib.suppress(ValueError):
            values.append(float(row.values.get(column, "").replace(row.decimal, ".")))
    if len([value for value in values if 0 < value < 1]) >= LEAST_FRACTIONS and max(values) <= 1:
        found = (
            f"has only values up to {max(values):g} in the column {column!r}: fractions, where percent are expected"
        )
        raise DataSetError(rows[0].path, found, "Multiply them by 100.")


def _require_columns(path: Path, names: list[str], columns: Iterable[str], layout: str) -> None:
    found = ", ".join(names) or "nothing"
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataSetError(path, f"lacks the column {missing[0]!r}, found {found}", layout)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataSetError(path, f"has the column {twice[0]!r} twice", layout)


def _row(path: Path, line: int, values: dict[str | None, str | list[str] | None], layout: str, decimal: str) -> Row:
    if None in values:
        raise DataSetError(path, f"line {line} has more values than the header has columns", layout)
    return Row(path, line, {str(name): str(value or "").strip() for name, value in values.items()}, layout, decimal)


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Text of a CSV file; the first row is its header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
