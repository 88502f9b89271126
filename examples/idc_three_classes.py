"""Train on one's own outlines: IDC, DCIS and normal ducts, told apart on simulated slides.

    python examples/idc_three_classes.py OUT_FOLDER [--small]

simulates six patients' H&E slides with their outlines, samples patches, trains, maps IDC on the test slide and
evaluates on its patches and its outline; every step is a command that can be typed. ``--small`` takes smaller slides
and a shorter training: it shows that the way is open, not how well it goes. Needs the extras ``train``
and ``figures``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ki67.cli import app
from ki67.evaluation.idc_regions import evaluate_region
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair

CLASSES = "Normal,DCIS,IDC"
MPP = 1.0
PATCH_PX = 48
"""48 µm: a normal duct is about that wide, and a patch of DCIS or IDC shows some twenty nuclei."""

FIRST_SEED = 11


@dataclass(frozen=True)
class Form:
    """How large the example is."""

    splits: tuple[str, ...]
    size_mm: tuple[float, float]
    per_class: int
    epochs: int
    patches_per_epoch: int


WHOLE = Form(("train", "train", "train", "train", "val", "test"), (2.8, 2.2), 600, 10, 3200)
SMALL = Form(("train", "val", "test"), (1.5, 1.2), 60, 4, 320)


def ki67(*words: object) -> None:
    """Show a command and run it."""
    arguments = [str(word) for word in words]
    print("\n$ ki67 " + shlex.join(arguments), flush=True)
    app(arguments, standalone_mode=False)


def simulate(folder: Path, form: Form) -> Path:
    """Draw the slides and write the list of them."""
    lines = []
    for seed, split in enumerate(form.splits, start=FIRST_SEED):
        name = f"sim{seed}"
        if not (folder / name / "truth.json").exists():
            simulate_pair(
                folder / name, SimulationOptions(seed=seed, size_mm=form.size_mm, mpp=MPP, lymphocytes=False)
            )
        lines.append((name, f"{name}/he.tif", f"{name}/he_regions.geojson", split))
    path = folder / "slides.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("patient", "slide", "regions", "split"))
        writer.writerows(lines)
    return path


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Run the whole way and return what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args(arguments)
    form, out = (SMALL if chosen.small else WHOLE), chosen.out
    slides = simulate(out, form)
    patches, training, case = out / "patches", out / "training", out / "case"
    size = ("--patch-px", PATCH_PX, "--mpp", MPP, "--stride-px", PATCH_PX // 4, "--cover", 0.6)
    ki67("idc", "sample", slides, patches, "--classes", CLASSES, "--per-class", form.per_class, *size, "--quiet")
    length = ("--epochs", form.epochs, "--patches-per-epoch", form.patches_per_epoch, "--width", 0.25)
    ki67("idc", "train", patches, training, *length, "--data", "simulated slides", "--threads", 1)
    model = training / "idc_inception_v1.onnx"
    test = out / f"sim{FIRST_SEED + len(form.splits) - 1}"
    ki67("idc", "predict", test / "he.tif", "--out", case, "--model", model, "--quiet")
    index = ("--index", patches / "index-test.csv", "--model", model, "--figures", out / "figures")
    ki67("evaluate", "idc", patches, *index, "--quiet")
    outlines = (test / "he.tif", case / "idc" / "regions.geojson", test / "he_regions.geojson")
    ki67("evaluate", "idc-region", *outlines, "--figure", out / "figures" / "region.png", "--quiet")
    card = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    result = {
        "validation_auc": float(card["validation"]["auc"]),
        "test_dice": float(evaluate_region(*outlines)["dice"]),
    }
    print("\n" + ", ".join(f"{name} {value:.3f}" for name, value in result.items()))
    return result


if __name__ == "__main__":
    main()
