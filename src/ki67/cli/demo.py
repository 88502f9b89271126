"""``ki67 demo``: the whole chain on a simulated pair whose true index is known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit, index_line, warning_lines
from ki67.simulate.options import SimulationOptions

OPTIONS = SimulationOptions(seed=2023, size_mm=(4.0, 3.0), mpp=0.5, index_percent=22.0)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the slides and the case.")] = Path("ki67-demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a pair of sections, score it, and compare with its truth."""
    from ki67.pipeline import run_score
    from ki67.simulate.pair import simulate_pair

    begin(quiet=quiet)
    truth = simulate_pair(out / "slides", OPTIONS)
    start = time.perf_counter()
    result = run_score(out / "slides" / "he.tif", out / "slides" / "ki67.tif", out / "case")
    result |= {
        "true_index_percent": truth.index_percent,
        "chain_seconds": round(time.perf_counter() - start, 3),
    }
    lines = [
        index_line(result),
        f"true index: {truth.index_percent:.1f} %",
        *warning_lines(result),
        f"report: {result['report']}",
    ]
    emit(result, as_json=as_json, lines=lines)
