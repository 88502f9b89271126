"""How often the printed interval holds the true index: ``python benchmarks/coverage.py OUT [--cases 200]``.

Drawn cases: a tumour whose rate of positive cells varies smoothly from place to place, clumped in every second case;
a section of some 6,000 cells of it; a patient's own error rates (positive called negative and the reverse, both
missed, none of them the same for all), with which a model finds the cells; a region carried over with an error of the
registration. How the model errs is fitted on 40 other patients, as a model's card has it. Two truths are asked for:
the index of the section's own cells in the true region, and that of the tumour that it was cut from.

``--rendered N`` does the same on N small simulated sections, drawn as pictures and counted by the shipped model with
the deviation of its card, in the true region; it continues where it was stopped, and ``--minutes`` ends it. Writes
``coverage.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from shapely import affinity
from shapely.geometry import Point, Polygon

from ki67.cells import MARGIN_UM
from ki67.cells.index_deviation import IndexDeviation, PatientIndex, fit_index_deviation
from ki67.errors import Ki67Error
from ki67.files import read_json, write_json
from ki67.options import Options
from ki67.pipeline import run_count
from ki67.progress import configure
from ki67.registration import draw_motions
from ki67.scoring import CarriedOver, ModelDeviation, Score, index_spread, score_section
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair

SIDE_UM, STEP_UM = 3000.0, 25.0
CELLS_PER_MM2 = 3000.0
REGION_RADIUS_UM = 850.0
FITTED = 40
REGISTRATION_ERROR_UM = 15.0
WAVES_UM = {"even": 600.0, "clumped": 120.0}
STRENGTH = {"even": 0.3, "clumped": 1.2}
FOUND_INDEX = (3, 70)


@dataclass(frozen=True)
class Drawn:
    """A case: what the section holds, what the model found on it, and the tumour's own index in percent."""

    points_um: NDArray[np.float64]
    tumour: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    found: NDArray[np.bool_]
    called: NDArray[np.bool_]
    region: Polygon
    tumour_percent: float


def draw(random: np.random.Generator, kind: str) -> Drawn:
    """Draw one case."""
    size = round(SIDE_UM / STEP_UM)
    field = gaussian_filter(random.normal(size=(size, size)), WAVES_UM[kind] / STEP_UM, mode="wrap")
    field *= STRENGTH[kind] / field.std()
    middle = np.log(random.uniform(0.03, 0.6) / 0.7)
    rate = 1 / (1 + np.exp(-(field + middle)))
    region = Point(SIDE_UM / 2, SIDE_UM / 2).buffer(REGION_RADIUS_UM)
    wobble = [(x + 60 * np.sin(y / 90), y + 60 * np.cos(x / 110)) for x, y in region.exterior.coords]
    region = Polygon(wobble).buffer(0)
    points = random.uniform(0, SIDE_UM, (random.poisson(CELLS_PER_MM2 * (SIDE_UM / 1000) ** 2), 2))
    share = map_coordinates(rate, (points / STEP_UM - 0.5).T[::-1], order=1, mode="wrap")
    positive = random.random(len(points)) < share
    # Tumour grows somewhat beyond what was outlined, and gives way to other cells.
    tumour = shapely.contains_xy(region.buffer(30), points) & (random.random(len(points)) < 0.9)
    missed = np.where(positive, random.beta(2, 30), random.beta(3, 25))
    wrong = np.where(positive, random.beta(2, 25), random.beta(1, 60))
    found = tumour & (random.random(len(points)) >= missed)
    called = positive ^ (random.random(len(points)) < wrong)
    return Drawn(points, tumour, positive, found, called, region, float(100 * rate.mean()))


def patient(number: int, one: Drawn) -> PatientIndex:
    """What a card's fit is made of."""
    inside = shapely.contains_xy(one.region, one.points_um)
    found, gold = one.found & inside, one.tumour & inside
    return PatientIndex(
        "drawn",
        str(number),
        (int((found & one.called).sum()), int((found & ~one.called).sum())),
        (int((gold & one.positive).sum()), int((gold & ~one.positive).sum())),
    )


def score(one: Drawn, deviation: IndexDeviation, random: np.random.Generator) -> Score:
    """Score what the model found, in a region that lies as far off as the registration says it may."""
    corners = np.asarray(one.region.exterior.coords)
    motions = draw_motions(REGISTRATION_ERROR_UM, corners)
    (a, b, x), (d, e, y) = motions[int(random.integers(len(motions)))][:2].tolist()
    carried = affinity.affine_transform(one.region, (a, b, d, e, x, y))
    kept = shapely.contains_xy(carried.buffer(MARGIN_UM), one.points_um)
    points = one.points_um[kept]
    label = np.where(one.found & one.called, "positive", np.where(one.found, "negative", "other"))[kept]
    table = pa.table(
        {
            "x_um": points[:, 0],
            "y_um": points[:, 1],
            "label": label,
            "dab_od_mean": np.where(label == "positive", 0.4, 0.02),
            "region_id": ["r"] * len(points),
            "in_region": shapely.contains_xy(carried, points),
            "excluded": [""] * len(points),
        }
    )
    spread = index_spread(table, carried, motions)
    return score_section(
        table,
        carried,
        carried.area / 1e6,
        area_lost_mm2={},
        carried=CarriedOver(spread, 0.0, MARGIN_UM),
        deviation=ModelDeviation(deviation.bias, deviation.between, deviation.per_cell, deviation.patients),
        allow_few=True,
    )


