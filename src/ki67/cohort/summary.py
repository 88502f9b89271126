"""The cohort in tables: a line a case whether it is done or not, a line a patient, and a page to read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ki67.cohort.case_run import folder_of
from ki67.cohort.ledger import Entry, read_entries
from ki67.cohort.results import kind_of_warning
from ki67.errors import CohortError
from ki67.files import atomic_path, printable, read_json, write_text
from ki67.parquet import parquet_file

COHORT: Final = "cohort.json"
FORMAT: Final = 1
SUMMARY: Final = "summary.csv"
SUMMARY_PARQUET: Final = "summary.parquet"
PATIENTS: Final = "patients.csv"
PATIENTS_PARQUET: Final = "patients.parquet"
PAGE: Final = "cohort.html"

NOT_RUN: Final = "not run"

SUMMARY_SCHEMA: Final = pa.schema(
    [
        ("case", pa.string()),
        ("patient", pa.string()),
        ("state", pa.string()),
        ("index_percent", pa.float64()),
        ("ci95_low_percent", pa.float64()),
        ("ci95_high_percent", pa.float64()),
        ("positive", pa.int64()),
        ("negative", pa.int64()),
        ("cells", pa.int64()),
        ("area_mm2", pa.float64()),
        ("ncc", pa.float64()),
        ("registration_accepted", pa.bool_()),
        ("doubts", pa.string()),
        ("warnings", pa.string()),
        ("kind", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int64()),
        ("seconds", pa.float64()),
        ("worker", pa.string()),
        ("folder", pa.string()),
        ("he", pa.string()),
        ("ki67", pa.string()),
    ]
)
"""Columns of the summary; ``state`` is done, failed or not run, ``kind`` and ``error`` say why there is no result."""

PATIENTS_SCHEMA: Final = pa.schema(
    [
        ("patient", pa.string()),
        ("blocks", pa.int64()),
        ("blocks_with_index", pa.int64()),
        ("positive", pa.int64()),
        ("cells", pa.int64()),
        ("pooled_index_percent", pa.float64()),
        ("mean_index_percent", pa.float64()),
        ("lowest_index_percent", pa.float64()),
        ("highest_index_percent", pa.float64()),
        ("cases", pa.string()),
        ("cases_without_index", pa.string()),
    ]
)
"""Columns of the patients' table: ``pooled`` is all positive of all tumour cells of the blocks together, so that a
large block weighs more; ``mean`` is the mean of the blocks' indices, each weighing the same."""


def collect(out: str | Path) -> dict[str, Any]:
    """Write summary, patients' table and page from the ledgers of a cohort's folder.

    Parameters
    ----------
    out
        The folder; shards may have worked in it, or still do.

    Returns
    -------
    dict
        ``cases``, ``done``, ``failed``, ``not_run``, ``failures`` (``case``, ``kind``, ``error``), ``summary``,
        ``report`` and ``patients`` (files; the last is None where no case names a patient).

    Raises
    ------
    CohortError
        Where the folder holds no cohort, or a damaged one.
    WriteError
        Where a file cannot be written.
    """
    from ki67.report.cohort_page import render_cohort  # a worker, which never needs it, would load it too

    folder = Path(out)
    head = read_cohort(folder)
    entries = read_entries(folder)
    rows = [_row(folder, case, entries.get(case["case"])) for case in head["cases"]]
    patients = patient_rows(rows)
    write_table(folder / SUMMARY, folder / SUMMARY_PARQUET, rows, SUMMARY_SCHEMA)
    for name in (PATIENTS, PATIENTS_PARQUET):
        (folder / name).unlink(missing_ok=True)
    if patients:
        write_table(folder / PATIENTS, folder / PATIENTS_PARQUET, patients, PATIENTS_SCHEMA)
    warnings = [kind_of_warning(text) for row in rows for text in entries_warnings(entries, row)]
    write_text(folder / PAGE, render_cohort(rows, patients, warnings, head["version"], head["score_words"]))
    states = [row["state"] for row in rows]
    return {
        "cases": len(rows),
        "done": states.count("done"),
        "failed": states.count("failed"),
        "not_run": states.count(NOT_RUN),
        "failures": [
            {name: row[name] for name in ("case", "kind", "error")} for row in rows if row["state"] == "failed"
        ],
        "summary": str(folder / SUMMARY),
        "patients": str(folder / PATIENTS) if patients else None,
        "report": str(folder / PAGE),
    }


