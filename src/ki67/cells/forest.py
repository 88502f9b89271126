"""The shipped nucleus classifier: a random forest as an ONNX graph, and its card.

The forest gives every nucleus candidate three probabilities: not a tumour nucleus, Ki-67 positive tumour nucleus,
Ki-67 negative tumour nucleus. It is loaded without scikit-learn, and nothing is unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ki67.cells.candidates import FEATURE_NAMES
from ki67.cells.channels import WORKING_MPP
from ki67.errors import ModelError
from ki67.files import sha256_of

SHIPPED_MODEL = Path(__file__).parent.parent / "weights" / "cells_forest.onnx"
"""The model that comes with the package."""

CARD_SCHEMA = 1
"""Version of the card's fields."""

CLASSES = ("other", "positive", "negative")
"""Classes in the order of the forest's outputs."""

OTHER, POSITIVE, NEGATIVE = range(3)

INPUT_NAME, OUTPUT_NAME = "features", "tumour_probabilities"
"""Names in the graph: float32 (N, F) in, float32 (N, 2) out, the probabilities of positive and negative."""

# Sums over the trees may come in another order in another batch; rounding hides that last bit.
_PROBABILITY_DECIMALS = 5
_BATCH = 16_384
_REINSTALL = "Reinstall the package, or train the model again with `ki67 cells train`."


@dataclass(frozen=True, slots=True)
class ForestCard:
    """What a forest is and how its probabilities are read; stored as JSON beside the graph.

    ``positive_threshold`` and ``negative_threshold``: least probability of being a tumour nucleus at which a
    candidate of that class is counted; ``overlap``: share of the sum of two radii within which two candidates are
    one nucleus.
    """

    name: str
    sha256: str
    mpp: float
    positive_threshold: float
    negative_threshold: float
    overlap: float
    details: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class ForestModel:
    """A forest ready to run; made by :func:`load_model`. Runs from several threads at once."""

    path: Path
    card: ForestCard

    @property
    def sha256(self) -> str:
        """SHA-256 of the graph, as checked against the card."""
        return self.card.sha256

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The ONNX Runtime session; one thread each, because tiles are what runs side by side."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises a class of its own for each defect of a graph
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(self.path, f"cannot be run ({reason})", _REINSTALL) from error

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (N, 3), in the order of :data:`CLASSES`, of candidates with features (N, F)."""
        found = [
            self.session.run([OUTPUT_NAME], {INPUT_NAME: features[start : start + _BATCH]})[0]
            for start in range(0, len(features), _BATCH)
        ]
        if not found:
            return np.empty((0, len(CLASSES)))
        tumour = np.round(np.concatenate(found).astype(np.float64), _PROBABILITY_DECIMALS)
        return np.column_stack([1.0 - tumour.sum(axis=1), tumour])


def load_model(path: str | Path | None = None) -> ForestModel:
    """Load a forest and check it against its card and this program's features.

    Parameters
    ----------
    path
        The ``.onnx`` file; its card has the same name with ``.json``. None takes the shipped model.

    Raises
    ------
    ModelError
        Where the graph or the card is missing or damaged, the two do not belong together, or the forest was
        trained on other features than this program measures.
    """
    graph = SHIPPED_MODEL if path is None else Path(path)
    if not graph.is_file():
        raise ModelError(graph, "is missing", _REINSTALL)
    card = _read_card(graph.with_suffix(".json"))
    found = sha256_of(graph)
    if found != card.sha256:
        raise ModelError(
            graph,
            f"does not belong to its card: SHA-256 {found[:12]}…, the card says {card.sha256[:12]}…",
            _REINSTALL,
        )
    return ForestModel(graph, card)


def _read_card(path: Path) -> ForestCard:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        card = ForestCard(
            name=str(fields["name"]),
            sha256=str(fields["sha256"]),
            mpp=float(fields["mpp"]),
            positive_threshold=float(fields["positive_threshold"]),
            negative_threshold=float(fields["negative_threshold"]),
            overlap=float(fields["overlap"]),
            details=fields,
        )
        schema, classes, features = int(fields["schema"]), tuple(fields["classes"]), tuple(fields["features"])
    except FileNotFoundError as error:
        raise ModelError(path, "is missing; a model is not used without its card", _REINSTALL) from error
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise ModelError(path, f"is not a model card ({error})", _REINSTALL) from error
    except KeyError as error:
        raise ModelError(path, f"lacks the field {error}", _REINSTALL) from error
    if schema != CARD_SCHEMA:
        raise ModelError(path, f"has schema {schema}, this program reads {CARD_SCHEMA}", _REINSTALL)
    if features != FEATURE_NAMES or classes != CLASSES or card.mpp != WORKING_MPP:
        raise ModelError(path, "belongs to another version: its features are not those measured here", _REINSTALL)
    return card
