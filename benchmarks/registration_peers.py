"""Registration beside its peers: ``python benchmarks/registration_peers.py OUT [--simulated N]``.

Real pairs in both directions (``KI67_DATA``) and simulated ones, plain pictures in, each method in its own process:

- ours: ``ki67``'s automatic registration, deformable;
- elastix: itk-elastix (extra ``itk``), its default parameter maps rigid, affine and B-spline one after the other;
- valis: ``valis-wsi`` with VGG features (or ``--valis-features brisk``), installed in a Python of its own, since it
  brings hundreds of packages. Left out with a word where ``--valis-python`` is not given.

Landmarks of the moving picture are carried to the fixed one. A method fails where it stops with an error, or says it
is done and half of the landmarks are more than 100 µm off; a registration that it refuses itself is counted apart.
Prints a row per pair and method, and writes ``peers.json``; a row that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.evaluation.registration import read_landmarks
from ki67.files import write_json
from ki67.progress import configure
from ki67.registration import register_sections, sections
from ki67.slides import open_slide
from registration_battery import FIRST_SEED, MPP, draw, landmarks, whole

FAILED_UM = 100.0
REAL_MPP = 3.5
REAL = {
    "les1": ("He-les1", "proSPC-4-les1", "Cc10-5-les1"),
    "rat_kidney": ("Rat-Kidney_HE", "Rat-Kidney_PanCytokeratin"),
}
SIMULATED = 20
STAGES = ("rigid", "affine", "bspline")

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two pictures with landmarks in pixels, the first pixel's centre at 0; row i of both is one place."""

    name: str
    kind: str
    fixed: Path
    moving: Path
    fixed_points: Points
    moving_points: Points
    mpp: float


def real_pairs(data: Path) -> list[Pair]:
    """Every two sections of a block, both ways."""
    pairs = []
    for block, names in REAL.items():
        folder = data / "registration" / block
        for fixed, moving in permutations(names, 2):
            points = [read_landmarks(folder / f"{name}.csv") - 0.5 for name in (fixed, moving)]
            count = min(len(part) for part in points)
            pictures = folder / f"{fixed}.jpg", folder / f"{moving}.jpg"
            pairs.append(Pair(f"{fixed} {moving}", "real", *pictures, points[0][:count], points[1][:count], REAL_MPP))
    return pairs


