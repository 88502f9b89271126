"""The two packages that hold elastix, side by side: ``python benchmarks/elastix_packages.py OUT [--simulated N]``.

Needs both in one environment: ``pip install SimpleITK-SimpleElastix==3.0.0a1.post183 'itk-elastix>=0.23,<0.26'``.
The pair of ``ki67 demo``, the real pairs both ways (``KI67_DATA``) and the first N pairs of the battery are
registered with SimpleElastix; all that elastix is asked for meanwhile, and (but for the battery) a rigid map and a
B-spline of the first of it, is asked of itk-elastix too, in another process, since one cannot load both. All else
of a registration is the same program. Prints a row per pair: calls, those with the same bits, the largest
difference, the processor's seconds; at the end what either takes on the disk and to load. The exit code is 1 where
they differ by 0.1 µm. A row that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.cli.demo import OPTIONS
from ki67.files import write_json
from ki67.progress import configure
from ki67.registration import fine, register_sections, sections
from ki67.registration.elastix import Elastix, ItkElastix, Parameters, SimpleElastix, Task
from ki67.registration.steps import GRID_UM
from ki67.simulate.pair import simulate_pair
from ki67.slides import open_slide, tissue_mask
from registration_battery import FIRST_SEED, troubled
from registration_peers import real_pairs

PACKAGES: dict[str, type[Elastix]] = {"SimpleElastix": SimpleElastix, "itk-elastix": ItkElastix}
FOLDERS = {"SimpleElastix": ("SimpleITK", "simpleitk_"), "itk-elastix": ("itk",)}
"""What their folders' names begin with; those of itk-elastix with the libraries of ITK that it is linked with."""
EQUAL_UM = 0.1
GRID = 50
"""Places along either side at which linear maps are compared."""


@dataclass(frozen=True)
class Pair:
    """Two slides; µm per pixel where their files do not tell it; whether more is asked than a registration does."""

    name: str
    fixed: Path
    moving: Path
    mpp: float | None = None
    more: bool = True


@dataclass(frozen=True)
class Call:
    """What elastix was asked for, what it gave, and the processor's seconds."""

    task: Task
    parameters: Parameters
    displacements_px: NDArray[np.float32] | None
    seconds: float


class Recorder:
    """A package, with all that it is asked for."""

    def __init__(self, package: str) -> None:
        self.engine, self.calls = PACKAGES[package](), list[Call]()
        self.package = self.engine.package

    def parameters(self, task: Task) -> Parameters:
        """As the engine says."""
        start = time.process_time()
        found = self.engine.parameters(task)
        self.calls.append(Call(task, found, None, time.process_time() - start))
        return found

    def displacements_px(self, task: Task) -> NDArray[np.float32]:
        """As the engine says."""
        start = time.process_time()
        found = self.engine.displacements_px(task)
        self.calls.append(Call(task, {}, found, time.process_time() - start))
        return found

    def ask(self, task: Task) -> None:
        """Either, by the kind of map."""
        _ = self.displacements_px(task) if task.kind == "bspline" else self.parameters(task)


@cache
def recorder(package: str) -> Recorder:
    """The one of this process."""
    configure(quiet=True)
    return Recorder(package)


def load(package: str) -> float:
    """Seconds that it takes to load."""
    start = time.perf_counter()
    recorder(package)
    return time.perf_counter() - start


def register(package: str, pair: Pair) -> tuple[float, list[Call]]:
    """Register a pair; µm per pixel of the images, and every call."""
    own = recorder(package)
    own.calls.clear()
    fine.elastix = lambda: own
    with open_slide(pair.fixed, pair.mpp) as fixed, open_slide(pair.moving, pair.mpp) as moving:
        masks = () if pair.mpp else (tissue_mask(fixed), tissue_mask(moving))
        both = sections(fixed, moving, *masks)
        register_sections(*both)
    if pair.more:
        first = own.calls[0].task
        changes = {
            "FinalGridSpacingInPhysicalUnits": (str(GRID_UM / both[0].mpp),),
            "GridSpacingSchedule": tuple("8421"),
        }
        own.ask(replace(first, kind="rigid"))
        own.ask(replace(first, kind="bspline", changes=first.changes | changes))
    return both[0].mpp, own.calls


def repeat(package: str, tasks: list[Task]) -> list[Call]:
    """The same calls again."""
    own = recorder(package)
    own.calls.clear()
    for task in tasks:
        own.ask(task)
    return own.calls


