"""Fuzz every reader: ``python benchmarks/fuzz.py OUT [--minutes 10] [--seed 1] [--only slide,regions] [--data DIR]``.

Sound files, made in code and, where ``--data`` (or KI67_DATA) has them, small real ones, are changed where their
structure is and read in a child. Whatever is no known error, takes more than 60 s or 4 GB, or kills the child is a
finding; one input of each kind of finding is kept in OUT/findings with what was said. Ends with a table and
OUT/fuzz.json; the exit code is 1 where there are findings. ``--replay FILE --only TARGET`` tries one input again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from hostile import isolate, sound
from hostile.mutate import mutate
from hostile.worker import Refusal, Worker

REAL = (
    ("slides/cmu-1-small-region.svs", "tiff"),
    ("slides/os2_ki67_nanozoomer.ome.tif", "tiff"),
    ("slides/fluorescence.ndpi", "tiff"),
    ("slides/camelyon_overview_jpeg2000.dcm", "dicom"),
    ("slides/small.svs", "tiff"),
    ("slides/mislabelled_generic_tiff.svs", "tiff"),
    ("annotations/qupath05.geojson", "json"),
)
WEIGHT = {"slide": 6.0, "count": 0.4, "regions": 4.0, "manifest": 0.6}
"""How often a target's turn comes, where it is not once; counting takes a hundred times as long as opening."""


def sounds(data: Path | None) -> list[sound.Sound]:
    """All sound files, the real ones last."""
    found = [*sound.slides(), *sound.region_files(), *sound.tables(), *sound.models()]
    found += [
        sound.Sound(one.name, one.data, one.structure, "count")
        for one in found
        if one.target == "slide" and len(one.data) < 400_000
    ]
    for name, structure in REAL:
        if data is not None and (data / name).is_file():
            target = "regions" if structure == "json" else "slide"
            found.append(sound.Sound(Path(name).name, (data / name).read_bytes(), structure, target))
    return found


def prepare(out: Path, wanted: list[sound.Sound]) -> list[sound.Sound]:
    """Make the field that models and manifests are tried on, and a finished case."""
    field = next(one.data for one in sound.slides() if one.name == "rgb.png")
    (out / "field.png").write_bytes(field)
    case = out / "sound-case"
    if any(one.target == "manifest" for one in wanted) or not case.exists():
        shutil.rmtree(case, ignore_errors=True)
        done = isolate.run_command(["count", str(out / "field.png"), "--mpp", "0.5", "--out", str(case), "--quiet"])
        if done.code:
            sys.exit(f"the sound case fails: {done.stderr}")
    return [*wanted, sound.Sound("run.json", (case / "run.json").read_bytes(), "json", "manifest")]


def attempt(target: str, path: str) -> int:
    """Try one input, in a child."""
    from hostile.targets import TARGETS
    from ki67 import progress
    from ki67.errors import Ki67Error

    progress.configure(quiet=True)
    os.chdir(Path(path).parent)
    try:
        TARGETS[target](Path(path).parent, Path(path))
    except Ki67Error as error:
        raise Refusal(str(error)) from error
    return 0


