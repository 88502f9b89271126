"""The competition on slides as large as the paper's: ``python benchmarks/challenge.py OUT [--scale S] [--mpp 0.25]``.

Ten pairs of sections are simulated with the numbers of tumour cells and the indices of the paper's Table 3 (88,880 to
329,389 cells), one after the other: simulate, score by the whole chain, keep the numbers, remove the slides. Then the
answers, whole percents as the paper asked for, are ranked as in Table 4. Continues where it was stopped: a slide with
its numbers is done, one without is simulated again, and a case that was begun goes on. ``--scale 0.01`` takes a
hundredth of the cells, ``--slides 1 5`` some of the ten. Writes ``standard.csv``, ``answers.csv``,
``challenge.json``; exit code 1 where a slide gave no index.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ki67.errors import Ki67Error
from ki67.evaluation.compete import compete
from ki67.files import read_json, write_json, write_text
from ki67.pipeline import run_score
from ki67.progress import configure
from ki67.simulate.options import LEAST_SIDE_MM, SimulationOptions
from ki67.simulate.pair import simulate_pair
from paper_tables import TABLE_3

READER: Final = "ki67"
FIRST_SEED: Final = 3100
CELLS_PER_MM2: Final = 3200.0
TUMOUR_SHARE: Final = 0.2
"""Of a slide's area: what a tumour takes up with room for tissue and glass around it."""

TURNS: Final = (0, 25, 90, 137, 180, 200, 245, 270, 300, 340)


def options_of(slide: int, cells: int, index_percent: float, mpp: float) -> SimulationOptions:
    """What the pair of one slide is, 4 : 3 and large enough for its tumour."""
    area_mm2 = cells / CELLS_PER_MM2 / TUMOUR_SHARE
    width = max(2.5 * LEAST_SIDE_MM, math.sqrt(area_mm2 * 4 / 3))
    return SimulationOptions(
        seed=FIRST_SEED + slide,
        size_mm=(round(width, 1), round(max(2 * LEAST_SIDE_MM, width * 3 / 4), 1)),
        mpp=mpp,
        cells=cells,
        index_percent=index_percent,
        rotation_deg=TURNS[slide - 1],
        grade=(1, 2, 3)[slide % 3],
        hot_spot=(0.3, 0.8, 1.3)[slide % 3],
    )


def measure(folder: Path, options: SimulationOptions) -> dict[str, Any]:
    """Simulate and score one pair, and remove its slides."""
    slides = folder / "slides"
    if not (slides / "truth.json").exists():
        simulate_pair(slides, options)
    truth = read_json(slides / "truth.json", ValueError, "")  # type: ignore[arg-type]
    row = {
        "true_percent": truth["index_percent"],
        "true_cells": truth["positive"] + truth["negative"],
        "size_mm": options.size_mm,
    }
    try:
        result = run_score(slides / "he.tif", slides / "ki67.tif", folder / "case")
    except Ki67Error as error:
        row |= {"error": str(error)}
    else:
        names = ("index_percent", "ci95_percent", "cells", "seconds", "warnings")
        row |= {name: result[name] for name in names} | {"ncc": result["registration"]["ncc"]}
    write_json(folder / "numbers.json", row)
    shutil.rmtree(slides)
    return row


def run(out: Path, slides: Sequence[int], scale: float, mpp: float) -> dict[str, Any]:
    """Run the slides that are not done; returns the ranking and a row for each."""
    rows: dict[int, dict[str, Any]] = {}
    for slide in slides:
        folder = out / f"slide_{slide}"
        positive, negative = TABLE_3[slide - 1][1:3]
        options = options_of(slide, round((positive + negative) * scale), 100 * positive / (positive + negative), mpp)
        kept = folder / "numbers.json"
        rows[slide] = read_json(kept, ValueError, "") if kept.exists() else measure(folder, options)  # type: ignore[arg-type]
        told = rows[slide].get("error") or "{index_percent:.2f} % in {seconds:.0f} s".format(**rows[slide])
        print(f"slide {slide}: true {rows[slide]['true_percent']:.2f} %, {told}", flush=True)
    standard = [f"{slide},{row['true_percent']!r}" for slide, row in rows.items()]
    answers = [
        f"{slide},{READER},{round(row['index_percent'])},{row['seconds']}"
        for slide, row in rows.items()
        if "error" not in row
    ]
    write_text(out / "standard.csv", "\n".join(["slide,index_percent", *standard, ""]))
    write_text(out / "answers.csv", "\n".join(["slide,reader,index_percent,seconds", *answers, ""]))
    ranking = compete(out / "standard.csv", out / "answers.csv") if answers else None
    return {"slides": rows, "ranking": ranking, "scale": scale, "mpp": mpp}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--mpp", type=float, default=0.25)
    parser.add_argument("--slides", type=int, nargs="+", choices=range(1, 11), default=range(1, 11))
    given = parser.parse_args()
    configure(quiet=True)
    result = run(given.out, given.slides, given.scale, given.mpp)
    write_json(
        given.out / "challenge.json", {**result, "slides": {str(n): row for n, row in result["slides"].items()}}
    )
    if result["ranking"] is not None:
        (reader,) = result["ranking"]["readers"]
        minutes, seconds = divmod(round(reader["seconds"]), 60)
        print(f"average score {reader['average_score']:.1f} (paper 98.9), {minutes}:{seconds:02d} (paper 23:19)")
    return 1 if any("error" in row for row in result["slides"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
