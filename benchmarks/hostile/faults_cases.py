"""Faults of case folders, models, texts, streams and signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

from hostile import sound
from hostile.fault import (
    GB,
    Draw,
    Result,
    Right,
    Sound,
    both,
    command,
    count,
    done,
    fault,
    index,
    left,
    refused,
    same,
    told,
)
from hostile.faults_regions import RIGHT_OR_REFUSED, collection, document, with_field
from hostile.faults_slides import SIDE, crop, picture, tif
from hostile.sound import feature, square

COUNT: Final = "count {i}/f.tif"
TINY: Final = collection(feature(square(250, 250, 60), "IDC"))
OUTSIDE: Final = collection(feature(square(90000, 90000, 60), "IDC"))
FRESH: Final = left(absent=("score.json", "report.html"))

# fmt: off
AGAIN: Final = [
    count(6, "again, the region outside", with_field(lambda: OUTSIDE), both(refused("."), FRESH),
        "refused, no old score", "--regions {i}/r.geojson", first=(COUNT,)),
    count(6, "again, killed half way", with_field(lambda: TINY), FRESH, "no old score", "--regions {i}/r.geojson",
        first=(COUNT,), signal=signal.SIGKILL),
    fault(6, "scored again, few cells", "score {small}/he.tif {small}/ki67.tif --regions {i}/r.geojson",
        (both(refused("few|tumour cells|cells"), FRESH), refused("off tissue|tissue")), "refused, no old score",
        document(lambda: collection(feature(square(1300, 1000, 120), "IDC"))),
        first=("score {small}/he.tif {small}/ki67.tif --regions {small}/he_regions.geojson",)),
]
# fmt: on


def model(
    kind: str, change: Callable[[Any], Any] | None = None, card: Callable[[dict[str, Any]], Any] | None = None
) -> Draw:
    """Write a small model, its graph or its card changed, and a field."""

    def draw(folder: Path, sim: Path) -> None:
        picture("f.png")(folder, sim)
        graph = onnx.load_from_string(sound.GRAPHS[kind]())
        changed = change(graph) if change else None
        graph = graph if changed is None else changed
        if isinstance(graph, tuple):  # external data
            onnx.save(graph[0], folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
        else:
            (folder / "m.onnx").write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
        facts = json.loads(sound.card_of(kind, (folder / "m.onnx").read_bytes()))
        facts = (card(facts) or facts) if card else facts
        text = facts if isinstance(facts, str) else json.dumps(facts)
        (folder / "m.json").write_text(text, encoding="utf-8")

    return draw


def renamed(graph: Any) -> Any:
    """Call the input another name."""
    data: bytes = graph.SerializeToString()
    return data.replace(b"light", b"lihgt")


def of_type(graph: Any) -> None:
    """Take whole numbers."""
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32


def of_rank(graph: Any) -> None:
    """Give maps without a batch."""
    graph.graph.node[-1].output[0] = "full"
    graph.graph.node.append(helper.make_node("Squeeze", ["full", "zero"], ["proximity"]))
    graph.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    del graph.graph.output[0].type.tensor_type.shape.dim[0]


def two_maps(graph: Any) -> None:
    """Give two maps for three classes."""
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((2, 3, 2, 2), np.float32), "w"))
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.zeros(2, np.float32), "b"))
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2


def full_size(graph: Any) -> None:
    """Give maps of the input's size."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "w"))
    for attribute in graph.graph.node[0].attribute:
        attribute.ints[:] = [1, 1]


def not_a_number(graph: Any) -> None:
    """Give NaN everywhere."""
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), "b"))


