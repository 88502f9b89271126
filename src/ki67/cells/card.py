"""What every cell model has: classes, a card beside its graph, and a check that the two belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime

from ki67.cells.channels import WORKING_MPP
from ki67.errors import ModelError
from ki67.model_files import card_fields, checked, open_session

CARD_SCHEMA = 2
"""Version of the card's fields; since 2 a curve takes the score of its class alone."""

CLASSES = ("other", "positive", "negative")
"""Classes in the order of the models' outputs."""

OTHER, POSITIVE, NEGATIVE = range(3)

TUMOUR_CLASSES = (CLASSES[POSITIVE], CLASSES[NEGATIVE])
"""Classes that the index is made of."""

REINSTALL = "Reinstall the package, or train the model again with `ki67 cells train`."


@dataclass(frozen=True, slots=True)
class CellCard:
    """What a cell model is and how its outputs are read; stored as JSON beside the graph.

    ``positive_threshold`` and ``negative_threshold``: least score of being a tumour nucleus at which a nucleus of
    that class is counted. ``curves`` turn a network's scores into probabilities, by class; a forest has none, its
    scores are shares of its trees.
    """

    name: str
    sha256: str
    engine: str
    mpp: float
    positive_threshold: float
    negative_threshold: float
    curves: dict[int, tuple[float, float]]
    details: dict[str, Any] = field(repr=False)


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
    with card_fields(path, REINSTALL) as fields:
        card = CellCard(
            name=str(fields["name"]),
            sha256=str(fields["sha256"]),
            engine=str(fields["engine"]),
            mpp=float(fields["mpp"]),
            positive_threshold=float(fields["positive_threshold"]),
            negative_threshold=float(fields["negative_threshold"]),
            curves={
                CLASSES.index(label): (float(slope), float(intercept))
                for label, (slope, intercept) in fields.get("calibration", {}).items()
            },
            details=fields,
        )
        schema, classes = int(fields["schema"]), tuple(fields["classes"])
    if schema != CARD_SCHEMA:
        raise ModelError(path, f"has schema {schema}, this program reads {CARD_SCHEMA}", REINSTALL)
    if classes != CLASSES or card.mpp != WORKING_MPP:
        raise ModelError(path, "belongs to another version: other classes or another resolution", REINSTALL)
    return card


def run_session(graph: Path) -> onnxruntime.InferenceSession:
    """Load a graph into ONNX Runtime, on one thread, because tiles are what runs side by side.

    Raises
    ------
    ModelError
        Where the graph cannot be run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Memory is planned anew for each tile: planned by the shape of the input it is kept for every shape seen. Without
    # the arena every layer's maps are fresh pages, which costs a third more time and no less memory.
    options.enable_mem_pattern = False
    return open_session(graph, options, ["CPUExecutionProvider"], REINSTALL)