def tried(worker: Worker, out: Path, one: sound.Sound, data: bytes) -> isolate.Outcome:
    """Try one input in a fresh folder."""
    folder = Path(tempfile.mkdtemp(dir=out, prefix="try-"))
    try:
        (folder / "field.png").write_bytes((out / "field.png").read_bytes())
        (folder / one.name).write_bytes(data)
        return worker.run(one.target, folder / one.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finding(outcome: isolate.Outcome) -> str:
    """What is wrong, in words that are the same for the same defect; empty for nothing."""
    where = " > ".join(outcome.places[-2:])
    if outcome.excess:
        return f"{re.sub('[0-9.]+ GB', 'over 4 GB', outcome.excess)} in {where or '?'}"
    if outcome.code in {0, 1}:
        return ""
    if outcome.code < 0:
        return f"signal {-outcome.code} in {where or '?'}"
    lines = [
        line
        for line in outcome.stderr.splitlines()
        if re.match(r"[\w.]+(Error|Exception|Interrupt|Warning|Fail\w*)\b", line)
    ]
    kind = lines[-1].split(":")[0] if lines else outcome.stderr.strip().splitlines()[-1:] or ["no word"]
    return f"{kind if isinstance(kind, str) else kind[0][:80]} in {where or '?'}"


def main() -> int:
    """Fuzz for the time given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--data", type=Path, default=os.environ.get("KI67_DATA"))
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    out: Path = options.out.resolve()
    (out / "findings").mkdir(parents=True, exist_ok=True)
    for rest in out.glob("try-*"):
        shutil.rmtree(rest, ignore_errors=True)
    isolate.preload()
    only = {name for name in options.only.split(",") if name}
    if options.replay is not None:
        prepare(out, [])
        one = sound.Sound(options.replay.name.split("__")[-1], b"", "bytes", next(iter(only)))
        outcome = tried(Worker(attempt), out, one, options.replay.read_bytes())
        print(outcome, finding(outcome) or "no finding", sep="\n")
        return int(bool(finding(outcome)))
    all_sound = prepare(out, sounds(options.data and Path(options.data)))
    chosen = [one for one in all_sound if not only or one.target in only]
    return fuzz(out, chosen, options.minutes, options.seed)


def fuzz(out: Path, chosen: list[sound.Sound], minutes: float, seed: int) -> int:
    """Try mutated inputs until the time is over; return whether there were findings."""
    rng = np.random.default_rng(seed)
    worker = Worker(attempt)
    weights = np.array([WEIGHT.get(one.target, 1.0) for one in chosen])
    weights /= np.array([sum(other.target == one.target for other in chosen) for one in chosen])
    weights /= weights.sum()
    trials: Counter[str] = Counter()
    results: Counter[tuple[str, str]] = Counter()
    found: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    largest: dict[str, int] = {}
    for one in chosen:  # the unchanged file must pass, or the rest says nothing
        outcome = tried(worker, out, one, one.data)
        if outcome.code == isolate.DEFECT:
            print(f"unchanged {one.name} for {one.target}: {finding(outcome)}", flush=True)
    start = time.monotonic()
    while time.monotonic() - start < 60 * minutes:
        one = chosen[int(rng.choice(len(chosen), p=weights))]
        data = mutate(one.data, one.structure, rng)
        outcome = tried(worker, out, one, data)
        trials[one.target] += 1
        wrong = finding(outcome)
        results[one.target, "finding" if wrong else "refused" if outcome.code else "read"] += 1
        slowest[one.target] = max(slowest.get(one.target, 0.0), outcome.seconds)
        largest[one.target] = max(largest.get(one.target, 0), outcome.peak_bytes)
        if wrong:
            name = f"{one.target}: {wrong}"
            found[name] += 1
            if found[name] == 1:
                stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:110]
                (out / "findings" / f"{stem}__{one.name}").write_bytes(data)
                (out / "findings" / f"{stem}.txt").write_text(
                    f"{one.name} {one.target}\n{outcome}\n\n{outcome.stderr[-6000:]}", encoding="utf-8"
                )
                print(f"{time.monotonic() - start:7.0f} s  {name}", flush=True)
    worker.close()
    lines = [
        "| target | inputs | read | refused | findings | longest s | most MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for target in sorted(trials):
        counts = [results[target, what] for what in ("read", "refused", "finding")]
        lines.append(
            f"| {target} | {trials[target]} | {counts[0]} | {counts[1]} | {counts[2]} | {slowest[target]:.0f} "
            f"| {largest[target] / 1e6:.0f} |"
        )
    lines.append(
        f"| all | {sum(trials.values())} in {minutes:g} minutes, seed {seed} | | | {sum(found.values())} | | |"
    )
    print("\n".join([*lines, "", *(f"{count:6d} {name}" for name, count in found.most_common())]))
    record = {"minutes": minutes, "seed": seed, "trials": dict(trials), "findings": dict(found)}
    (out / "fuzz.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return int(bool(found))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
