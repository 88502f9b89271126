"""From a forest grown by scikit-learn to the ONNX graph that is shipped.

Written by hand rather than by a converter: leaving out what is zero or can be computed (a leaf's share of "other" is
one minus the rest) makes the file half as large, and it loads without scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ki67.cells.candidates import FEATURE_NAMES
from ki67.cells.forest import INPUT_NAME, OUTPUT_NAME
from ki67.vocabulary import NEGATIVE, POSITIVE

# Read by every ONNX Runtime from 1.13 on.
_OPSETS = (("", 17), ("ai.onnx.ml", 3))
_IR_VERSION = 8
_TARGETS = (POSITIVE, NEGATIVE)


def as_onnx(forest: Any) -> bytes:
    """Graph of a fitted ``RandomForestClassifier`` with the classes 0, 1, 2 (other, positive, negative).

    Input float32 (N, F); output float32 (N, 2), the probabilities of positive and negative.
    """
    attributes = _attributes([estimator.tree_ for estimator in forest.estimators_])
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT_NAME],
        [OUTPUT_NAME],
        domain="ai.onnx.ml",
        n_targets=len(_TARGETS),
        aggregate_function="AVERAGE",
        post_transform="NONE",
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "cells_forest",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [None, len(FEATURE_NAMES)])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [None, len(_TARGETS)])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in _OPSETS])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _attributes(trees: list[Any]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {
        "nodes_treeids": [], "nodes_nodeids": [], "nodes_featureids": [], "nodes_values": [], "nodes_modes": [],
        "nodes_truenodeids": [], "nodes_falsenodeids": [],
        "target_treeids": [], "target_nodeids": [], "target_ids": [], "target_weights": [],
    }  # fmt: skip
    for number, tree in enumerate(trees):
        leaf = tree.children_left < 0
        found["nodes_treeids"] += [number] * tree.node_count
        found["nodes_nodeids"] += range(tree.node_count)
        found["nodes_featureids"] += np.where(leaf, 0, tree.feature).tolist()
        found["nodes_values"] += np.where(leaf, 0.0, _not_above(tree.threshold)).tolist()
        found["nodes_modes"] += ["LEAF" if end else "BRANCH_LEQ" for end in leaf.tolist()]
        found["nodes_truenodeids"] += np.where(leaf, 0, tree.children_left).tolist()
        found["nodes_falsenodeids"] += np.where(leaf, 0, tree.children_right).tolist()
        shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
        for index in np.flatnonzero(leaf).tolist():
            for target, column in enumerate(_TARGETS):
                # A leaf with no share at all still needs one entry.
                if shares[index, column] > 0 or (target == 0 and shares[index, list(_TARGETS)].sum() == 0):
                    found["target_treeids"].append(number)
                    found["target_nodeids"].append(index)
                    found["target_ids"].append(target)
                    found["target_weights"].append(float(shares[index, column]))
    return dict(found)


def _not_above(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to single precision, never up: float32 features then take the same branch as in scikit-learn."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)