def simulated_pair(out: Path, place: int) -> Pair:
    """A pair of the battery as plain pictures, any turn."""
    folder = out / f"pair-{place:03d}"
    draw(folder, FIRST_SEED + place, place)
    for stain in ("he", "ki67"):
        picture = whole(folder / f"{stain}.tif")
        cv2.imwrite(str(folder / f"{stain}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    points = landmarks(folder, "he"), landmarks(folder, "ki67")
    return Pair(f"simulated {place:03d}", "simulated", folder / "he.png", folder / "ki67.png", *points, MPP)


def ours(fixed: Path, moving: Path, points: Points, mpp: float) -> dict[str, Any]:
    """Our own registration."""
    with open_slide(fixed, mpp) as f, open_slide(moving, mpp) as m:
        transform, quality = register_sections(*sections(f, m))
    carried = transform.inverse_points((points + 0.5) * mpp) / mpp - 0.5
    estimate = {"estimated_um": quality.estimated_error_um, "sure_share": quality.sure_share}
    return {"accepted": quality.accepted, "points": carried.tolist()} | estimate


def elastix(fixed: Path, moving: Path, points: Points, _: float) -> dict[str, Any]:
    """itk-elastix with default settings, on grey pictures."""
    import itk

    images = [itk.image_from_array(grey(path)) for path in (fixed, moving)]
    parameters = itk.ParameterObject.New()
    for stage in STAGES:
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(stage))
    _, found = itk.elastix_registration_method(*images, parameter_object=parameters, log_to_console=False)
    with tempfile.TemporaryDirectory() as folder:
        # Without a folder of its own transformix leaves the field in the current one.
        field = itk.transformix_deformation_field(images[1], found, output_directory=folder)
    return {"accepted": True, "points": invert(np.asarray(itk.array_from_image(field)), points).tolist()}


def grey(path: Path) -> NDArray[np.float32]:
    """A picture's lightness."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.float32)


def invert(field: NDArray[np.float32], points: Points) -> Points:
    """Where a field (H, W, 2) of displacements takes each point (N, 2) from: the pixel that lands nearest to it."""
    height, width = field.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    landing = np.stack([x + field[..., 0], y + field[..., 1]], axis=-1)
    carried = []
    for point in points:
        row, column = np.unravel_index(int(((landing - point) ** 2).sum(axis=-1).argmin()), (height, width))
        # The rest of less than a pixel: the map is taken as a shift there.
        carried.append(np.array([column, row]) + point - landing[row, column])
    return np.array(carried)


METHODS = {"ours": ours, "elastix": elastix}


def work(method: str, fixed: str, moving: str, points: str, answer: str, mpp: str) -> None:
    """What the process of one method does."""
    configure(quiet=True)
    given = np.array(json.loads(Path(points).read_text(encoding="utf-8")))
    write_json(Path(answer), METHODS[method](Path(fixed), Path(moving), given, float(mpp)))


def run(out: Path, pair: Pair, method: str, command: list[str]) -> dict[str, Any]:
    """One method on one pair in its own process; a row that is done is read."""
    target = out / "rows" / f"{pair.name} {method}.json".replace(" ", "-")
    if target.exists():
        return dict(json.loads(target.read_text(encoding="utf-8")))
    points, answer = out / "points.json", out / "answer.json"
    answer.unlink(missing_ok=True)
    write_json(points, pair.moving_points.tolist())
    here = [str(pair.fixed), str(pair.moving), str(points), str(answer)]
    start = time.perf_counter()
    with (out / "log.txt").open("ab") as log:
        process = subprocess.Popen([*command[:-1], *here, command[-1].format(mpp=pair.mpp)], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    row: dict[str, Any] = {"pair": pair.name, "kind": pair.kind, "method": method}
    row |= {"seconds": time.perf_counter() - start, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    row["peak_bytes"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    row["stopped"] = process.returncode != 0 or not answer.exists()
    if not row["stopped"]:
        found = json.loads(answer.read_text(encoding="utf-8"))
        error_px = np.hypot(*(np.array(found["points"]) - pair.fixed_points).T)
        row |= {name: value for name, value in found.items() if name != "points"}
        row |= {"median_px": float(np.median(error_px))}
        row |= {"p90_px": float(np.percentile(error_px, 90)), "median_um": float(np.median(error_px)) * pair.mpp}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, row)
    return row


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    if row["stopped"]:
        said = "stopped"
    else:
        said = f"{row['median_px']:7.1f} {row['p90_px']:7.1f} {row['median_um']:8.1f}"
        said += "" if row["accepted"] else "  refused"
    cost = f"{row['seconds']:6.0f} {row['cpu_seconds']:6.0f} {row['peak_bytes'] / 1e9:5.2f}"
    return f"{row['pair']:42s} {row['method']:8s} {cost} {said}"


def sums(rows: list[dict[str, Any]]) -> list[str]:
    """Medians and failures, for each method and kind of pair."""
    lines = []
    for kind, method in sorted({(row["kind"], row["method"]) for row in rows}):
        part = [row for row in rows if (row["kind"], row["method"]) == (kind, method)]
        done = [row for row in part if not row["stopped"]]
        silent = sum(row["accepted"] and row["median_um"] > FAILED_UM for row in done)
        refused = sum(not row["accepted"] for row in done)
        median_um = float(np.median([row["median_um"] for row in done])) if done else float("nan")
        lines.append(
            f"{kind}, {method}: {len(part)} pairs, median of the median errors {median_um:.1f} µm, "
            f"{silent + len(part) - len(done)} failed ({silent} without a word), {refused} refused, "
            f"{np.median([row['cpu_seconds'] for row in part]):.0f} s of processor a pair, "
            f"{max(row['peak_bytes'] for row in part) / 1e9:.2f} GB at most"
        )
    return lines


def main() -> None:
    """Run every method on every pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=int, default=SIMULATED)
    parser.add_argument("--valis-python", type=Path)
    parser.add_argument("--valis-features", choices=("vgg", "brisk"), default="vgg")
    given = parser.parse_args()
    configure(quiet=True)
    given.out.mkdir(parents=True, exist_ok=True)
    this = str(Path(__file__).resolve())
    commands = {method: [sys.executable, this, "--work", method, "{mpp}"] for method in METHODS}
    if given.valis_python is None:
        print("VALIS is left out: give --valis-python the Python that has valis-wsi")
    else:
        worker = str(Path(__file__).resolve().with_name("valis_worker.py"))
        commands[f"valis-{given.valis_features}"] = [str(given.valis_python), worker, given.valis_features]
    data = os.environ.get("KI67_DATA")
    if data is None:
        print("the real pairs are left out: KI67_DATA does not say where they are")
    pairs = real_pairs(Path(data)) if data else []
    print(f"{'pair':42s} {'method':8s}      s  cpu s    GB   median px  p90 px       µm")
    rows = []
    for pair in pairs + [simulated_pair(given.out, place) for place in range(given.simulated)]:
        for method, command in commands.items():
            rows.append(run(given.out, pair, method, command))
            print(line(rows[-1]), flush=True)
    print(*sums(rows), sep="\n")
    write_json(given.out / "peers.json", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        main()
