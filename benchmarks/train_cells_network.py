"""Train a cell network: ``python benchmarks/train_cells_network.py OUT.onnx [unet | lite]``.

``unet``, where nothing is said, is the shipped network's recipe: two hours on one core, minutes on a graphics card.
``lite`` is the one that shall travel (decision 018): an encoder that knows ImageNet, crops as other laboratories
would make them, DeepLIIF's tiles and the glioma fields too (their positive nuclei), half of each step from wroclaw.

Reads ``$KI67_DATA/ki67_cells`` (default ``../shared/data``): BCData fields 0-12 and the SHIDC fields p1_0299*,
p1_0300*, p1_0317* (which overlap, and stay together), 19 of the 24 wroclaw cases where their labelling is complete,
and draws twelve simulated sections, all of whose cells are labelled. A training that was cut short goes on where it
was.
What each source adds: ``cells_sources.py``. The shipped network has not seen the wroclaw cases, and its crops did not
look as other scanners see them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from ki67.cells.network_training import NetworkOptions
from ki67.cells.recipe import FieldSet, patient_of, train_cells
from ki67.progress import configure, message
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair

ROOT = Path(__file__).resolve().parent.parent
SHIDC_TRAIN = ("p1_0299", "p1_0300", "p1_0317")
# Cases of the wroclaw set that no shipped network learns from; a fifth of those at hand.
WROCLAW_VALIDATION = ("11792-09", "16704-03", "19051-09", "22210-10", "6645-03")
# Its points lie up to 2.5 µm from the middle of the nucleus: 4 µm for a match, as for SHIDC.
WROCLAW_MPP, WROCLAW_RADIUS_UM = 0.5, 4.0
FIRST_SIMULATED_SEED = 9001
SIMULATED_SIZE_MM = (1.8, 1.4)
SIMULATED_INDICES = (3.0, 12.0, 25.0, 40.0, 60.0, 85.0, 8.0, 18.0, 32.0, 50.0, 72.0, 5.0)
# The second half comes from other scanners: sharper, softer, with another white.
OTHER_SCANNERS_FROM = 6
BLUR_UM = (0.2, 0.45, 0.6)
WHITE_BALANCE = 0.06
GRADES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
CARD = {
    "name": "cells_network",
    "licence": "research use only",
    "intended_use": "Ki-67 positive and negative tumour nuclei in breast carcinoma: DAB, haematoxylin, bright field",
    "data": {
        "bcdata": "BCData (Huang et al., MICCAI 2020), 13 fields of 640 x 640 px; tumour cells only are labelled",
        "shidc": "SHIDC-B-Ki-67 (Negahbani et al., Sci Rep 2021), 9 overlapping fields of 1228 x 1228 px",
        "wroclaw": "19 cases of DCIS-like nests, probably of Fulawka et al., Sci Rep 2022; no licence stated",
        "simulated": "ki67 simulate, 12 sections, all cells labelled; no say in thresholds",
    },
    "limits": "Pixel sizes of the training fields are estimates (0.25 µm). SHIDC labels no stroma.",
}
ARCHITECTURES = {
    "unet": {
        "architecture": "U-Net of 0.4 M parameters at 0.5 µm/px, proximity maps of three classes at 1 µm/px",
        "command": "python benchmarks/train_cells_network.py OUT.onnx",
    },
    "lite": {
        "architecture": "U-Net of 0.5 M parameters on nine blocks of EfficientNet-Lite0 (ImageNet, Apache-2.0) at "
        "0.5 µm/px, proximity maps of three classes at 1 µm/px",
        "command": "python benchmarks/train_cells_network.py OUT.onnx lite",
    },
}
# Half of a step is of the set with most patients; of the others what they have to tell.
SHARES = (("bcdata", 1.5), ("deepliif", 0.25), ("glioma", 0.25), ("points", 4.0), ("shidc", 1.5), ("simulated", 1.0))
# Of the training that ships, and of those that only tell how the recipe does on what it has not seen.
FULL_STEPS, FOLD_STEPS, SHORT_STEPS = 2000, 400, 300


def draw_sections(folder: Path) -> None:
    """Simulate the Ki-67 sections; none of their seeds is used anywhere else but in training."""
    for place, index in enumerate(SIMULATED_INDICES):
        if (folder / f"{place:02d}" / "truth.json").exists():
            continue
        other = place >= OTHER_SCANNERS_FROM
        simulate_pair(
            folder / f"{place:02d}",
            SimulationOptions(
                seed=FIRST_SIMULATED_SEED + place,
                size_mm=SIMULATED_SIZE_MM,
                index_percent=index,
                grade=GRADES[place % 3],
                blur_um=BLUR_UM[place % 3] if other else SimulationOptions.blur_um,
                white_balance=WHITE_BALANCE if other else SimulationOptions.white_balance,
            ),
        )
        message(f"section {place + 1} of {len(SIMULATED_INDICES)} drawn")


def patient(name: str) -> str:
    """Patient of a field; SHIDC's overlapping training fields count as one."""
    return "overlapping" if name.startswith(SHIDC_TRAIN) else patient_of(name)


