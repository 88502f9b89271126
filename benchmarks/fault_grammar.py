"""Bad inputs from a grammar of faults, format by fault.

``python benchmarks/fault_grammar.py OUT [--count 1000] [--seed 1] [--formats svs,png] [--number N]``

Each input goes through the command line in a child of its own and must end in one of these ways: *same*, the number
of the sound file; *refused*, one line and exit 1, with nothing in the case's folder that looks like a result; *told*,
another number with a warning that the sound file does not give, or no index; *other picture*, another number because
bytes of pixels were changed in a format that has no checksum, or what they mean in its header; *other content*, where
a number of a text or model was changed into another one. Everything else is wrong: a traceback, another exit code,
another number without a word, over 60 s or 4 GB. OUT/wrong keeps such inputs; ``--number`` repeats one. Ends with a
table of fault by format; the exit code is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from hostile import damage, dicom, isolate, sound
from hostile.damage import DAMAGES, Damage
from hostile.fault import DEFECT
from hostile.faults_regions import collection
from hostile.faults_slides import crop
from hostile.sound import feature, square

SIDE, TILE = 256, 64
PIXEL_FAULTS = {
    "bits anywhere", "a block of zeros", "a block moved", "a piece missing", "its structure", "its structure, twice",
    "a number", "bits of the header", "cut off", "NUL bytes in it", "compression", "colours", "counts", "sizes",
}  # fmt: skip
"""Faults that may change compressed pixels, or what they are taken for, without a mark that a reader could see."""
UNCHECKED = {"svs", "ome.tif", "tif", "strip.tif", "big.tif", "jpg", "dcm"}
RESULTS = ("score.json", "report.html", "cells.parquet")


@dataclass(frozen=True)
class Format:
    """A format: its sound file, the command that reads it, what of its output is the number."""

    name: str
    file: str
    data: bytes
    structure: str
    words: tuple[str, ...]
    number: Callable[[dict[str, Any]], Any]


def counts(result: dict[str, Any]) -> Any:
    """Positive and negative cells."""
    return result.get("positive"), result.get("negative")


def formats(out: Path) -> list[Format]:
    """All formats, with small sound files cut from a simulated section."""
    pixels = crop(out / "sim", SIDE)
    half = np.ascontiguousarray(pixels[::2, ::2])
    cm: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": 3}
    base: dict[str, Any] = {"photometric": "rgb", "metadata": None}
    tiled = {"tile": (TILE, TILE), **base}
    text = f"Aperio Image Library v12\r\n{SIDE}x{SIDE} ({TILE}x{TILE}) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}

    def tiff(*pages: dict[str, Any], **options: Any) -> bytes:
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream, **options) as writer:
            for page in pages:
                writer.write(**page)
        return stream.getvalue()

    def image(kind: str, **options: Any) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        return stream.getvalue()

    jpeg = {"compression": "jpeg", "compressionargs": {"level": 95}}
    slides = {
        "svs": tiff(
            {"data": pixels, "description": text, "software": None, **jpeg, **tiled}, {"data": half, **jpeg, **tiled}
        ),
        "ome.tif": tiff(
            {"data": pixels, "compression": "deflate", **tiled, "metadata": {"axes": "YXS", **sizes}}, ome=True
        ),
        "tif": tiff({"data": pixels, "compression": "lzw", **tiled, **cm}, {"data": half, "subfiletype": 1, **tiled}),
        "big.tif": tiff({"data": pixels, "compression": "deflate", **tiled, **cm}, bigtiff=True, byteorder=">"),
        "strip.tif": tiff({"data": pixels, "rowsperstrip": 16, **base, **cm}),
        "png": image("PNG"),
        "jpg": image("JPEG", quality=95),
        "dcm": dicom.slide(pixels, 0.5, tile=TILE),
    }
    structures = {"png": "png", "jpg": "jpeg", "dcm": "dicom"}
    plain = {"png", "jpg", "strip.tif"}
    found = [
        Format(
            name,
            f"slide.{name}",
            data,
            structures.get(name, "tiff"),
            ("count", "{f}", *(("--mpp", "0.5") if name in plain else ())),
            counts,
        )
        for name, data in slides.items()
    ]
    (out / "field.png").write_bytes(slides["png"])
    (out / "field2.png").write_bytes(slides["png"])
    on_field = ("count", "{field}", "--mpp", "0.5")
    regions = collection(
        feature(square(20, 20, 200), "IDC", id="a"),
        feature(square(90, 90, 40), "DCIS", id="b"),
        feature(square(150, 150, 30), "Ignore*", id="c"),
    )
    found.append(
        Format(
            "geojson",
            "regions.geojson",
            json.dumps(regions, indent=1).encode(),
            "json",
            (*on_field, "--regions", "{f}"),
            counts,
        )
    )
    pairs = "he_x,he_y,ki67_x,ki67_y\n" + "".join(
        f"{x},{y},{x + 3},{y + 2}\n" for x, y in ((20, 20), (200, 30), (120, 200), (30, 180))
    )
    register = (
        "register",
        "{field}",
        "{moved}",
        "--landmarks",
        "{f}",
        "--as-given",
        "--he-mpp",
        "0.5",
        "--ki67-mpp",
        "0.5",
    )
    found.append(
        Format(
            "landmarks",
            "pairs.csv",
            pairs.encode(),
            "csv",
            register,
            lambda r: (r.get("rotation_deg"), r.get("mode")),
        )
    )
    labels = "x,y,label\n" + "".join(
        f"{20 + 9 * n},{30 + 5 * n},{('positive', 'negative', 'other')[n % 3]}\n" for n in range(20)
    )
    cells = ("evaluate", "cells", "{folder}", "--layout", "points", "--mpp", "0.5")
    found.append(
        Format("labels", "field.csv", labels.encode(), "csv", cells, lambda r: (r.get("cells"), r.get("detection")))
    )
    gold = "case,index_percent\n" + "".join(f"c{n},{n * 7}\n" for n in range(1, 9))
    (out / "gold.csv").write_text(gold, encoding="utf-8")
    found.append(
        Format(
            "indices",
            "index.csv",
            gold.encode(),
            "csv",
            ("evaluate", "index", "{gold}", "{f}"),
            lambda r: r.get("mae_points"),
        )
    )
    graph = sound.network_graph()
    with_model = (*on_field, "--cell-model", "{folder}/m.onnx")
    found.append(Format("onnx", "m.onnx", graph, "onnx", with_model, counts))
    found.append(Format("card", "m.json", sound.card_of("network", graph), "json", with_model, counts))
    shutil.rmtree(out / "finished", ignore_errors=True)
    isolate.run_command(
        [*_filled_all(on_field, {"{field}": out / "field.png"}), "--out", str(out / "finished"), "--quiet"]
    )
    manifest = (out / "finished" / "run.json").read_bytes()
    found.append(Format("case", "case/run.json", manifest, "json", on_field, counts))
    return found


def attempt(out: Path, place: Path, one: Format, write: Damage | None, rng: np.random.Generator) -> isolate.Outcome:
    """Write an input, sound or damaged, and run its command."""
    path = place / one.file
    if one.name == "labels":
        shutil.copy(out / "field.png", place / "field.png")
    if one.name == "card":
        (place / "m.onnx").write_bytes(sound.network_graph())
    if one.name == "case":
        shutil.copytree(out / "finished", place / "case")
        path.unlink()
    given: Path | None = None
    if write is None:
        path.write_bytes(one.data)
    else:
        given = write.write(path, one.data, one.structure, rng)
    if one.name == "onnx" and path.is_file() and not path.is_symlink():
        (place / "m.json").write_bytes(sound.card_of("network", path.read_bytes()))
    values = {
        "{f}": given or path, "{folder}": place, "{field}": out / "field.png", "{moved}": out / "field2.png",
        "{gold}": out / "gold.csv",
    }  # fmt: skip
    words = _filled_all(one.words, values)
    if one.words[0] in {"count", "register"}:
        words += ["--out", str(place / "case")]
    return isolate.run_command([*words, "--json", "--quiet"], cwd=place)


def _filled_all(words: tuple[str, ...], values: dict[str, Path]) -> list[str]:
    filled = list(words)
    for name, value in values.items():
        filled = [word.replace(name, str(value)) for word in filled]
    return filled


def verdict(one: Format, fault: str, outcome: isolate.Outcome, reference: dict[str, Any], place: Path) -> str:
    """Return how it ended."""
    if outcome.excess:
        return f"WRONG: {outcome.excess}"
    if outcome.one_line:
        left = [name for name in RESULTS if (place / "case" / name).exists() and one.name != "case"]
        if DEFECT in outcome.stderr:
            return f"WRONG: a defect in one line: {outcome.stderr.strip()[-120:]}"
        return f"WRONG: leaves {left}" if left else "refused"
    if outcome.code:
        last = (outcome.stderr.strip().splitlines() or ["no word"])[-1][:120]
        return f"WRONG: exit {outcome.code}: {last} ({' > '.join(outcome.places[-2:])})"
    try:
        result = json.loads(outcome.stdout)
    except ValueError:
        return "WRONG: no JSON on stdout"
    if one.number(result) == one.number(reference):
        return "same"
    if result.get("index_percent", 0) is None or set(result.get("warnings", ())) - set(reference.get("warnings", ())):
        return "told"
    if one.name in UNCHECKED and fault in PIXEL_FAULTS:
        return "other picture"
    if one.structure in {"json", "csv", "onnx"} and fault not in {"an odd name", "a link", "another ending"}:
        return "other content"  # a number was changed into another number: nobody can know
    return f"WRONG: {one.number(result)} for {one.number(reference)} without a word"


def table(results: dict[tuple[str, str], Counter[str]], names: list[str]) -> str:
    """Return fault by format: how often each end."""
    short = {
        "same": "s",
        "refused": "r",
        "told": "t",
        "other picture": "p",
        "other content": "c",
        "WRONG": "**WRONG**",
    }
    lines = [f"| fault | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for fault in DAMAGES:
        cells = []
        for name in names:
            counted = results.get((name, fault.name), Counter())
            cells.append(" ".join(f"{count}{short[what]}" for what, count in sorted(counted.items())) or "–")
        lines.append(f"| {fault.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "s same, r refused in one line, t told, p other picture, c other content"])


def _report(
    out: Path,
    results: dict[tuple[str, str], Counter[str]],
    names: list[str],
    ends: Counter[str],
    wrong: list[dict[str, Any]],
    seed: int,
    most: tuple[float, int],
) -> str:
    """Write what is known so far, so that a run that is stopped is not lost."""
    text = table(results, names) + f"\n\n{sum(ends.values())} inputs, seed {seed}: {dict(ends)}; "
    text += f"longest {most[0]:.1f} s of processor time, most {most[1] / 1e6:.0f} MB"
    (out / "grammar.md").write_text(text + "\n", encoding="utf-8")
    counts = [[*key, dict(counted)] for key, counted in results.items()]
    record = {"ends": ends, "wrong": wrong, "counts": counts}
    (out / "grammar.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return text


def main() -> int:
    """Run the grammar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int)
    parser.add_argument("--formats", default="")
    options = parser.parse_args()
    out: Path = options.out.resolve()
    (out / "wrong").mkdir(parents=True, exist_ok=True)
    isolate.preload()
    if not (out / "sim" / "ki67.tif").exists():
        words = ["simulate", str(out / "sim"), "--seed", "3", "--size-mm", "2.4", "1.8", "--index", "20", "--quiet"]
        isolate.run_command(words, limit_s=600)
    every = formats(out)
    only = {name for name in options.formats.split(",") if name}
    chosen = {one.name: one for one in every if not only or one.name in only}
    references = {name: found for name, one in chosen.items() if (found := _reference(out, one)) is not None}
    chosen = {name: one for name, one in chosen.items() if name in references}
    plan = damage.choose(
        options.count, {name: one.structure for name, one in chosen.items()}, damage.seeded(options.seed, -1 % 2**32)
    )
    results: dict[tuple[str, str], Counter[str]] = {}
    ends: Counter[str] = Counter()
    wrong = []
    slowest, largest = 0.0, 0
    for number, (name, fault) in enumerate(plan):
        if options.number is not None and number != options.number:
            continue
        place = out / f"try-{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        one = chosen[name]
        outcome = attempt(out, place, one, fault, damage.seeded(options.seed, number))
        end = verdict(one, fault.name, outcome, references[name], place)
        results.setdefault((name, fault.name), Counter())[end.split(":")[0]] += 1
        ends[end.split(":")[0]] += 1
        slowest, largest = max(slowest, outcome.cpu_seconds), max(largest, outcome.peak_bytes)
        if end.startswith("WRONG"):
            wrong.append({"number": number, "format": name, "fault": fault.name, "end": end})
            print(f"{number:5d} {name} {fault.name}: {end}", flush=True)
            shutil.rmtree(out / "wrong" / str(number), ignore_errors=True)
            place.rename(out / "wrong" / str(number))
        else:
            shutil.rmtree(place, ignore_errors=True)
        if number % 20 == 0 and options.number is None:
            _report(out, results, list(chosen), ends, wrong, options.seed, (slowest, largest))
        if options.number is not None:
            print(f"{end}\n{outcome.stdout[:2000]}\n{outcome.stderr[-6000:]}")
    print(_report(out, results, list(chosen), ends, wrong, options.seed, (slowest, largest)))
    return int(bool(wrong))


def _reference(out: Path, one: Format) -> dict[str, Any] | None:
    place = out / f"sound-{one.name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    outcome = attempt(out, place, one, None, np.random.default_rng(0))
    if outcome.code:
        print(f"the SOUND {one.name} fails and is left out: {outcome.stderr.strip()[-300:]}", flush=True)
        return None
    result: dict[str, Any] = json.loads(outcome.stdout)
    print(f"sound {one.name}: {one.number(result)} in {outcome.cpu_seconds:.1f} s", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
