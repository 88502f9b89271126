"""Cells as the page draws them, one by one, and the least certain."""

from __future__ import annotations

import json
import struct
from typing import Any

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_case import SIDE_UM
from starlette.testclient import TestClient

from conftest import client
from ki67.server.cell_arrays import CORRECTED, NOT_COUNTED
from ki67.server.state import State


def unpacked(content: bytes) -> dict[str, Any]:
    (count,) = struct.unpack("<I", content[:4])
    found: dict[str, Any] = {}
    at = 4
    for name, kind in (("x", "<f4"), ("y", "<f4"), ("label", "u1"), ("probability", "<f4"), ("row", "<u4")):
        size = count * np.dtype(kind).itemsize
        found[name] = np.frombuffer(content[at : at + size], kind)
        at += size
    assert at == len(content)
    return found


def test_cells_are_the_table(looked_at: State, reader: TestClient) -> None:
    table = pq.read_table(looked_at.places.root / "case" / "cells.parquet").to_pandas()
    answer = reader.get("/api/cases/case/cells")
    found = unpacked(answer.content)
    assert int(answer.headers["x-total"]) == len(table) == len(found["x"])
    assert found["row"].tolist() == list(range(len(table)))
    assert np.abs(found["x"] - table["x_um"]).max() < 0.01
    classes = np.array(answer.headers["x-classes"].split(","))
    assert (classes[found["label"] % CORRECTED] == table["label"]).all()
    assert ((found["label"] & NOT_COUNTED == 0) == table["in_region"]).all()
    assert np.allclose(found["probability"], table["probability"])


def test_cells_of_a_rectangle_and_no_more_than_asked_for(reader: TestClient) -> None:
    where = {"x0": 100, "y0": 120, "x1": 300, "y1": 200}
    answer = reader.get("/api/cases/case/cells", params=where)
    found = unpacked(answer.content)
    assert 0 < len(found["x"]) == int(answer.headers["x-total"])
    assert ((found["x"] >= 100) & (found["x"] <= 300) & (found["y"] >= 120) & (found["y"] <= 200)).all()
    few = reader.get("/api/cases/case/cells", params={**where, "limit": 10})
    assert len(unpacked(few.content)["x"]) == 10
    assert few.headers["x-total"] == answer.headers["x-total"]
    assert len(unpacked(reader.get("/api/cases/case/cells", params={"x0": 1e5, "x1": 2e5}).content)["x"]) == 0


@pytest.mark.parametrize("query", ["x0=nan", "x0=1e99", "x0=a", "limit=0", "limit=99999999", "y1=inf"])
def test_rectangles_that_are_none_are_refused(reader: TestClient, query: str) -> None:
    assert reader.get(f"/api/cases/case/cells?{query}").status_code == 422


def test_a_grid_counts_every_tumour_cell(reader: TestClient) -> None:
    head, _, body = reader.get("/api/cases/case/cells/raster?cell_um=40").content.partition(b"\n")
    told = json.loads(head)
    layers = np.frombuffer(body, "<f4").reshape(2, told["rows"], told["columns"])
    score = reader.get("/api/cases/case").json()["automatic"]
    assert layers.sum(axis=(1, 2)).tolist() == [score["positive"], score["negative"]]
    assert told["x_um"] % 40 == 0
    assert told["x_um"] + told["columns"] * 40 <= SIDE_UM


def test_one_cell_and_its_picture(reader: TestClient) -> None:
    cell = reader.get("/api/cases/case/cells/7").json()
    assert cell["row"] == 7
    assert cell["label"] == cell["automatic_label"]
    assert len(cell["outline_um"]) == 8
    assert cell["area_um2"] is not None
    crop = reader.get("/api/cases/case/cells/7/crop.png?size_um=40")
    assert imagecodecs.png_decode(crop.content).shape == (80, 80, 3)
    again = reader.get("/api/cases/case/cells/7/crop.png?size_um=40", headers={"if-none-match": crop.headers["etag"]})
    assert again.status_code == 304
    for path in ("cells/999999", "cells/999999/crop.png", "cells/-1", "cells/x", "cells/7/crop.png?size_um=1e9"):
        assert reader.get(f"/api/cases/case/{path}").status_code in {404, 422}


def test_outlines_of_the_cells_in_view(reader: TestClient) -> None:
    where = {"x0": 100, "y0": 100, "x1": 200, "y1": 200}
    cells = unpacked(reader.get("/api/cases/case/cells", params=where).content)
    content = reader.get("/api/cases/case/cells/outlines", params=where).content
    (count,) = struct.unpack("<I", content[:4])
    rows, corners = np.frombuffer(content[4 : 4 + 8 * count], "<u4").reshape(2, count)
    points = np.frombuffer(content[4 + 8 * count :], "<f4").reshape(-1, 4, 2)
    assert rows.tolist() == sorted(cells["row"].tolist())
    assert set(corners.tolist()) == {4}
    assert np.allclose(points.mean(axis=1)[:, 0], cells["x"], atol=0.01)
    nothing = {"x0": 1e5, "y0": 0, "x1": 2e5, "y1": 1}
    assert reader.get("/api/cases/case/cells/outlines", params=nothing).content == b"\0\0\0\0"


def test_the_gallery_begins_with_the_least_certain(reader: TestClient) -> None:
    found = reader.get("/api/cases/case/gallery", params={"limit": 100}).json()
    sure = [cell["probability"] for cell in found["cells"]]
    assert sure == sorted(sure)
    assert len(sure) == 100
    rest = reader.get("/api/cases/case/gallery", params={"limit": 100, "offset": found["total"] - 5}).json()
    assert len(rest["cells"]) == 5
    positive = reader.get("/api/cases/case/gallery", params={"label": "positive", "order": "probability"}).json()
    assert {cell["label"] for cell in positive["cells"]} == {"positive"}
    assert positive["total"] < found["total"]
    by_class = reader.get("/api/cases/case/gallery", params={"order": "class", "limit": 500}).json()["cells"]
    assert by_class[0]["label"] == "other"
    assert reader.get("/api/cases/case/gallery", params={"order": "size"}).status_code == 422


def test_cells_that_people_changed_are_told_as_they_are(state: State) -> None:
    script = client(state)
    version = script.get("/api/cases/case/corrections").json()["version"]
    told = {"by": "A. B.", "why": "seen"}
    row = script.get("/api/cases/case/gallery?label=negative").json()["cells"][0]["row"]
    for body in (
        {"kind": "relabel", "row": row, "to": "positive"},
        {"kind": "add", "x_um": 300.0, "y_um": 300.0, "label": "negative"},
        {"kind": "add", "x_um": 300.0, "y_um": 300.0, "label": "positive"},
        {"kind": "remove", "row": 5},
    ):
        answer = script.post("/api/cases/case/corrections", json={**told, **body, "version": version})
        assert answer.status_code == 200, answer.text
        version = answer.json()["version"]
    cells = unpacked(script.get("/api/cases/case/cells").content)
    changed = script.get(f"/api/cases/case/cells/{row}").json()
    assert (changed["label"], changed["automatic_label"]) == ("positive", "negative")
    assert script.get("/api/cases/case/cells/5").status_code == 404
    assert 5 not in cells["row"]
    added = cells["row"][-2:].tolist()
    assert cells["row"][cells["label"] & CORRECTED > 0].tolist() == [row, *added]
    assert [script.get(f"/api/cases/case/cells/{one}").json()["label"] for one in added] == ["negative", "positive"]
    assert script.get(f"/api/cases/case/cells/{added[0]}").json()["added"]
    assert script.get(f"/api/cases/case/cells/{added[0]}/crop.png").status_code == 200
