"""Coverage in small: drawn sections' own index lies in the combined interval, and seldom in Wilson's alone."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


def held(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name][0] <= row["true_percent"] <= row[name][1] for row in rows)


def test_the_combined_interval_holds_a_drawn_sections_own_index() -> None:
    rows = runpy.run_path(str(SCRIPT))["drawn_rows"](30)
    assert {row["kind"] for row in rows} == {"even", "clumped"}
    assert held(rows, "combined") >= 26
    assert held(rows, "wilson") <= 18