def data_root() -> Path:
    """Folder of the labelled sets."""
    return Path(os.environ.get("KI67_DATA", ROOT / ".." / "shared" / "data")) / "ki67_cells"


def training_sets(sections: Path) -> list[FieldSet]:
    """The sets that the network learns from; ``sections`` is the folder of the simulated ones."""
    root = data_root()
    shidc = [name for name in names_of(root / "shidc", "json") if name.startswith(SHIDC_TRAIN)]
    wroclaw = [name for name in names_of(root / "wroclaw", "csv") if name not in WROCLAW_VALIDATION]
    return [
        FieldSet("bcdata", root / "bcdata", [str(number) for number in range(13)]),
        FieldSet("shidc", root / "shidc", shidc),
        FieldSet("points", root / "wroclaw", wroclaw, WROCLAW_MPP, radius_um=WROCLAW_RADIUS_UM),
        FieldSet("simulated", sections),
    ]


def all_sets(sections: Path) -> list[FieldSet]:
    """Every labelled set, validation fields too: figures then come from cross-validation alone."""
    shidc = [name for name in names_of(data_root() / "shidc", "json") if not name.startswith(SHIDC_TRAIN)]
    return [
        *training_sets(sections),
        FieldSet("bcdata", data_root() / "bcdata", [str(number) for number in range(13, 18)]),
        FieldSet("shidc", data_root() / "shidc", shidc),
        FieldSet("points", data_root() / "wroclaw", WROCLAW_VALIDATION, WROCLAW_MPP, radius_um=WROCLAW_RADIUS_UM),
        *teaching_sets(),
    ]


def names_of(folder: Path, suffix: str) -> list[str]:
    """Names of a folder's labelled fields, by the suffix of their labels."""
    return sorted(path.stem for path in folder.glob(f"*.{suffix}"))


def teaching_sets() -> list[FieldSet]:
    """Sets that label nuclei of any kind in other organs."""
    return [FieldSet(layout, data_root() / layout) for layout in ("deepliif", "glioma")]


def travelling(steps: int) -> NetworkOptions:
    """The recipe on the pre-trained encoder, at a length."""
    return NetworkOptions(
        architecture="lite",
        steps=steps,
        crops_per_group=1,
        shares=SHARES,
        wide=True,
        learning_rate=2e-3,
        warmup_steps=30,
        other_weight=2.0,
        average_decay=0.99 if steps < FULL_STEPS else 0.998,
        save_every=25,
    )


def main(out: Path, architecture: str) -> None:
    """Draw, train, write graph and card."""
    configure(quiet=False)
    sections = out.with_suffix(".sections")
    draw_sections(sections)
    sets, options, fold_steps = training_sets(sections), NetworkOptions(), 2000
    if architecture == "lite":
        sets, options, fold_steps = all_sets(sections), travelling(FULL_STEPS), FOLD_STEPS
    described = CARD | ARCHITECTURES[architecture]
    card = train_cells(sets, out, "network", described, patient=patient, network=options, fold_steps=fold_steps)
    print(out, card["positive_threshold"], card["negative_threshold"], card["cross_validation"]["f1"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "unet")
