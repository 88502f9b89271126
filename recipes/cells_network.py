"""Make the cell network that ships: ``cells_network.py OUT.onnx [base | unet [BASE.onnx] | pair [UNET.onnx]]``.

Three parts and a measurement, one after the other; what was cut short goes on where it was. First ``OUT.base.onnx``,
a U-Net from scratch on BCData, SHIDC and simulated sections: two hours on one core, minutes on a graphics card. Then
on from there with crops as other laboratories would make them, half of them wroclaw's, DeepLIIF's tiles and the
glioma fields besides, an hour on one core; ``OUT.unet.onnx`` has the mean of both networks' weights, which keeps what
the first knew (Wortsman et al., CVPR 2022). Third a network whose encoder knows ImageNet, on the same fields, an hour
and a half; ``OUT.onnx`` is both as one graph that gives their mean map. No validation field has a say in the weights;
they choose thresholds and curves. Last ``cells_network_deviation.py`` counts what it has not seen and tells the card.

``base``, ``unet`` and ``pair`` are one part alone, written to ``OUT.onnx``: ``unet`` from the network that is named
or else made first, ``pair`` beside the U-Net that is named or else the one within the network that ships.

Reads ``$KI67_DATA/ki67_cells`` (default ``../shared/data``): BCData fields 0-12 and the SHIDC fields p1_0299*,
p1_0300*, p1_0317* (which overlap, and stay together), 19 of the 24 wroclaw cases where their labelling is complete,
and draws twelve simulated sections, all of whose cells are labelled. What each source adds:
``benchmarks/cells_sources.py``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import InferenceSession

from ki67.cells.network import INPUT_NAME, SHIPPED_NETWORK, load_network, maps_of
from ki67.cells.peaks import find_peaks
from ki67.errors import ModelError
from ki67.files import atomic_path, sha256_of, write_json
from ki67.learning.cells.crops import NetworkField
from ki67.learning.cells.network_export import export_network
from ki67.learning.cells.network_start import options_like, start_from
from ki67.learning.cells.network_training import NetworkOptions, crops_of, train_network
from ki67.learning.cells.pair import PairNetwork
from ki67.learning.cells.recipe import (
    NETWORK_STEPS,
    FieldSet,
    calibrate,
    network_counts,
    patient_of,
    read_labels,
    read_pixels,
    refining,
    train_cells,
    train_in_two_steps,
)
from ki67.learning.cells.thresholds import choose_thresholds
from ki67.learning.quantisation import add_int8, fields_light
from ki67.model_files import INT8, INT8_SUFFIX
from ki67.progress import configure, message
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair

ROOT = Path(__file__).resolve().parents[1]
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
COMMAND = "python recipes/cells_network.py OUT.onnx"
UNET = {
    "architecture": "U-Net of 0.4 M parameters at 0.5 µm/px, proximity maps of three classes at 1 µm/px",
    "command": f"{COMMAND} unet",
}
PAIR = {
    "architecture": "Mean map of a U-Net of 0.4 M parameters and one of 0.5 M on nine blocks of EfficientNet-Lite0 "
    "(ImageNet, Apache-2.0) at 0.5 µm/px, proximity maps of three classes at 1 µm/px",
    "command": COMMAND,
}
# Half of a step is of the set with most patients; of the others what they have to tell.
SHARES = (("bcdata", 1.5), ("deepliif", 0.25), ("glioma", 0.25), ("points", 4.0), ("shidc", 1.5), ("simulated", 1.0))
# Of the part that goes on from a network, and the share of what it ends at in the weights that are written.
ONWARD_STEPS, ONWARD_RATE, ONWARD_DECAY, ONWARD_SHARE = 1800, 1.5e-3, 0.99, 0.5
ONWARD_DATA = {
    "deepliif": "DeepLIIF's Ki-67 tiles and glioma fields of other organs: nuclei of any kind, for the positive map"
}
# Of the network whose encoder knows ImageNet, of shorter trainings that tell how a recipe does on what it has not
# seen, and of the first part's in its cross-validation.
FULL_STEPS, SHORT_STEPS, FROM_SCRATCH_FOLD_STEPS = 2000, 300, 2000


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


def validation_sets() -> list[FieldSet]:
    """BCData 13–17, SHIDC without the overlapping training fields, and five cases of the wroclaw set."""
    root = data_root()
    shidc = [name for name in names_of(root / "shidc", "json") if not name.startswith(SHIDC_TRAIN)]
    return [
        FieldSet("bcdata", root / "bcdata", [str(number) for number in range(13, 18)]),
        FieldSet("shidc", root / "shidc", shidc),
        FieldSet("points", root / "wroclaw", list(WROCLAW_VALIDATION), WROCLAW_MPP, radius_um=WROCLAW_RADIUS_UM),
    ]


def names_of(folder: Path, suffix: str) -> list[str]:
    """Names of a folder's labelled fields, by the suffix of their labels."""
    return sorted(path.stem for path in folder.glob(f"*.{suffix}"))


