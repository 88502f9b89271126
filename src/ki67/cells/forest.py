"""The shipped nucleus classifier: a random forest as an ONNX graph, and its card.

The forest gives every nucleus candidate three probabilities: not a tumour nucleus, Ki-67 positive tumour nucleus,
Ki-67 negative tumour nucleus. It is loaded without scikit-learn, and nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ki67.cells.candidates import FEATURE_NAMES
from ki67.cells.card import REINSTALL, CellCard, checked_card, run_graph
from ki67.errors import ModelError
from ki67.model_files import CardFields, Runner, Signature, try_once
from ki67.vocabulary import CLASSES

SHIPPED_MODEL = Path(__file__).parent.parent / "weights" / "cells_forest.onnx"
"""The model that comes with the package."""

INPUT_NAME, OUTPUT_NAME = "features", "tumour_probabilities"
"""Names in the graph: float32 (N, F) in, float32 (N, 2) out, the probabilities of positive and negative."""

# Sums over the trees may come in another order in another batch; rounding hides that last bit.
_PROBABILITY_DECIMALS = 5
_BATCH = 16_384


@dataclass(frozen=True)
class ForestModel:
    """A forest ready to run; made by :func:`load_model`. Runs from several threads at once.

    ``overlap``: share of the sum of two radii within which two candidates are one nucleus.
    """

    path: Path
    card: CellCard
    overlap: float

    @cached_property
    def runner(self) -> Runner:
        """The graph in ONNX Runtime."""
        signature = Signature(INPUT_NAME, OUTPUT_NAME, "tensor(float)", (None, len(FEATURE_NAMES)), (None, 2))
        return run_graph(signature, self.path, self.card.sha256)

    def try_out(self) -> None:
        """Run it once on candidates without any feature."""
        self.runner.run_alone(np.zeros((3, len(FEATURE_NAMES)), np.float32), (3, 2))

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (N, 3), in the order of :data:`CLASSES`, of candidates with features (N, F)."""
        found = [self.runner.run(features[start : start + _BATCH]) for start in range(0, len(features), _BATCH)]
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
    card = checked_card(graph, "forest")
    fields = CardFields(graph.with_suffix(".json"), card.details, REINSTALL)
    if fields.texts("features", ()) != FEATURE_NAMES or "overlap" not in fields:
        raise ModelError(graph, "belongs to another version: its features are not those measured here", REINSTALL)
    model = ForestModel(graph, card, fields.number("overlap", 0, 2))
    try_once(("forest", card.sha256), model.try_out)
    return model
