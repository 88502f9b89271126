"""Compare the numbers of two source trees where nothing is at fault.

``python benchmarks/same_numbers.py OUT --before SRC --after SRC [--only demo,field] [--size-mm 1.6 1.2]``

The demo, a real Ki-67 field (NanoZoomer), the real pairs with landmarks, and ten simulated pairs, each run by both
trees (their ``src`` folders) in a process of its own; real data through KI67_DATA, passed over where it is absent.
Results are kept in OUT/before.json and OUT/after.json and not made again. Prints every number that differs; the exit
code is 1 where one does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FIRST_SEED = 101
INDICES = (2, 5, 9, 14, 20, 28, 38, 50, 65, 80)
TURNS = (0, 37, 90, 123, 180, 201, 248, 270, 305, 350)
"""As of the benchmark of simulated pairs, which goes with one tree only."""
FIELD = "slides/os2_ki67_nanozoomer.ome.tif"
REGISTRATION = {
    "les1": ("les1/He-les1.jpg", "les1/proSPC-4-les1.jpg", "les1/He-les1.csv", "les1/proSPC-4-les1.csv", "3.5"),
    "rat_kidney": (
        "rat_kidney/Rat-Kidney_HE.jpg",
        "rat_kidney/Rat-Kidney_PanCytokeratin.jpg",
        "rat_kidney/Rat-Kidney_HE.csv",
        "rat_kidney/Rat-Kidney_PanCytokeratin.csv",
        "3.5",
    ),
    "case001": (
        "case001/Case001_HE.jpg",
        "case001/Case001_Ki67.jpg",
        "case001/HE__Ki67_he.csv",
        "case001/HE__Ki67_ki67.csv",
        "7.5",
    ),
    "case001_cytokeratin": (
        "case001/Case001_HE.jpg",
        "case001/Case001_Cytokeratin.jpg",
        "case001/HE__Cytokeratin_he.csv",
        "case001/HE__Cytokeratin_ck.csv",
        "7.5",
    ),
    "les1_10pc": (
        "les1_10pc/He-les1.jpg",
        "les1_10pc/CD31-3-les1.jpg",
        "les1_10pc/He-les1.csv",
        "les1_10pc/CD31-3-les1.csv",
        "1.7",
    ),
    "les1_10pc_prospc": (
        "les1_10pc/He-les1.jpg",
        "les1_10pc/proSPC-4-les1.jpg",
        "les1_10pc/He-les1.csv",
        "les1_10pc/proSPC-4-les1.csv",
        "1.7",
    ),
}
"""Fixed and moving image, their landmarks, and the pixel size of both in µm."""

COUNTED = (
    "index_percent",
    "positive",
    "negative",
    "other",
    "cells",
    "area_mm2",
    "ci95_percent",
    "registration_spread_percent",
)
REGISTERED = ("median_tre_um", "p90_tre_um", "median_rtre", "ncc", "accepted", "landmarks")


def command(source: Path, words: list[str]) -> dict[str, Any]:
    """Run a command of a tree; what it refuses is a result too."""
    env = {**os.environ, "PYTHONPATH": str(source)}
    program = [sys.executable, "-c", "from ki67.cli import main; main()", *words, "--json", "--quiet"]
    done = subprocess.run(program, env=env, check=False, capture_output=True, text=True)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"exit": done.returncode, "error": done.stderr.strip()[-400:]}
    return found


def kept(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the numbers that are compared, and the warnings to look at."""
    if "error" in found:
        return found
    numbers = {name: found.get(name) for name in names}
    return {**numbers, "ncc": found.get("registration", found).get("ncc"), "warnings": found.get("warnings", [])}


def tasks(out: Path, size_mm: list[str]) -> dict[str, tuple[list[str], tuple[str, ...]]]:
    """Return what is run, by name: the words, and the numbers of its result."""
    data = Path(os.environ.get("KI67_DATA", "none"))
    found: dict[str, tuple[list[str], tuple[str, ...]]] = {"demo": (["demo", "--out", "{case}"], COUNTED)}
    if (data / FIELD).is_file():
        found["field"] = (["count", str(data / FIELD), "--out", "{case}"], COUNTED)
    for name, (*files, mpp) in REGISTRATION.items():
        paths = [str(data / "registration" / file) for file in files]
        if all(Path(path).is_file() for path in paths):
            sizes = ["--fixed-mpp", mpp, "--moving-mpp", mpp]
            found[f"registration-{name}"] = (["evaluate", "registration", *paths, *sizes], REGISTERED)
    for place in range(len(INDICES)):
        folder = out / f"pair-{place}"
        if not (folder / "truth.json").exists():
            words = ["simulate", str(folder), "--seed", str(FIRST_SEED + place), "--size-mm", *size_mm]
            words += [
                "--index",
                str(INDICES[place]),
                "--rotation-deg",
                str(TURNS[place]),
                "--grade",
                str(1 + place % 3),
            ]
            command(Path(__file__).parents[1] / "src", words)
        score = ["score", str(folder / "he.tif"), str(folder / "ki67.tif"), "--allow-few-cells", "--out", "{case}"]
        found[f"pair-{place}"] = ([*score, "--regions", str(folder / "he_regions.geojson")], COUNTED)
    return found


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Return every number that differs, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in dict.fromkeys([*before, *after]) if name != "warnings"]
        return [one for name in names for one in differences(before.get(name), after.get(name), f"{place} {name}")]
    return [] if before == after else [f"{place}: {before} → {after}"]


def main() -> int:
    """Run what has no result yet, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--size-mm", nargs=2, default=["1.6", "1.2"])
    options = parser.parse_args()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    only = [name for name in options.only.split(",") if name]
    results: dict[str, dict[str, Any]] = {}
    for tag in ("before", "after"):
        path = out / f"{tag}.json"
        results[tag] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        source = getattr(options, tag)
        if source is None:
            continue
        for name, (words, names) in tasks(out, options.size_mm).items():
            if name in results[tag] or (only and not any(name.startswith(one) for one in only)):
                continue
            case = out / tag / name
            found = kept(command(source.resolve(), [word.replace("{case}", str(case)) for word in words]), names)
            results[tag][name] = found
            path.write_text(json.dumps(results[tag], indent=1, ensure_ascii=False), encoding="utf-8")
            print(f"{tag:6s} {name:24s} {json.dumps(found, ensure_ascii=False)[:230]}", flush=True)
    shared = [name for name in results["before"] if name in results["after"]]
    found_differences = [
        one for name in shared for one in differences(results["before"][name], results["after"][name], name)
    ]
    print(f"\n{len(shared)} compared, {len(found_differences)} numbers differ", *found_differences, sep="\n")
    for name in shared:
        new = set(results["after"][name].get("warnings", ())) - set(results["before"][name].get("warnings", ()))
        print(*(f"{name}: new warning: {text}" for text in sorted(new)), sep="\n")
    return int(bool(found_differences))


if __name__ == "__main__":
    sys.exit(main())