def drawn_rows(cases: int) -> list[dict[str, Any]]:
    """Rows of drawn cases."""
    random = np.random.default_rng(67)
    kinds = [*WAVES_UM]
    fitted = fit_index_deviation([patient(n, draw(random, kinds[n % 2])) for n in range(FITTED)])
    assert fitted is not None
    rows = []
    for number in range(cases):
        one = draw(random, kinds[number % 2])
        true = patient(number, one).gold
        rows.append(row_of(score(one, fitted, random), 100 * true[0] / sum(true), kinds[number % 2]))
        rows[-1]["tumour_percent"] = one.tumour_percent
    return rows


def row_of(found: Score, true_percent: float, kind: str) -> dict[str, Any]:
    """One case's numbers."""
    assert found.intervals is not None
    return {
        "kind": kind,
        "true_percent": true_percent,
        "index_percent": found.index_percent,
        "cells": found.cells,
        "combined": found.ci95_percent,
        **{name: getattr(found.intervals, name) for name in ("wilson", "clustered", "registration", "model")},
    }


def rendered_rows(out: Path, cases: int, minutes: float) -> list[dict[str, Any]]:
    """Rows of sections that the shipped model counted; kept one by one."""
    folder = out / "rendered"
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    for number in range(cases):
        kept = folder / f"{number:03d}.json"
        if kept.exists() or time.monotonic() > end:
            continue
        random = np.random.default_rng(6700 + number)
        kind = [*WAVES_UM][number % 2]
        options = SimulationOptions(
            seed=6700 + number,
            size_mm=(1.2, 1.0),
            index_percent=float(random.uniform(*FOUND_INDEX)),
            hot_spot=1.5 if kind == "clumped" else 0.3,
            grade=(1, 2, 3)[number % 3],
        )
        with tempfile.TemporaryDirectory(dir=out) as work:
            truth = simulate_pair(Path(work), options)
            regions = Path(work) / "ki67_regions.geojson"
            try:
                result = run_count(Path(work) / "ki67.tif", Path(work) / "case", Options(regions=regions))
            except Ki67Error as error:
                write_json(kept, {"error": str(error)})
                continue
            shutil.rmtree(Path(work) / "case" / "idc", ignore_errors=True)
        found = Score.load(
            {name: value for name, value in result.items() if name in Score.model_fields}, kept, "Count it again."
        )
        if found.intervals is None:
            write_json(kept, {"error": "; ".join(found.warnings)})
            continue
        write_json(kept, row_of(found, truth.index_percent, kind))
    return [read_json(path, ValueError, "") for path in sorted(folder.glob("*.json"))]  # type: ignore[arg-type]


def covered(rows: Iterable[dict[str, Any]], truth: str, interval: str) -> str:
    """Share of rows whose interval holds the truth, and its mean width."""
    known = [(row[truth], row[interval]) for row in rows if row.get(interval) and truth in row]
    if not known:
        return "–"
    holds = np.mean([low <= true <= high for true, (low, high) in known])
    width = np.mean([high - low for _, (low, high) in known])
    return f"{holds:6.1%} of {len(known):3d}, {width:5.1f} points wide"


def tell(name: str, rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    sound = [row for row in rows if "error" not in row]
    print(f"\n{name}: {len(sound)} cases, {len(rows) - len(sound)} without an index")
    for truth in ("true_percent", "tumour_percent"):
        for kind in ("all", *WAVES_UM):
            chosen = [row for row in sound if kind in ("all", row["kind"])]
            if not any(truth in row for row in chosen):
                continue
            print(f"  {'the section' if truth == 'true_percent' else 'its tumour'}, {kind}")
            for interval in ("combined", "clustered", "model", "wilson"):
                print(f"    {interval:10s} {covered(chosen, truth, interval)}")


def main() -> None:
    """Draw, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--rendered", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0)
    given = parser.parse_args()
    configure(quiet=True)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = {"drawn": drawn_rows(given.cases)}
    tell("drawn with error rates of their own", rows["drawn"])
    if given.rendered:
        rows["rendered"] = rendered_rows(given.out, given.rendered, given.minutes)
        tell("drawn as pictures, counted by the shipped model", rows["rendered"])
    (given.out / "coverage.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
