"""The report of a laboratory's validation, for its files: one HTML page and one table."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from ki67 import __version__
from ki67.evaluation.index_figure import agreement_svg
from ki67.evaluation.validation import HAND_CELLS
from ki67.files import write_text
from ki67.report.templating import DISCLAIMER, environment, told_time
from ki67.scoring.intervals import corrected_share
from ki67.scoring.own_laboratory import FILE_NAME, OwnLaboratory

PAGE: Final = "validation.html"
TABLE: Final = "validation.csv"
TABLE_COLUMNS: Final = (
    "case", "scanner", "antibody", "manual_percent", "index_percent", "difference_points", "other_class_at", "reason"
)  # fmt: skip
"""Columns of the table; ``reason`` says why a case has no index of the program's."""

_NUMBERS: Final = ("manual_percent", "index_percent", "difference_points")

_EXAMPLES, _EXAMPLE_CELLS = (5, 10, 20, 30, 50), 5000
"""Indices in percent whose intervals stand on the page, and the cells that they are taken to rest on."""

_CASES_LISTED: Final = 100
"""Cases on the page, those farthest apart; the table has them all."""


def write_validation(folder: str | Path, result: Mapping[str, Any], laboratory: str = "") -> dict[str, str]:
    """Write :data:`PAGE` and :data:`TABLE` into a folder, and what intervals of this laboratory may rest on.

    Parameters
    ----------
    folder
        Where to; it is made where it is not there.
    result
        What :func:`ki67.evaluation.validation.validate` found.
    laboratory
        Whose validation it is, for the heading.

    Returns
    -------
    dict
        ``report`` and ``table``: the files; ``laboratory``, the one for ``ki67 score --validation``, where it is
        known how far the index is off.

    Raises
    ------
    WriteError
        Where a file cannot be written.
    """
    page, table = Path(folder) / PAGE, Path(folder) / TABLE
    write_text(table, _table(result))
    write_text(page, render_validation(result, laboratory))
    written, own = {"report": str(page), "table": str(table)}, Path(folder) / FILE_NAME
    if result["deviation"] is None:
        # Of an earlier validation: it speaks of other cases.
        if own.is_file():
            own.unlink()
        return written
    OwnLaboratory(**{**result["deviation"], "laboratory": laboratory}).write(own)
    return written | {"laboratory": str(own)}


def render_validation(result: Mapping[str, Any], laboratory: str = "", now: datetime | None = None) -> str:
    """Return the page's HTML, self-contained; ``now`` is the time it says it was made at."""
    rows = result["per_case"]
    return (
        environment()
        .get_template("validation.html")
        .render(
            laboratory=laboratory,
            result=result,
            examples=_examples(result),
            example_cells=f"{_EXAMPLE_CELLS:,}",
            hand_cells=HAND_CELLS,
            file_name=FILE_NAME,
            cases=rows[:_CASES_LISTED],
            left_out=len(rows[_CASES_LISTED:]),
            figure=_figure(result),
            made=told_time(now),
            version=__version__,
            disclaimer=DISCLAIMER,
        )
    )


def _figure(result: Mapping[str, Any]) -> str:
    """The agreement as a data URI."""
    manual, found = (
        np.array([row[name] for row in result["per_case"]]) for name in ("manual_percent", "index_percent")
    )
    svg = agreement_svg(manual, {"": found}).encode()
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _table(result: Mapping[str, Any]) -> str:
    text = io.StringIO()
    rows = csv.DictWriter(text, TABLE_COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for row in result["per_case"]:
        said = {name: f"{row[name]:.6g}" for name in _NUMBERS}
        rows.writerow({**row, **said, "other_class_at": " ".join(row["other_class_at"])})
    rows.writerows(result["without_index"])
    return text.getvalue()


def _examples(result: Mapping[str, Any]) -> list[tuple[int, float, tuple[float, float]]]:
    """Indices, what they are without the laboratory's bias, and their intervals, in percent."""
    if result["deviation"] is None:
        return []
    own = OwnLaboratory(**result["deviation"]).deviation
    rows = []
    for percent in _EXAMPLES:
        share, limits = corrected_share(percent * _EXAMPLE_CELLS // 100, _EXAMPLE_CELLS, own)
        rows.append((percent, 100 * share, (100 * limits[0], 100 * limits[1])))
    return rows
