"""Train the shipped cell classifier again: ``python benchmarks/train_cells_forest.py [OUT.onnx]``.

Reads ``$KI67_DATA/ki67_cells`` (default ``../shared/data``): BCData fields 0–12 and the SHIDC fields p1_0299*,
p1_0300*, p1_0317*. Same data, same versions, same file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ki67.cells.forest import SHIPPED_MODEL
from ki67.cells.labelled_fields import DEFAULT_RADIUS_UM, read_fields
from ki67.cells.training import TrainingField, TrainingOptions, measure_field, train
from ki67.progress import configure

ROOT = Path(__file__).resolve().parent.parent
SHIDC_TRAIN = ("p1_0299", "p1_0300", "p1_0317")
CARD = {
    "name": "cells_forest",
    "architecture": "random forest on nucleus candidates of a component tree at 0.5 µm/px",
    "licence": "research use only",
    "intended_use": "Ki-67 positive and negative tumour nuclei in breast carcinoma: DAB, haematoxylin, bright field",
    "data": {
        "bcdata": "BCData (Huang et al., MICCAI 2020), 13 fields of 640 x 640 px; tumour cells only are labelled",
        "shidc": "SHIDC-B-Ki-67 (Negahbani et al., Sci Rep 2021), 9 overlapping fields of 1228 x 1228 px",
    },
    "limits": "Pixel sizes of the training fields are estimates (0.25 µm). SHIDC's folds overlap.",
    "command": "python benchmarks/train_cells_forest.py",
}


def training_fields(data: Path) -> list[TrainingField]:
    """Measure the training fields of both sets."""
    bcdata = read_fields(data / "bcdata", "bcdata", images=[str(number) for number in range(13)])
    shidc = [field for field in read_fields(data / "shidc", "shidc") if field.name.startswith(SHIDC_TRAIN)]
    measured = [measure_field(field, "bcdata", DEFAULT_RADIUS_UM["bcdata"]) for field in bcdata]
    return measured + [measure_field(field, "shidc", DEFAULT_RADIUS_UM["shidc"], field.name[:7]) for field in shidc]


def main() -> None:
    """Train and write graph and card."""
    configure(quiet=False)
    data = Path(os.environ.get("KI67_DATA", ROOT / ".." / "shared" / "data")) / "ki67_cells"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED_MODEL
    card = train(training_fields(data), out, CARD, TrainingOptions())
    print(out, card["positive_threshold"], card["negative_threshold"], card["cross_validation"]["f1"])


if __name__ == "__main__":
    main()
