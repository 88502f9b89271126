"""What moved between two runs of a cohort: indices, cut-offs crossed, cases with a result in only one of them."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ki67.cohort.summary import SUMMARY
from ki67.csv_rows import read_rows
from ki67.errors import DataSetError
from ki67.files import write_text
from ki67.scoring.cut_offs import CUT_OFFS, CutOff

SUMMARY_LAYOUT: Final = "Give the folder of a cohort, or its summary.csv (columns case, state, index_percent)."
COLUMNS: Final = ("case", "old_percent", "new_percent", "difference_points", "crossed", "old_state", "new_state")


@dataclass(frozen=True)
class _Known:
    """A case in one run; the index in percent, None where it has none."""

    state: str
    index_percent: float | None


def compare_cohorts(
    old: Path, new: Path, *, cut_offs: tuple[CutOff, ...] = CUT_OFFS, out: Path | None = None
) -> dict[str, Any]:
    """Compare the summaries of two runs of the same cases.

    Parameters
    ----------
    old, new
        Folders of the cohorts, or their ``summary.csv``.
    cut_offs
        Classes whose limits are looked at.
    out
        CSV to write, a line a case; None writes none.

    Returns
    -------
    dict
        ``compared``, cases with an index in both; ``changed``, of these those whose index is another; differences in
        points, new less old: ``mean_difference_points``, ``largest_difference_points`` (of either sign); ``crossed``
        (``case``, ``old_percent``, ``new_percent``, ``cut_off``, ``old_class``, ``new_class``); ``lost`` and
        ``gained``, cases with an index in one run only; ``only_old`` and ``only_new``, cases the other does not name;
        ``table``.

    Raises
    ------
    DataSetError
        Where a summary cannot be read.
    WriteError
        Where the table cannot be written.
    """
    before, after = _read(old), _read(new)
    both = [name for name in before if name in after]
    crossed: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    differences: list[float] = []
    for name in both:
        one, other = before[name], after[name]
        line: dict[str, Any] = {"case": name, "old_state": one.state, "new_state": other.state}
        if one.index_percent is not None and other.index_percent is not None:
            moved = _crossed(name, one.index_percent, other.index_percent, cut_offs)
            crossed += moved
            differences.append(other.index_percent - one.index_percent)
            line["difference_points"] = f"{differences[-1]:+.6g}"
            line["crossed"] = " ".join(entry["cut_off"] for entry in moved)
        for column, known in (("old_percent", one), ("new_percent", other)):
            line[column] = "" if known.index_percent is None else f"{known.index_percent:.6g}"
        lines.append(line)
    if out is not None:
        _write(out, lines)
    with_index = {
        side: {name for name in both if known[name].index_percent is not None}
        for side, known in _sides(before, after)
    }
    return {
        "compared": len(differences),
        "changed": sum(difference != 0 for difference in differences),
        "mean_difference_points": statistics.fmean(differences) if differences else None,
        "largest_difference_points": max(differences, key=abs, default=None),
        "crossed": crossed,
        "lost": [name for name in both if name in with_index["old"] - with_index["new"]],
        "gained": [name for name in both if name in with_index["new"] - with_index["old"]],
        "only_old": [name for name in before if name not in after],
        "only_new": [name for name in after if name not in before],
        "table": None if out is None else str(out),
    }


def _sides(before: Mapping[str, _Known], after: Mapping[str, _Known]) -> tuple[tuple[str, Mapping[str, _Known]], ...]:
    return ("old", before), ("new", after)


def _crossed(name: str, old: float, new: float, cut_offs: tuple[CutOff, ...]) -> list[dict[str, Any]]:
    entries = []
    for cut_off in cut_offs:
        was, now = cut_off.classify(np.array([old, new]))
        if was != now:
            entries.append(
                {
                    "case": name,
                    "old_percent": old,
                    "new_percent": new,
                    "cut_off": cut_off.id,
                    "old_class": cut_off.classes[was],
                    "new_class": cut_off.classes[now],
                }
            )
    return entries


def _read(path: Path) -> dict[str, _Known]:
    source = path / SUMMARY if path.is_dir() else path
    cases: dict[str, _Known] = {}
    for row in read_rows(source, ("case", "state", "index_percent"), SUMMARY_LAYOUT):
        name = row.text("case")
        if name in cases:
            raise row.error(f"names the case {name!r} again")
        cases[name] = _Known(row.values["state"], row.number_or_none("index_percent", 0, 100))
    if not cases:
        raise DataSetError(source, "holds no case", SUMMARY_LAYOUT)
    return cases


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(lines, key=lambda line: -abs(float(line.get("difference_points") or math.inf))))
    write_text(path, text.getvalue())