def _set(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda facts: facts.update(fields)


CARDS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "threshold -1": _set(positive_threshold=-1),
    "threshold 7": _set(negative_threshold=7.0),
    "threshold NaN": _set(positive_threshold=float("nan")),
    "threshold a list": _set(positive_threshold=[0.5]),
    "mpp NaN": _set(mpp=float("nan")),
    "mpp 0": _set(mpp=0),
    "mpp a word": _set(mpp="fine"),
    "no classes": _set(classes=[]),
    "classes null": _set(classes=None),
    "classes a number": _set(classes=3),
    "calibration of NaN": _set(calibration={"positive": [float("nan"), 0], "negative": [1, 0]}),
    "calibration a word": _set(calibration="none"),
    "calibration of three": _set(calibration={"positive": [1, 0, 0], "negative": [1, 0]}),
    "calibration of strange classes": _set(calibration={"lymphocyte": [1, 0], "negative": [1, 0]}),
    "schema 99": _set(schema=99),
    "schema infinite": _set(schema=float("inf")),
    "a list": lambda _: "[1, 2]",
    "a number": lambda _: "7",
    "null": lambda _: "null",
    "cut off": lambda facts: json.dumps(facts)[:200],
    "nested": lambda _: "[" * 100_000 + "]" * 100_000,
    "another graph's SHA-256": _set(sha256="0" * 64),
    "SHA-256 null": _set(sha256=None),
}
WITH: Final = "count {i}/f.png --mpp 0.5 --cell-model {i}/m.onnx"
FOREST: Final = "count {i}/f.png --mpp 0.5 --engine forest --cell-model {i}/m.onnx"
PREDICT: Final = "idc predict {i}/f.png --mpp 0.5 --model {i}/m.onnx --out {out}"
MODEL: Final = (refused("m\\.(onnx|json)|w\\.bin"),)

# fmt: off
MODELS: Final = [
    fault(11, "weights in an external file", WITH, MODEL, "refused", model("network", lambda graph: (graph,))),
    *[fault(11, f"graph: {name}", WITH, MODEL, "refused", model("network", change)) for name,
        change in (("another input", renamed), ("whole numbers", of_type), ("another rank", of_rank),
        ("two maps", two_maps), ("maps of another size", full_size), ("NaN", not_a_number),
        ("cut off", lambda g: g.SerializeToString()[:90]), ("empty", lambda _: b""),
        ("text", lambda _: b"not a graph"),)],
    *[fault(11, f"card: {name}", WITH, MODEL, "refused", model("network", None, change)) for name,
        change in CARDS.items()],
    fault(11, "a forest as network", WITH, MODEL, "refused", model("forest")),
    fault(11, "forest card: overlap NaN", FOREST, MODEL, "refused",
        model("forest", None, _set(overlap=float("nan")))),
    fault(11, "forest card: overlap a word", FOREST, MODEL, "refused", model("forest", None, _set(overlap="much"))),
    fault(11, "forest card: features null", FOREST, MODEL, "refused", model("forest", None, _set(features=None))),
    fault(11, "IDC card: patches of 10^6 px", PREDICT, MODEL, "refused", model("idc", None, _set(patch_px=10**6))),
    fault(11, "IDC card: threshold NaN", PREDICT, MODEL, "refused",
        model("idc", None, _set(threshold=float("nan")))),
    fault(11, "IDC card: mpp infinite", PREDICT, MODEL, "refused", model("idc", None, _set(mpp=float("inf")))),
    fault(11, "IDC card: three classes of two", PREDICT, MODEL, "refused",
        model("idc", None, _set(classes=["a", "b", "IDC"]))),
    fault(11, "IDC graph: external weights", PREDICT, MODEL, "refused", model("idc", lambda graph: (graph,))),
]
# fmt: on


def foreign(folder: Path, sim: Path) -> None:
    """A field, and a case's folder with files of other people in it."""
    tif("f.tif")(folder, sim)


def kept(*names: str) -> Right:
    """Files of other people are still there."""
    return left(present=names)