def teaching_sets() -> list[FieldSet]:
    """Sets that label nuclei of any kind in other organs."""
    return [FieldSet(layout, data_root() / layout) for layout in ("deepliif", "glioma")]


def travelling(steps: int) -> NetworkOptions:
    """How the network whose encoder knows ImageNet is trained, at a length."""
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


def onward_options() -> NetworkOptions:
    """How the second part is trained."""
    return replace(
        travelling(ONWARD_STEPS), architecture="unet", learning_rate=ONWARD_RATE, average_decay=ONWARD_DECAY
    )


def go_on(start: Path, out: Path, fields: Sequence[NetworkField]) -> None:
    """Go on from a U-Net on some fields and write the mean of both."""
    origin = load_network(start).card
    options = onward_options()
    crops = crops_of(fields, options)
    begun = start_from(start, crops, options)
    folder = out.with_suffix(".training")
    first = train_network(crops, folder / "first", options, begun, origin.sha256)
    network = train_network(crops, folder / "refined", refining(options), first, origin.sha256)
    with tempfile.TemporaryDirectory() as scratch:
        trained = Path(scratch) / "trained.onnx"
        card = export_network(network, trained, {})
        mean = mean_of_weights(start, trained, ONWARD_SHARE)
    with atomic_path(out) as temporary:
        onnx.save(mean, str(temporary))
    described = {
        **UNET,
        "options": asdict(options),
        "start": {"sha256": origin.sha256, "share": 1 - ONWARD_SHARE, "options": origin.details["options"]},
    }
    write_judged(out, card | described, [*origin.details["fields"], *names_in(fields)], fields)


def pair_with_lite(unet: Path | None, out: Path, fields: Sequence[NetworkField]) -> None:
    """Train the network whose encoder knows ImageNet, and write it and a U-Net with their mean map.

    ``unet`` None takes the U-Net within the network that ships.
    """
    options = travelling(FULL_STEPS)
    crops = crops_of(fields, options)
    half = load_network(unet).card
    known = options_like(SHIPPED_NETWORK if unet is None else unet, onward_options())
    network = PairNetwork(known.widths)
    network.lite.load_state_dict(train_in_two_steps(crops, out.with_suffix(".training"), options).state_dict())
    begun = start_from(unet, crops, known)
    network.unet.load_state_dict((begun.unet if isinstance(begun, PairNetwork) else begun).state_dict())
    told = {"sha256": half.sha256, **{name: half.details.get(name) for name in ("options", "start")}}
    origin = half.details.get("parts", {}).get("unet", told)
    card = export_network(network, out, {})
    described = {
        **PAIR,
        "options": asdict(replace(known, architecture="pair")),
        "parts": {
            "unet": origin,
            "lite": {"options": asdict(options), "refining": asdict(refining(options))},
        },
    }
    write_judged(out, card | described, [*half.details["fields"], *names_in(fields)], fields)


