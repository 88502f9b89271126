"""Make the cell forest that ships: ``python recipes/cells_forest.py [OUT.onnx]``.

Reads ``$KI67_DATA/ki67_cells`` (default ``../shared/data``): BCData fields 0–12 and the SHIDC fields p1_0299*,
p1_0300*, p1_0317*, and draws simulated sections, whose fibroblasts, lymphocytes and vessels are labelled too. Same
data, same versions, same graph; the thresholds of the shipped card: decision 005.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from ki67.cells.forest import SHIPPED_MODEL
from ki67.fields.labelled_fields import LabelledField, read_fields
from ki67.learning.cells.forest_training import TrainingField, TrainingOptions, measure_field, train
from ki67.progress import configure
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.vocabulary import CLASSES, Layout

ROOT = Path(__file__).resolve().parent.parent
SHIDC_TRAIN = ("p1_0299", "p1_0300", "p1_0317")
FIRST_SIMULATED_SEED = 9001
SIMULATED_SIZE_MM = (1.8, 1.4)
SIMULATED_INDICES = (3.0, 12.0, 25.0, 40.0, 60.0, 85.0)
GRADES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
CARD = {
    "name": "cells_forest",
    "architecture": "random forest on nucleus candidates of a component tree at 0.5 µm/px",
    "licence": "research use only",
    "intended_use": "Ki-67 positive and negative tumour nuclei in breast carcinoma: DAB, haematoxylin, bright field",
    "data": {
        "bcdata": "BCData (Huang et al., MICCAI 2020), 13 fields of 640 x 640 px; tumour cells only are labelled",
        "shidc": "SHIDC-B-Ki-67 (Negahbani et al., Sci Rep 2021), 9 overlapping fields of 1228 x 1228 px",
        "simulated": "ki67 simulate, 6 sections, all cells labelled; a third of the weight, no say in thresholds",
    },
    "limits": "Pixel sizes of the training fields are estimates (0.25 µm). SHIDC's folds overlap.",
    "command": "python recipes/cells_forest.py",
}


def simulated_fields(folder: Path) -> list[TrainingField]:
    """Draw and measure simulated Ki-67 sections; none of their seeds is used anywhere else."""
    fields = []
    for place, index in enumerate(SIMULATED_INDICES):
        options = SimulationOptions(
            seed=FIRST_SIMULATED_SEED + place, size_mm=SIMULATED_SIZE_MM, index_percent=index, grade=GRADES[place % 3]
        )
        simulate_pair(folder / str(place), options)
        table = pq.read_table(folder / str(place) / "ki67_cells.parquet")
        places = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()])
        labels = np.array(table["label"].to_pylist())
        points = {name: places[labels == name] for name in CLASSES}
        field = LabelledField(f"seed {options.seed}", folder / str(place) / "ki67.tif", options.mpp, points)
        fields.append(measure_field(field, Layout.simulated, field.name))
    return fields


def training_fields(data: Path) -> list[TrainingField]:
    """Measure the training fields of both sets."""
    bcdata = read_fields(data / "bcdata", "bcdata", images=[str(number) for number in range(13)])
    shidc = [field for field in read_fields(data / "shidc", "shidc") if field.name.startswith(SHIDC_TRAIN)]
    measured = [measure_field(field, "bcdata", field.name) for field in bcdata]
    return measured + [measure_field(field, "shidc", field.name[:7]) for field in shidc]


def main() -> None:
    """Train and write graph and card."""
    configure(quiet=False)
    data = Path(os.environ.get("KI67_DATA", ROOT / ".." / "shared" / "data")) / "ki67_cells"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED_MODEL
    with tempfile.TemporaryDirectory() as folder:
        fields = training_fields(data) + simulated_fields(Path(folder))
        card = train(fields, out, CARD, TrainingOptions())
    print(out, card["positive_threshold"], card["negative_threshold"], card["cross_validation"]["f1"])


if __name__ == "__main__":
    main()