def read_cohort(folder: Path) -> dict[str, Any]:
    """Read what a cohort is: ``cases``, ``version`` and ``score_words`` of the last run.

    Raises
    ------
    CohortError
        Where there is none, or it is damaged.
    """
    again = "Run 'ki67 cohort CASES.csv' with this folder."
    head = read_json(folder / COHORT, CohortError, again, "a cohort's list of cases")
    names = {"format", "version", "score_words", "cases"}
    sound = isinstance(head, dict) and names <= head.keys() and head["format"] == FORMAT
    if not sound or not all(isinstance(case, dict) and "case" in case for case in head["cases"]):
        raise CohortError(folder / COHORT, "is damaged, or of another version", again)
    return dict(head)


def patient_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Combine the blocks of each patient, in the order of the table; cases without a patient are left out."""
    blocks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["patient"]:
            blocks.setdefault(row["patient"], []).append(row)
    return [_patient(name, own) for name, own in blocks.items()]


def _patient(name: str, blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scored = [row for row in blocks if row["index_percent"] is not None]
    indices = [row["index_percent"] for row in scored]
    cells, positive = (sum(row[column] for row in scored) for column in ("cells", "positive"))
    return {
        "patient": name,
        "blocks": len(blocks),
        "blocks_with_index": len(scored),
        "positive": positive,
        "cells": cells,
        "pooled_index_percent": 100 * positive / cells if cells else None,
        "mean_index_percent": sum(indices) / len(indices) if indices else None,
        "lowest_index_percent": min(indices, default=None),
        "highest_index_percent": max(indices, default=None),
        "cases": " | ".join(row["case"] for row in blocks),
        "cases_without_index": " | ".join(row["case"] for row in blocks if row["index_percent"] is None),
    }


def entries_warnings(entries: Mapping[str, Entry], row: Mapping[str, Any]) -> list[str]:
    """Warnings of a case that is done."""
    return entries[row["case"]].result.get("warnings", []) if row["state"] == "done" else []


def _row(folder: Path, case: Mapping[str, Any], entry: Entry | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SUMMARY_SCHEMA.names)
    row |= {"case": case["case"], "patient": case["patient"], "he": case["he"], "ki67": case["ki67"]}
    row |= {"doubts": "", "warnings": "", "kind": "", "error": "", "worker": "", "attempts": 0}
    row["folder"] = str(folder_of(folder, case["case"]))
    row["state"] = NOT_RUN
    if entry is not None:
        row |= {name: getattr(entry, name) for name in ("state", "kind", "error", "seconds", "worker")}
        row["attempts"] = entry.attempt
        row |= {name: value for name, value in entry.result.items() if name in row}
        row |= {
            "doubts": " ".join(entry.result.get("doubts", [])),
            "warnings": " | ".join(entry.result.get("warnings", [])),
        }
    return row


def write_table(csv_path: Path, parquet_path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows as CSV, without a line break in any cell, and as Parquet.

    Raises
    ------
    WriteError
        Where a file cannot be written.
    """
    plain = [{name: _cell(row[name]) for name in schema.names} for row in rows]
    text = io.StringIO()
    table = csv.DictWriter(text, schema.names, lineterminator="\n")
    table.writeheader()
    table.writerows(
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in plain
    )
    write_text(csv_path, text.getvalue())
    with atomic_path(parquet_path) as temporary, parquet_file(temporary, "wb") as stream:
        pq.write_table(pa.Table.from_pylist(plain, schema), stream)


def _cell(value: Any) -> Any:
    """A value as it stands in a table: text on one line, without what a terminal would obey."""
    if not isinstance(value, str):
        return value
    words = " ".join(printable(value).split())
    return "".join(sign if sign.isprintable() else "?" for sign in words)
