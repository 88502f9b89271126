"""Train on one's own outlines: IDC, DCIS and normal ducts, told apart on simulated slides.

    python examples/idc_three_classes.py OUT_FOLDER [--small]

simulates twelve patients' H&E slides of all grades with their outlines, samples patches, trains, maps every class on
the test slides and evaluates on their patches and outlines; every step is a command that can be typed. Patches show
192 µm and are labelled by the 48 µm in their middle: whether a nest of tumour cells is bounded by a duct is seen
around it. ``--small`` takes fewer, smaller slides and a shorter training: it shows that the way is open, not how well
it goes. Needs the extras ``train`` and ``figures``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ki67.cli import app
from ki67.evaluation.idc_regions import evaluate_region
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair

CLASSES = "Normal,DCIS,IDC"
SLIDE_MPP, MPP = 1.0, 2.0
PATCH_PX, CORE_PX = 96, 24
"""192 µm are looked at, of which 48 µm are judged: a normal duct is about that wide, one with DCIS four times."""

FIRST_SEED = 11
GRADES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)


@dataclass(frozen=True)
class Form:
    """How large the example is."""

    splits: tuple[str, ...]
    size_mm: tuple[float, float]
    per_class: int
    epochs: int
    patches_per_epoch: int


WHOLE = Form(("train",) * 7 + ("val",) * 2 + ("test",) * 3, (3.2, 2.4), 600, 4, 3200)
SMALL = Form(("train", "val", "test"), (1.5, 1.2), 30, 1, 192)


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
                folder / name,
                SimulationOptions(seed=seed, size_mm=form.size_mm, mpp=SLIDE_MPP, grade=GRADES[seed % len(GRADES)]),
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
    patches, training = out / "patches", out / "training"
    size = ("--patch-px", PATCH_PX, "--core-px", CORE_PX, "--mpp", MPP, "--stride-px", CORE_PX // 2, "--cover", 0.6)
    ki67("idc", "sample", slides, patches, "--classes", CLASSES, "--per-class", form.per_class, *size, "--quiet")
    length = ("--epochs", form.epochs, "--patches-per-epoch", form.patches_per_epoch)
    network = ("--architecture", "efficientnet_lite0", "--data", "simulated slides", "--threads", 1)
    ki67("idc", "train", patches, training, *network, *length)
    model = training / "idc_efficientnet_lite0.onnx"
    index = ("--index", patches / "index-test.csv", "--model", model, "--figures", out / "figures")
    ki67("evaluate", "idc", patches, *index, "--quiet")
    dices = []
    for number, split in enumerate(form.splits, start=FIRST_SEED):
        if split != "test":
            continue
        test, case = out / f"sim{number}", out / f"case{number}"
        ki67("idc", "predict", test / "he.tif", "--out", case, "--model", model, "--quiet")
        outlines = (test / "he.tif", case / "idc" / "regions.geojson", test / "he_regions.geojson")
        ki67("evaluate", "idc-region", *outlines, "--figure", out / "figures" / f"region{number}.png", "--quiet")
        dices.append(float(evaluate_region(*outlines)["dice"]))
    card = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    result = {"validation_auc": float(card["validation"]["auc"]), "test_dice": sum(dices) / len(dices)}
    print("\n" + ", ".join(f"{name} {value:.3f}" for name, value in result.items()))
    return result


if __name__ == "__main__":
    main()