def pairs(out: Path, simulated: int) -> Iterator[Pair]:
    """What both are tried on, simulated pairs drawn where they are not there yet."""
    demo = out / "demo"
    if not (demo / "truth.json").exists():
        simulate_pair(demo, OPTIONS)
    yield Pair("demo", demo / "he.tif", demo / "ki67.tif")
    data = os.environ.get("KI67_DATA")
    if data is None:
        print("the real pairs are left out: KI67_DATA does not say where they are")
    real = [Pair(pair.name, pair.fixed, pair.moving, pair.mpp) for pair in real_pairs(Path(data))] if data else []
    yield from real[::2]
    for place in range(simulated):
        he, ki67, _ = troubled(out / "battery", place, FIRST_SEED + place)
        yield Pair(f"battery {place:02d}", he, ki67, more=False)
    yield from real[1::2]


def apart_px(one: Call, other: Call) -> float:
    """Largest difference in pixels: of displacements, or of where linear maps take a grid of places."""
    if one.displacements_px is not None:
        return float(np.abs(one.displacements_px - other.displacements_px).max())
    y, x = np.meshgrid(*(np.linspace(0, side, GRID) for side in one.task.fixed.shape), indexing="ij")
    points = np.column_stack([x.ravel(), y.ravel()])
    carried = [carry(call, points) for call in (one, other)]
    return float(np.abs(carried[0] - carried[1]).max())


def carry(call: Call, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 2) through a rigid or affine map."""
    values = [float(value) for value in call.parameters["TransformParameters"]]
    centre = np.array([float(value) for value in call.parameters["CenterOfRotationPoint"]])
    if call.task.kind == "rigid":
        cos, sin = np.cos(values[0]), np.sin(values[0])
        values = [cos, -sin, sin, cos, *values[1:]]
    return np.asarray((points - centre) @ np.reshape(values[:4], (2, 2)).T + centre + values[4:])


def same(one: Call, other: Call) -> bool:
    """Whether two results are the same to the bit."""
    if one.displacements_px is None:
        return one.parameters["TransformParameters"] == other.parameters["TransformParameters"]
    return bool(np.array_equal(one.displacements_px, other.displacements_px))


def installed_mb(package: str) -> float:
    """Size of a package on the disk, with what it is linked with."""
    around = Path(np.__file__).parent.parent
    folders = [path for path in around.iterdir() if path.is_dir() and path.name.startswith(FOLDERS[package])]
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()) / 1e6


def main() -> int:
    """Run what has no result yet, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=int, default=10)
    given = parser.parse_args()
    configure(quiet=True)
    (given.out / "rows").mkdir(parents=True, exist_ok=True)
    first, second = PACKAGES
    apart = multiprocessing.get_context("spawn")
    print(f"{'':34s} calls  same bits  largest difference, µm  {first}, s  {second}, s")
    rows = []
    with ProcessPoolExecutor(1, apart) as one, ProcessPoolExecutor(1, apart) as other:
        loaded = {first: one.submit(load, first).result(), second: other.submit(load, second).result()}
        for pair in pairs(given.out, given.simulated):
            path = given.out / "rows" / f"{pair.name.replace(' ', '-')}.json"
            if not path.exists():
                mpp, calls = one.submit(register, first, pair).result()
                again = other.submit(repeat, second, [call.task for call in calls]).result()
                both = list(zip(calls, again, strict=True))
                row: dict[str, Any] = {"calls": len(both), "same": sum(same(*two) for two in both)}
                row |= {"apart_um": max(apart_px(*two) for two in both) * mpp}
                row |= {"seconds": [sum(call.seconds for call in part) for part in (calls, again)]}
                write_json(path, row)
            rows.append(json.loads(path.read_text("utf-8")))
            row = rows[-1]
            seconds = "  ".join(f"{value:12.1f}" for value in row["seconds"])
            print(
                f"{pair.name:34s} {row['calls']:5d} {row['same']:10d} {row['apart_um']:23.2g} {seconds}", flush=True
            )
    for package in PACKAGES:
        print(f"{package}: {installed_mb(package):.0f} MB installed, {loaded[package]:.2f} s to load")
    apart_um = max(row["apart_um"] for row in rows)
    print(f"{sum(row['same'] for row in rows)} of {sum(row['calls'] for row in rows)} calls the same to the bit")
    return int(apart_um >= EQUAL_UM)


if __name__ == "__main__":
    sys.exit(main())