def strangers(out: Path, _: Path) -> None:
    """Put other people's files where a case will be."""
    for name in (".part-mine.txt", "deep/er/.part-notes", ".part-folder/x"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine", encoding="utf-8")


def said(words: str) -> Right:
    """What was exported holds no formula."""

    def judge(result: Result, _: Sound) -> bool:
        table = result.out.parent / "cells.csv"
        text = table.read_text(encoding="utf-8") if table.is_file() else "="
        return (
            result.code == 0
            and words in text
            and not any(cell.strip('"')[:1] in set("=+@") for line in text.splitlines() for cell in line.split(","))
        )

    return judge


FIELD: Final = square(60, 60, 520)
FORMULA: Final = "=cmd|' /C calc'!A0"
SURROGATE: Final = (
    '{"type":"FeatureCollection","features":['
    + json.dumps(feature(square(60, 60, 520), "IDC", name="\ud800x"))
    + "]}"
)


def raw_regions(text: str) -> Draw:
    """Write a field and this text as its region file."""

    def draw(folder: Path, sim: Path) -> None:
        tif("f.tif")(folder, sim)
        (folder / "r.geojson").write_text(text, encoding="utf-8")

    return draw


def latin1(folder: Path, sim: Path) -> None:
    """A name that is no UTF-8."""
    tif("f.tif")(folder, sim)
    shutil.copy(folder / "f.tif", os.path.join(os.fsencode(folder), b"Pr\xfcfung.tif"))  # noqa: PTH118


ONE_LINE: Final = refused(".")
RIGHT_OR_LINE: Final = (same("crop"), ONE_LINE)
# fmt: off
FILES: Final = [
    fault(13, "other people's .part-*", COUNT, both(same("crop"), kept(".part-mine.txt", "deep/er/.part-notes",
        ".part-folder/x")), "kept", foreign, prepare=strangers),
    fault(13, '--out ""', ("count", "{i}/f.tif", "--out", "", "--json", "--quiet"),
        (ONE_LINE, lambda r, _: r.code == 2 and "Traceback" not in r.stderr), "refused", foreign),
    fault(13, "--out is a file", "count {i}/f.tif --out {i}/f.tif", ONE_LINE, "refused", foreign),
    fault(13, "--out on a full disk", "count {i}/f.tif --out /dev/full/x", ONE_LINE, "refused", foreign),
    fault(14, "a name in Latin-1", ("count", "{i}/Pr\udcfcfung.tif", "--out", "{out}", "--json", "--quiet"),
        RIGHT_OR_LINE, "right or one line", latin1),
    fault(14, "a case's name in Latin-1", ("count", "{i}/f.tif", "--out", "{out}/\udcfc", "--json", "--quiet"),
        RIGHT_OR_LINE, "right or one line", foreign),
    count(14, "a lone surrogate in GeoJSON", raw_regions(SURROGATE), RIGHT_OR_REFUSED, "right or one line",
        "--regions {i}/r.geojson"),
    fault(14, "... as a class, named", ("count", "{i}/f.tif", "--regions", "{i}/r.geojson", "--label", "\udc80",
        "--out", "{out}", "--json", "--quiet"), RIGHT_OR_REFUSED, "right or one line",
        raw_regions(SURROGATE.replace('"IDC"', '"\\ud800"'))),
    fault(14, "a slide's name of 300 letters", command("count {i}/" + "x" * 300 + ".tif"), ONE_LINE, "one line",
        foreign),
    fault(14, "a case's name of 300 letters", command("count {i}/f.tif --out {out}/" + "x" * 300), ONE_LINE,
        "one line", foreign),
    fault(14, "a path of 5,000 letters", command("count {i}/" + "x/" * 2500 + "f.tif"), ONE_LINE, "one line",
        foreign),
    fault(14, "stdout closed", COUNT, lambda r,
        _: "Traceback" not in r.stderr and "Exception" not in r.stderr and (r.out / "score.json").exists(),
        "no traceback", foreign, closed=(1,)),
    count(14, "stderr closed", foreign, same("crop"), "right", closed=(2,)),
    count(14, "stderr closed, refused", foreign, lambda r, _: r.code == 1, "exit 1", file="none.tif", closed=(2,)),
    fault(14, "ASCII stdout and stderr", ("count", "{i}/f.tif", "--out", "{out}"), lambda r,
        _: r.code == 0 and "index" in r.stdout, "done", foreign, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    fault(14, "ASCII stderr, refused", ("count", "{i}/Ki67-µm.tif", "--out", "{out}"), ONE_LINE, "one line", foreign,
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    count(14, "a region called =cmd|…", with_field(lambda: collection(feature(FIELD, "IDC", id=FORMULA,
        name=FORMULA))), said("cmd"), "no formula in cells.csv", "--regions {i}/r.geojson",
        then=("export", "{out}", "{out}/../cells.csv")),
]
# fmt: on


def noisy(folder: Path, sim: Path) -> None:
    """A field of tumour under heavy noise."""
    pixels = crop(sim).astype(np.int16) + np.random.default_rng(3).integers(-60, 61, (SIDE, SIDE, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "f.png")


def small_noise(folder: Path, _: Path) -> None:
    """A small field in which every pixel has a colour of its own."""
    pixels = sound.picture().astype(np.int16) + np.random.default_rng(3).integers(-25, 26, (*sound.SIZE, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "f.png")


def manifest(text: str) -> Draw:
    """Write a field, and keep this text for the case's manifest."""

    def draw(folder: Path, sim: Path) -> None:
        tif("f.tif")(folder, sim)
        (folder / "run.json").write_text(text, encoding="utf-8")

    return draw


def started(out: Path, inputs: Path) -> None:
    """Put the manifest into the case's folder."""
    shutil.copy(inputs / "run.json", out / "run.json")


HEAD: Final = '{"format": 1, "command": "count", "inputs": '
MANIFESTS: Final = {
    "empty": "",
    "no keys": "{}",
    "a list": "[]",
    "null": "null",
    "nested": "[" * 100_000 + "]" * 100_000,
    "NUL": "\0\0\0\0",
    "only format and stages": '{"format": 1, "stages": {}}',
    "stages of nothing": HEAD + '{}, "stages": {"cells": null}}',
    "inputs a list": HEAD + '[], "stages": {}}',
    "a stage without keys": HEAD + '{"ki67": {}}, "stages": {"cells": {}}}',
    "numbers": '{"format": 1e999, "command": 5, "stages": {}}',
}
CONTINUES: Final = "continu"


def ends(code: int) -> Right:
    """The signal's exit code and one line that the same command continues."""

    def judge(result: Result, _: Sound) -> bool:
        lines = result.stderr.strip().splitlines()
        return result.code in {code, 1} and len(lines) == 1 and CONTINUES in lines[0]

    return judge


TEMPORARY: Final = 75
"""As ``ki67.errors`` has it, which older versions that are compared do not."""


def short_of_memory(result: Result, _: Sound) -> bool:
    """One line, and the exit code of what may pass with more memory."""
    return result.code == TEMPORARY and "out of memory" in result.stderr and len(result.stderr.splitlines()) == 1


# fmt: off
AFTERWARDS: Final = [
    count(15, "a noisy picture", noisy, (index(0, 100), told("."), ONE_LINE, lambda r, _: r.code == 0), "a report",
        "--mpp 0.5", file="f.png"),
    count(15, "a small noisy picture", small_noise, lambda r, _: r.code == 0, "a report", "--mpp 0.5", file="f.png"),
    *[fault(15, f"run.json: {name}", COUNT, (same("crop"), refused("run\\.json")), "right or refused", manifest(text),
        prepare=started,) for name, text in MANIFESTS.items()],
    *[fault(15, f"export, run.json: {name}", ("export", "{out}", "{out}/../cells.csv"),
        refused("run\\.json|cells|case"), "refused", manifest(text), prepare=started,) for name,
        text in MANIFESTS.items() if name in {"nested", "null", "stages of nothing", "a list"}],
    fault(15, ".lock is a folder", COUNT, ONE_LINE, "one line", foreign, prepare=lambda out,
        _: (out / ".lock").mkdir()),
    *[fault(15, f"{name}", "count {small}/ki67.tif", ends(code), "one line: it continues", signal=number) for name,
        number, code in (("SIGINT", signal.SIGINT, 130), ("SIGTERM", signal.SIGTERM, 143), ("SIGHUP", signal.SIGHUP,
        129),)],
    *[fault(15, f"{size / GB:.1f} GB of addresses", "count {small}/ki67.tif",
        (*RIGHT_OR_REFUSED, short_of_memory), "right or one line",
        memory=int(size),) for size in (1.0 * GB, 1.6 * GB, 2.4 * GB)],
    fault(16, "check of a sound pair", ("check", "{small}/he.tif", "{small}/ki67.tif"),
        both(done, lambda r, _: all(word in r.stdout.lower() for word in ("0.5", "stain", "tissue", "level"))),
        "one screen"),
    fault(16, "check of one slide with itself", ("check", "{small}/ki67.tif", "{small}/ki67.tif"), lambda r,
        _: ("same" in r.stdout.lower() or "twice" in r.stdout.lower() or "itself" in r.stdout.lower()
        or r.in_one_line), "says what score refuses"),
    fault(16, "check of no slide", ("check", "{i}/f.tif"),
        (ONE_LINE, lambda r, _: r.code in {0, 1} and "Traceback" not in r.stderr and "f.tif" in r.stdout + r.stderr),
        "says why not", lambda folder, _: (folder / "f.tif").write_bytes(b"nothing") and None),
]
# fmt: on


FAULTS: Final = [*AGAIN, *MODELS, *FILES, *AFTERWARDS]