def names_in(fields: Sequence[NetworkField]) -> list[str]:
    """Names of fields as cards give them."""
    return [f"{field.group}/{field.field.name}" for field in fields]


def write_judged(out: Path, card: dict[str, Any], learnt: Sequence[str], fields: Sequence[NetworkField]) -> None:
    """Write a network's card and its graph in whole numbers, with thresholds and curves of what runs."""
    write_json(out.with_suffix(".json"), card)
    card = add_int8(out, fields_light(field.light for field in fields))
    runs = out.with_suffix(INT8_SUFFIX) if INT8 in card else out
    session = InferenceSession(str(runs), providers=["CPUExecutionProvider"])

    def run(light: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {INPUT_NAME: light})[0])

    judged = read_pixels(read_labels(validation_sets(), patient))
    peaks = [find_peaks(maps_of(field.light, run)) for field in judged]
    thresholds, figures = choose_thresholds(
        lambda label, threshold: network_counts(judged, peaks, label, threshold), NETWORK_STEPS
    )
    told = {
        "data": CARD["data"] | ONWARD_DATA,
        "positive_threshold": thresholds[0],
        "negative_threshold": thresholds[1],
        "calibration": calibrate(judged, peaks),
        "thresholds_on_validation_fields": figures,
        "fields": list(dict.fromkeys(learnt)),
        "sha256": sha256_of(out),
    }
    write_json(out.with_suffix(".json"), CARD | card | told)


def mean_of_weights(start: Path, trained: Path, share: float) -> onnx.ModelProto:
    """A graph whose convolutions are a mean of those of two; ``share`` is the second's."""
    first, second = onnx.load(str(start)), onnx.load(str(trained))
    known = {tensor.name: tensor for tensor in first.graph.initializer}
    own = {tensor.name: tensor for tensor in second.graph.initializer}
    pairs = zip(
        *([node for node in one.graph.node if node.op_type == "Conv"] for one in (first, second)), strict=True
    )
    for before, after in pairs:
        for a, b in zip(before.input[1:], after.input[1:], strict=True):
            mean = (1 - share) * numpy_helper.to_array(known[a]) + share * numpy_helper.to_array(own[b])
            own[b].CopyFrom(numpy_helper.from_array(mean.astype(np.float32), b))
    return second


def is_made(out: Path) -> bool:
    """Whether a part was finished: its card, which is written last, belongs to its graph."""
    try:
        load_network(out)
    except ModelError:
        return False
    return True


def begin_from_scratch(sections: Path, out: Path) -> None:
    """Train the first part, unless it is there."""
    if is_made(out):
        return
    train_cells(
        training_sets(sections),
        out,
        "network",
        CARD | UNET | {"command": f"{COMMAND} base"},
        patient=patient,
        network=NetworkOptions(),
        fold_steps=FROM_SCRATCH_FOLD_STEPS,
    )


def main(out: Path, way: str | None = None, start: str | Path | None = None) -> None:
    """Draw, train, write graph and card; without a word all that makes the shipped network."""
    if way not in (None, "base", "unet", "pair") or (start is not None and way not in ("unet", "pair")):
        raise SystemExit(__doc__)
    configure(quiet=False)
    sections = out.with_suffix(".sections")
    draw_sections(sections)
    if way == "base":
        begin_from_scratch(sections, out)
        return
    begun = None if start is None else Path(start)
    if way != "pair" and begun is None:
        begun = out.with_suffix(".base.onnx")
        begin_from_scratch(sections, begun)
    fields = read_pixels(read_labels([*training_sets(sections), *teaching_sets()], patient))
    if way is None:
        unet = out.with_suffix(".unet.onnx")
        if not is_made(unet):
            go_on(begun, unet, fields)
        begun = unet
    if way == "unet":
        go_on(begun, out, fields)
    else:
        pair_with_lite(begun, out, fields)
    import cells_network_deviation

    cells_network_deviation.main(out, write=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
