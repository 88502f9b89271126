"""Draw every kind of fault, run the program on it, and say what is right.

``python benchmarks/faults.py OUT [--source SRC] [--tag NAME] [--kind 1,4] [--only WORDS] [--table BEFORE,AFTER]``

Inputs are drawn once into OUT/inputs, from simulated sections and in code; samples of others are found through
KI67_FAULTS. ``--source`` is the ``src`` folder of the checkout to run (default: this one's), ``--tag`` names the run,
whose results go to OUT/NAME.json. ``--table`` runs nothing and prints runs side by side, as a Markdown table. The
exit code is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import ki67
from hostile import faults_cases, faults_files, faults_regions, faults_samples, faults_slides, isolate
from hostile.fault import LIMIT_S, Fault, Result, Sound, run

ALL = [
    *faults_slides.FAULTS,
    *faults_files.FAULTS,
    *faults_regions.FAULTS,
    *faults_samples.FAULTS,
    *faults_cases.FAULTS,
]
MOST_BYTES, MOST_SECONDS = 4 * 2**30, 60.0
PAIRS = {
    "sim": ("3", "2.4", "1.8", "20"),
    "other": ("7", "2.4", "1.8", "60"),
    "small": ("5", "1.3", "1.0", "30"),
}
KINDS = {
    0: "sound", 1: "pixel size", 2: "unusable", 3: "coordinates", 4: "TIFF", 5: "regions elsewhere", 6: "re-run",
    7: "pale tissue", 8: "QuPath", 9: "many regions", 10: "hangs, bombs", 11: "models", 12: "DICOM folder",
    13: "others' files", 14: "text", 15: "afterwards", 16: "small", 17: "pieces",
}  # fmt: skip


def pairs(out: Path, source: Path) -> Path:
    """Simulate the pairs of sections, once."""
    for name, (seed, width, height, percent) in PAIRS.items():
        if not (out / name / "truth.json").exists():
            words = [
                "simulate",
                str(out / name),
                "--seed",
                seed,
                "--size-mm",
                width,
                height,
                "--index",
                percent,
                "--quiet",
            ]
            run(words, out, source)
    return out / "sim"


def drawn(out: Path, sim: Path, fault: Fault) -> tuple[Path, str]:
    """Draw a fault's inputs, once; the text says why it could not be done."""
    folder = out / "inputs" / fault.folder
    data = Path(os.environ.get("KI67_DATA", "none"))
    if fault.needs and not (data / fault.needs).is_file():
        return folder, f"no {fault.needs} (KI67_DATA)"
    if not folder.exists():
        unfinished = folder.with_name("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            if fault.draw is not None:
                fault.draw(unfinished, sim)
        except Exception as error:  # noqa: BLE001 - a sample that cannot be drawn here is passed over, with the reason
            return folder, f"{type(error).__name__}: {error}"
        unfinished.rename(folder)
    return folder, ""


def tried(
    out: Path, tag: str, source: Path, sim: Path, fault: Fault, sound: Sound
) -> tuple[dict[str, Any], Result | None]:
    """Try one fault."""
    inputs, why = drawn(out, sim, fault)
    row: dict[str, Any] = {
        "kind": fault.kind,
        "name": fault.name,
        "expected": fault.expected,
        "command": " ".join(fault.words[:1]),
    }
    if why:
        return row | {"verdict": "skipped", "found": why, "seconds": 0.0, "mb": 0}, None
    place = out / tag / fault.folder
    shutil.rmtree(place, ignore_errors=True)
    case = place / "case"
    case.mkdir(parents=True)

    def filled(words: tuple[str, ...]) -> list[str]:
        values = {
            "{i}": inputs,
            "{sim}": sim,
            "{small}": sim.parent / "small",
            "{out}": case,
            "{data}": os.environ.get("KI67_DATA", "none"),
        }
        return [_filled(word, values) for word in words]

    for words in fault.first:
        run(filled(words), case, source)
    if fault.prepare is not None:
        fault.prepare(case, inputs)
    result = run(filled(fault.words), case, source, fault)
    if fault.then:
        result = run(filled(fault.then), case, source)
    longest = LIMIT_S if fault.words[0] == "score" else MOST_SECONDS  # a whole chain is slow, but no hang
    excess = result.cpu_seconds > longest or result.peak_bytes > MOST_BYTES
    right = not excess and any(judge(result, sound) for judge in fault.right)
    row |= {
        "verdict": "right" if right else "wrong",
        "found": result.summary,
        "seconds": result.seconds,
        "cpu": result.cpu_seconds,
    }
    row |= {"mb": result.peak_bytes // 2**20, "code": result.code, "stderr": result.stderr[-1500:]}
    return row, result


def _filled(word: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        word = word.replace(name, str(value))
    return word


def cell(row: dict[str, Any] | None) -> str:
    """Return one run's cell of the table."""
    if row is None:
        return "–"
    if row["verdict"] == "skipped":
        return f"skipped: {row['found']}"
    text = row["found"].replace("|", "\\|").replace("\n", " ")
    text = text if len(text) < 170 else text[:165] + " …"
    return f"{'**wrong**' if row['verdict'] == 'wrong' else 'right'}: {text} ({row['seconds']:.0f} s, {row['mb']} MB)"


def table(out: Path, tags: list[str]) -> str:
    """Return runs side by side."""
    runs = [
        {(row["kind"], row["name"]): row for row in json.loads((out / f"{tag}.json").read_text("utf-8"))}
        for tag in tags
    ]
    lines = [f"| kind | fault | right is | {' | '.join(tags)} |", "|---|---|---|" + "---|" * len(tags)]
    for key in dict.fromkeys(key for one in runs for key in one):
        rows = [one.get(key) for one in runs]
        first = next(row for row in rows if row is not None)
        lines.append(f"| {key[0]} {KINDS[key[0]]} | {key[1]} | {first['expected']} | {' | '.join(map(cell, rows))} |")
    for tag, one in zip(tags, runs, strict=True):
        count = {
            verdict: sum(row["verdict"] == verdict for row in one.values())
            for verdict in ("right", "wrong", "skipped")
        }
        lines.append(
            f"\n{tag}: {count['right']} right, {count['wrong']} wrong, {count['skipped']} skipped of {len(one)}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1] / "src")
    parser.add_argument("--tag", default="after")
    parser.add_argument("--kind", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", default="")
    parser.add_argument("--missing", action="store_true", help="only what the tag has no result of")
    options = parser.parse_args()
    out, source = options.out.resolve(), options.source.resolve()
    if options.table:
        sys.stdout.write(table(out, options.table.split(",")) + "\n")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    if not str(Path(ki67.__file__).resolve()).startswith(str(source)):
        paths = [str(source), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONPATH": os.pathsep.join(paths)})  # noqa: S606
    isolate.preload()
    kinds = {int(kind) for kind in options.kind.split(",") if kind}
    wanted = [one for one in ALL if (not kinds or one.kind in kinds) and options.only in one.name]
    sim = pairs(out, source)
    path = out / f"{options.tag}.json"
    known = {(row["kind"], row["name"]): row for row in json.loads(path.read_text("utf-8"))} if path.exists() else {}
    if options.missing:
        wanted = [one for one in wanted if (one.kind, one.name) not in known]
    sound: dict[str, Result] = {}
    wrong = 0
    for fault in [one for one in ALL if one.sound] + [one for one in wanted if not one.sound]:
        row, result = tried(out, options.tag, source, sim, fault, sound)
        if fault.sound and result is not None:
            sound[fault.name] = result
        known[fault.kind, fault.name] = row
        wrong += row["verdict"] == "wrong"
        print(f"{fault.kind:3d} {fault.name[:44]:44s} {cell(row)}", flush=True)
        order = {(one.kind, one.name): place for place, one in enumerate(ALL)}
        rows = sorted(known.values(), key=lambda row: order.get((row["kind"], row["name"]), len(order)))
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=True), encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
