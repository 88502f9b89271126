"""The report of a cohort: one HTML page that tells how many, how high, what failed and why, and how long it took."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from ki67 import __version__
from ki67.report.histogram import histogram
from ki67.report.templating import DISCLAIMER, environment, told_time

MOST_LISTED: Final = 500
"""Lines of a list on the page; the tables hold them all."""


def render_cohort(
    rows: Sequence[Mapping[str, Any]],
    patients: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    version: str,
    score_words: Sequence[str],
    now: datetime | None = None,
) -> str:
    """Return the page's HTML, self-contained.

    Parameters
    ----------
    rows, patients
        Lines of the summary and of the patients' table (:mod:`ki67.cohort.summary`).
    warnings
        Warnings of all cases, one entry for each time, numbers taken out.
    version, score_words
        Of the program that scored, and the options given to it.
    now
        The time it says it was made at; the present by default.
    """
    done = [row for row in rows if row["state"] == "done"]
    failed = [row for row in rows if row["state"] == "failed"]
    indices = [row["index_percent"] for row in done if row["index_percent"] is not None]
    seconds = [row["seconds"] for row in done if row["seconds"] is not None]
    failed.sort(key=lambda row: (row["kind"], row["case"]))
    return (
        environment()
        .get_template("cohort.html")
        .render(
            rows=rows[:MOST_LISTED],
            left_out=max(0, len(rows) - MOST_LISTED),
            cases=len(rows),
            done=len(done),
            failed=failed[:MOST_LISTED],
            failed_count=len(failed),
            not_run=len(rows) - len(done) - len(failed),
            kinds=Counter(row["kind"] for row in failed).most_common(),
            patients=patients[:MOST_LISTED],
            patients_left_out=max(0, len(patients) - MOST_LISTED),
            doubts=Counter(name for row in done for name in str(row["doubts"]).split()).most_common(),
            warnings=Counter(warnings).most_common(MOST_LISTED),
            indices=_spread(indices),
            seconds=_spread(seconds),
            index_figure=histogram(indices, "Ki-67 index (%)", "How the indices are spread") if indices else None,
            seconds_figure=histogram(seconds, "seconds a case", "How long cases took") if seconds else None,
            link=_link,
            made=told_time(now),
            scored_by=version,
            words=" ".join(score_words),
            version=__version__,
            disclaimer=DISCLAIMER,
        )
    )


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Lowest, quartiles, highest, mean and sum; None for nothing."""
    if not values:
        return None
    ordered = sorted(values)
    quarters = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 3
    return {
        "low": ordered[0],
        "q1": quarters[0],
        "median": quarters[1],
        "q3": quarters[2],
        "high": ordered[-1],
        "mean": statistics.fmean(ordered),
        "sum": sum(ordered),
    }


def _link(case: str) -> str:
    """Where a case's report lies, seen from the page."""
    return f"cases/{quote(case)}/report.html"
