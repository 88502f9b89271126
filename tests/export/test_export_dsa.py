"""Annotations for the Digital Slide Archive, checked against a schema of what large_image_annotation takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_case import MPP, NO_OUTLINE, cell_rows

from ki67.export import export_case

jsonschema = pytest.importorskip("jsonschema")

COLOR = {"type": "string", "pattern": r"^(#[0-9a-fA-F]{3,6}|rgb\(\d+,\s*\d+,\s*\d+\))$"}
PLACE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
SHARED: dict[str, Any] = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
    "user": {"type": "object"},
    "group": {"type": "string"},
    "label": {
        "type": "object",
        "properties": {"value": {"type": "string"}},
        "required": ["value"],
        "additionalProperties": False,
    },
    "lineColor": COLOR,
    "lineWidth": {"type": "number", "minimum": 0},
    "fillColor": COLOR,
}


def element(kind: str, needed: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**SHARED, "type": {"enum": [kind]}, **properties},
        "required": ["type", needed],
        "additionalProperties": False,
    }


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "attributes": {"type": "object"},
        "elements": {
            "type": "array",
            "items": {
                "anyOf": [
                    element("point", "center", center=PLACE),
                    element(
                        "polyline",
                        "points",
                        points={"type": "array", "items": PLACE, "minItems": 2},
                        closed={"type": "boolean"},
                    ),
                ]
            },
        },
    },
    "additionalProperties": False,
}


def test_cells_are_elements_that_the_archive_takes(case: Path) -> None:
    target = case.parent / "cells.dsa.json"

    told = export_case(case, target)

    annotation = json.loads(target.read_text(encoding="utf-8"))
    jsonschema.Draft6Validator(SCHEMA).validate(annotation)
    elements = annotation["elements"]
    ids = pq.read_table(case / "cells.parquet")["cell_id"].to_pylist()
    assert told["cells"] == len(elements) == 599
    assert annotation["description"].startswith("Ki-67 index 33.3 %, 171 positive of 514")
    assert (elements[0]["type"], elements[0]["closed"], len(elements[0]["points"])) == ("polyline", True, 8)
    assert elements[0]["group"] == elements[0]["label"]["value"] == "Tumor: Positive"
    assert elements[1]["user"] == {"cell_id": ids[1], "probability": 0.75, "area_um2": 1, "dab_od_mean": 1}
    # The viewer counts from the corner of level 0, wherever QuPath does.
    rows = cell_rows(600)
    place = [rows.x_um[NO_OUTLINE] / MPP, rows.y_um[NO_OUTLINE] / MPP, 0]
    assert (elements[NO_OUTLINE]["type"], elements[NO_OUTLINE]["center"]) == ("point", place)
