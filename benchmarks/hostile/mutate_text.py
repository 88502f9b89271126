"""Mutators of documents: JSON and CSV by their values and cells, protobuf (ONNX) by its fields, at any depth."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from typing import Any, Final

from hostile.mutate_bytes import BYTES, INTERESTING, Rng, flip_bits, pick, set_number

JSON_VALUES: Final = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, -1e308, 1e-320, 2**31, 2**63, 2**64, 10**30, "", "\0", "\ud800",
    "NaN",
    "=cmd|' /C calc'!A0", "a" * 5000, "../../etc", "Infinity", [], [[]], {}, {"": None}, [0, 0], [[0, 0]],
    float("nan"),
    float("inf"), -float("inf"), [1e9, 1e9], {"type": "Feature"}, {"coordinates": []},
)  # fmt: skip


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Return all (holder, key) of a JSON tree."""
    found: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        keys: Any = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            stack.append(node[key])
    return found


def json_tree(data: bytes, rng: Rng) -> bytes:
    """Change values anywhere in a JSON document: replace, delete, repeat, wrap, nest, swap."""
    try:
        tree = json.loads(data)
    except ValueError:
        return flip_bits(data, rng)
    for _ in range(int(rng.geometric(0.5))):
        nodes = _nodes(tree)
        if not nodes:
            break
        numbers = [one for one in nodes if isinstance(one[0][one[1]], int | float)]
        if numbers and rng.random() < 0.4:
            _shift(*numbers[int(rng.integers(len(numbers)))], rng)
            continue
        holder, key = nodes[int(rng.integers(len(nodes)))]
        choice = int(rng.integers(8))
        if choice <= 2:
            # A copy: what is changed later must not change the list, nor come to hold itself.
            holder[key] = copy.deepcopy(pick(rng, JSON_VALUES))
        elif choice == 3:
            del holder[key]
        elif choice == 4:
            source, other = nodes[int(rng.integers(len(nodes)))]
            holder[key] = json.loads(json.dumps(source[other])) if _holds(source, other) else None
        elif choice == 5:
            holder[key] = [holder[key]] if rng.random() < 0.5 else {str(key): holder[key]}
        elif choice == 6 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            _shift(holder, key, rng)
    text = json.dumps(tree)
    if rng.random() < 0.1:
        text = _nested(text, rng)
    return text.encode()


def _holds(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _shift(holder: Any, key: Any, rng: Rng) -> None:
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    near = (value + 0.5, value + 3, value - 20, value * 2, value / 2, 0, 60, 100)
    holder[key] = pick(
        rng, near if rng.random() < 0.6 else (-value, value * 1e6, value * 1e-9, str(value), value + 2**33)
    )


def _nested(text: str, rng: Rng) -> str:
    depth = int(pick(rng, (50, 900, 100_000)))
    return pick(rng, ("[" * depth + text + "]" * depth, '{"features":' * depth + text + "}" * depth, text + text))


CELLS: Final = (
    "", " ", "nan", "inf", "-1", "1e400", "1,5", "0x10", "NULL", "\0", "=1+1", '"', "'", "é", "\ud7ff", "１２",
    "1" * 400,
    "-0", "1e-400", "../x", "/etc/passwd", "a\nb", "\u202e12", "train ", "TRAIN", "None", "true", "9" * 30,
)  # fmt: skip


def table(data: bytes, rng: Rng) -> bytes:
    """Change a CSV: cells, rows, columns, header, separator, quotes, encoding."""
    text = data.decode("utf-8", "replace")
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(int(rng.geometric(0.4))):
        number = int(rng.integers(len(rows))) if rows else 0
        if not rows or not rows[number]:
            rows.append([str(pick(rng, CELLS))])
            continue
        column = int(rng.integers(len(rows[number])))
        choice = int(rng.integers(7))
        if choice <= 2:
            rows[number][column] = str(pick(rng, CELLS))
        elif choice == 3:
            del rows[number][column]
        elif choice == 4:
            rows[number].insert(column, str(pick(rng, CELLS)))
        elif choice == 5:
            rows.insert(number, list(rows[int(rng.integers(len(rows)))]))
        else:
            del rows[number]
    separator = pick(rng, (",",) * 18 + (";", "\t"))
    ending = pick(rng, ("\n",) * 8 + ("\r\n", "\r", "\n\n"))
    text = ending.join(separator.join(_quoted(cell, rng) for cell in row) for row in rows) + ending
    encoding = pick(rng, ("utf-8",) * 20 + ("utf-8-sig", "utf-16", "latin-1", "utf-7", "cp037"))
    return text.encode(encoding, "replace")


def _quoted(cell: str, rng: Rng) -> str:
    return f'"{cell}"' if rng.random() < 0.05 else cell


def protobuf(data: bytes, rng: Rng) -> bytes:
    """Change fields of a protobuf message, at any depth, and mend the lengths around them."""
    fields = _fields(data)
    if not fields:
        return set_number(data, rng) if data else b"\x01"
    number = int(rng.integers(len(fields)))
    key, kind, value = fields[number]
    choice = rng.random()
    if kind == 2 and choice < 0.75:
        body = bytes(value)
        deeper = len(body) > 1 and bool(_fields(body)) and rng.random() < 0.85
        value = protobuf(body, rng) if deeper else _other_text(body, rng)
        fields[number] = (key, kind, value)
    elif kind == 0 and choice < 0.75:
        fields[number] = (key, kind, int(pick(rng, INTERESTING)))
    elif choice < 0.83:
        del fields[number]
    elif choice < 0.92:
        fields.insert(int(rng.integers(len(fields) + 1)), fields[int(rng.integers(len(fields)))])
    else:
        fields[number] = (int(rng.integers(1, 30)), kind, value)
    return b"".join(_packed(*one) for one in fields)


def _other_text(body: bytes, rng: Rng) -> bytes:
    if not body or rng.random() < 0.3:
        return bytes(pick(rng, (b"", b"\0", b"\xff\xfe", b"light", b"proximity", b"Conv", b"Add", b"x" * 3000)))
    return bytes(pick(rng, BYTES)(body, rng))


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    """Fields of a message: number, wire type, value; empty where the bytes are no message."""
    found: list[tuple[int, int, Any]] = []
    at = 0
    try:
        while at < len(data):
            head, at = _varint(data, at)
            key, kind = head >> 3, head & 7
            if key == 0 or key > 10_000:
                return []
            if kind == 0:
                value, at = _varint(data, at)
                found.append((key, kind, value))
            elif kind in {1, 5}:
                size = 8 if kind == 1 else 4
                found.append((key, kind, data[at : at + size]))
                at += size
            elif kind == 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    return []
                found.append((key, kind, data[at : at + size]))
                at += size
            else:
                return []
    except IndexError:
        return []
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return value, at
        if shift > 63:
            raise IndexError


def _packed(key: int, kind: int, value: Any) -> bytes:
    head = _packed_varint(key << 3 | kind)
    if kind == 0:
        return head + _packed_varint(value)
    return head + (_packed_varint(len(value)) if kind == 2 else b"") + value


def _packed_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def re_split(text: str) -> list[str]:
    """Cut a text into numbers and what lies between."""
    return re.split(r"(?<![\w.])(\d+(?:\.\d+)?)(?![\w.])", text)
