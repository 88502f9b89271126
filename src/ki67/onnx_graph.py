"""What an ONNX file is made of, read without the ``onnx`` package, which only trainings need.

ONNX is a protocol buffer (https://protobuf.dev/programming-guides/encoding/); the numbers of its fields are those of
``onnx.proto``. Only what decides whether a graph may be run is looked at; weights are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# fmt: off
PLAIN_OPS: Final = frozenset({
    "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant", "Conv",
    "ConvTranspose", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp", "Flatten", "Floor", "Gather", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg",
    "PRelu", "Pad", "Pow", "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize",
    "Shape", "Sigmoid", "Slice", "Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh",
    "Transpose", "Unsqueeze", "Upsample",
})
# fmt: on
"""What networks that only feed forward are made of; no loops, no branches, nothing random."""

FOREST_OPS: Final = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})

_KNOWN_OPS: Final = {"": PLAIN_OPS, "ai.onnx": PLAIN_OPS, "ai.onnx.ml": FOREST_OPS}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OP, _NODE_DOMAIN, _NODE_ATTRIBUTE = 4, 7, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_NUMBER_TYPES: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
"""Numbers of ``TensorProto.DataType`` and how such values lie in a file."""

_LOCATION_KEY = b"location"
"""What names the file of a tensor that lies elsewhere; without this word in the file there is none."""


def fault_of(content: bytes) -> str | None:
    """What speaks against running a graph, as a clause; None for nothing.

    Parameters
    ----------
    content
        Of the ``.onnx`` file.
    """
    try:
        graphs = [value for number, value in _fields(memoryview(content)) if number == _MODEL_GRAPH]
        if any(number == _MODEL_FUNCTIONS for number, _ in _fields(memoryview(content))):
            return "brings functions of its own, expected plain operators"
        if len(graphs) != 1:
            return "is no ONNX model"
        return _fault_of_graph(_message(graphs[0]), look_elsewhere=_LOCATION_KEY in content)
    except ValueError as error:
        return f"is no ONNX model ({error})"


def read_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """Weights of a graph by name, read only; those that are no real numbers, or not stored as bytes, are left out.

    Raises
    ------
    ValueError
        Where the file is damaged.
    """
    return {name: values for name, (values, _) in _weights(memoryview(content)).items()}


def replace_weights(content: bytes, changed: Mapping[str, NDArray[Any]]) -> bytes:
    """Graph with other numbers in the place of some weights; shape and type stay.

    Raises
    ------
    KeyError
        Where there is no such weight.
    ValueError
        Where the shape or type is another, or the file is damaged.
    """
    result = bytearray(content)
    places = _weights(memoryview(content))
    for name, values in changed.items():
        old, start = places[name]
        if old.shape != values.shape or old.dtype != values.dtype:
            raise ValueError(f"{name} is {old.dtype} {old.shape}, not {values.dtype} {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} would hold what is no number")
        result[start : start + old.nbytes] = values.tobytes()
    return bytes(result)


def _weights(content: memoryview) -> dict[str, tuple[NDArray[Any], int]]:
    """Weights by name, and at which byte of the file each begins."""
    start = int(np.frombuffer(content, np.uint8).ctypes.data)
    found: dict[str, tuple[NDArray[Any], int]] = {}
    graphs = [_message(value) for number, value in _fields(content) if number == _MODEL_GRAPH]
    for graph in graphs:
        for number, value in _fields(graph):
            if number != _GRAPH_INITIALIZER:
                continue
            fields = list(_fields(_message(value)))
            parts = dict(fields)
            raw, kind = parts.get(_TENSOR_RAW), _NUMBER_TYPES.get(int(parts.get(_TENSOR_TYPE, 0)))
            if not isinstance(raw, memoryview) or kind is None:
                continue
            shape = [length for field, part in fields if field == _TENSOR_DIMS for length in _lengths(part)]
            flat: NDArray[Any] = np.frombuffer(raw, dtype=kind)
            name = bytes(_message(parts.get(_TENSOR_NAME, memoryview(b"")))).decode("utf-8", "replace")
            found[name] = (flat.reshape(shape), int(flat.ctypes.data) - start)
    return found


def _lengths(data: memoryview | int) -> Iterator[int]:
    """Lengths of a tensor's axes, which lie one by one or packed."""
    if isinstance(data, int):
        yield data
        return
    place = 0
    while place < len(data):
        value, place = _varint(data, place)
        yield value


def _fault_of_graph(graph: memoryview, *, look_elsewhere: bool) -> str | None:
    for number, value in _fields(graph):
        fault = None
        if number == _GRAPH_NODE:
            fault = _fault_of_node(_message(value), look_elsewhere=look_elsewhere)
        elif look_elsewhere and number in {_GRAPH_INITIALIZER, _GRAPH_SPARSE}:
            fault = _fault_of_tensor(_message(value))
        if fault:
            return fault
    return None


def _fault_of_node(node: memoryview, *, look_elsewhere: bool) -> str | None:
    operator, domain = "", ""
    for number, value in _fields(node):
        if number == _NODE_OP:
            operator = bytes(_message(value)).decode("utf-8", "replace")
        elif number == _NODE_DOMAIN:
            domain = bytes(_message(value)).decode("utf-8", "replace")
        elif look_elsewhere and number == _NODE_ATTRIBUTE:
            for kind, tensor in _fields(_message(value)):
                if kind in {_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS} and _fault_of_tensor(_message(tensor)):
                    return _fault_of_tensor(_message(tensor))
    if operator not in _KNOWN_OPS.get(domain, ()):
        return f"holds the operator {domain + '.' if domain else ''}{operator}, expected plain layers or a forest"
    return None


def _fault_of_tensor(tensor: memoryview) -> str | None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value):
            return "keeps weights in another file, which its card's SHA-256 does not cover"
    return None


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field of a message.

    Raises
    ------
    ValueError
        Where it is damaged.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(data, place)
        elif wire in {_FIXED64, _FIXED32}:
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("damaged")
        if number == 0 or place + length > len(data):
            raise ValueError("damaged or cut off")
        yield number, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("cut off")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("damaged")
