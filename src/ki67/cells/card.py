"""What every cell model has: a card beside its graph, and a check that the two belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime

from ki67.cells.channels import WORKING_MPP
from ki67.cells.index_deviation import LEAST_PATIENTS, IndexDeviation
from ki67.errors import ModelError
from ki67.model_files import INT8, CardFields, Runner, Signature, checked, read_fields
from ki67.vocabulary import CLASSES, TUMOUR_CLASSES, Device

CARD_SCHEMA = 2
"""Version of the card's fields; since 2 a curve takes the score of its class alone."""

REINSTALL = "Reinstall the package, or train the model again with `ki67 cells train`."


@dataclass(frozen=True, slots=True)
class CellCard:
    """What a cell model is and how its outputs are read; stored as JSON beside the graph.

    ``positive_threshold`` and ``negative_threshold``: least score of being a tumour nucleus at which a nucleus of
    that class is counted. ``curves`` turn a network's scores into probabilities, by class; a forest has none, its
    scores are shares of its trees. ``deviation`` is how far its index is off on patients it has not seen,
    None where that is not known. ``int8`` is the SHA-256 of the same network in whole numbers, None without one.
    """

    name: str
    sha256: str
    engine: str
    mpp: float
    positive_threshold: float
    negative_threshold: float
    curves: dict[int, tuple[float, float]]
    deviation: IndexDeviation | None
    details: dict[str, Any] = field(repr=False)
    int8: str | None = None


def learnt_from(card: CellCard, names: Sequence[str]) -> list[str]:
    """Warn of fields (LAYOUT/NAME) that a model has seen: what is measured on them is no validation."""
    seen = set(card.details.get("fields", ()))
    known = [name for name in names if name in seen]
    if not known:
        return []
    said = (
        f"{len(known)} of {len(names)} fields have the names of fields that the model {card.name} was trained on "
        f"({known[0]}, …): what is measured on those says nothing about other slides"
    )
    return [said]


def checked_card(graph: Path, engine: str) -> CellCard:
    """Read a model's card and check it against the graph and this program.

    Raises
    ------
    ModelError
        Where the graph or the card is missing or damaged, the two do not belong together, or the model belongs to
        another engine or another version of the program.
    """
    card = checked(graph, _read, REINSTALL)
    if card.engine != engine:
        raise ModelError(graph, f"is a {card.engine} model, not a {engine}", "Name a model of that engine.")
    return card


def _read(path: Path) -> CellCard:
    fields = read_fields(path, REINSTALL, CARD_SCHEMA)
    curves = fields.part("calibration", {})
    card = CellCard(
        name=fields.text("name"),
        sha256=fields.text("sha256"),
        engine=fields.text("engine"),
        mpp=fields.number("mpp", 0, math.inf),
        positive_threshold=fields.number("positive_threshold", 0, 1),
        negative_threshold=fields.number("negative_threshold", 0, 1),
        curves={CLASSES.index(label): _curve(curves, label) for label in TUMOUR_CLASSES if label in curves},
        deviation=_deviation(fields.part("index_deviation", {})),
        details=fields.fields,
        int8=fields.sha256_in(INT8),
    )
    # Later they are taken as they are.
    fields.texts("fields", ())
    if fields.texts("classes") != CLASSES or card.mpp != WORKING_MPP:
        raise ModelError(path, "belongs to another version: other classes or another resolution", REINSTALL)
    return card


def _deviation(fields: CardFields) -> IndexDeviation | None:
    if not fields.fields:
        return None
    return IndexDeviation(
        fields.number("bias", -math.inf, math.inf),
        fields.number("between", -1e-9, math.inf),
        fields.number("per_cell", -1e-9, math.inf),
        fields.whole("patients", LEAST_PATIENTS, 10**9),
        fields.whole("groups", 1, 10**9),
    )


def _curve(curves: CardFields, label: str) -> tuple[float, float]:
    pair = curves.fields[label]
    numbers = pair if isinstance(pair, list) and len(pair) == 2 else [None, None]
    each = CardFields(curves.path, dict(zip(("slope", "intercept"), numbers, strict=True)), REINSTALL, f"{label}.")
    return each.number("slope", -math.inf, math.inf), each.number("intercept", -math.inf, math.inf)


def run_graph(signature: Signature, graph: Path, sha256: str, device: Device = Device.cpu) -> Runner:
    """Load a graph into ONNX Runtime, on one thread, because tiles are what runs side by side.

    Raises
    ------
    ModelError
        Where the graph cannot be run, or takes or gives something else.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Memory is planned anew for each tile: planned by the shape of the input it is kept for every shape seen. Without
    # the arena every layer's maps are fresh pages, which costs a third more time and no less memory.
    options.enable_mem_pattern = False
    return Runner(graph, sha256, signature, options, device, REINSTALL)
