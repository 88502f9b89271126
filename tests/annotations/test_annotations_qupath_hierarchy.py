"""Files that QuPath exports with its hierarchy, and what else holds features in features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box

from ki67.annotations import UNCLASSIFIED, Regions, read_cells, read_regions
from ki67.errors import AnnotationError
from ki67.slides import PixelFrame

FRAME = PixelFrame(0.5)


def square(x: float, y: float, side: float) -> dict[str, Any]:
    corners = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [corners]}


def annotation(geometry: Any, label: str | None = None, children: Any = None, **properties: Any) -> dict[str, Any]:
    properties = {"objectType": "annotation"} | properties
    if label is not None:
        properties["classification"] = {"name": label}
    if children is not None:
        properties["childObjects"] = children
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(folder: Path, document: Any) -> Regions:
    path = folder / "regions.geojson"
    path.write_text(json.dumps(document), encoding="utf-8")
    return read_regions(path, FRAME)


IDC = annotation(square(100, 100, 200), "IDC")
OUTER = annotation(square(0, 0, 2000), children=[IDC])
ROOT = annotation(None, children=[OUTER], objectType="root")


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [OUTER]},
        ROOT,
        [ROOT],
        {"type": "FeatureCollection", "features": [ROOT]},
        {"root": ROOT},
        [[OUTER]],
        {"features": [OUTER]},
    ],
    ids=[
        "parent",
        "root",
        "list",
        "root in a collection",
        "hierarchy",
        "list in a list",
        "collection without a type",
    ],
)
def test_children_are_regions_of_their_own_and_the_root_is_none(tmp_path: Path, document: Any) -> None:
    regions = read(tmp_path, document)

    assert [region.label for region in regions] == [UNCLASSIFIED, "IDC"]
    assert regions[1].geometry.equals(box(50, 50, 150, 150))
    assert regions.notes == ()


def test_children_of_children_are_read_at_any_depth_parents_first(tmp_path: Path) -> None:
    inner = annotation(square(0, 0, 1), "0")
    for depth in range(1, 100):
        inner = annotation(square(0, 0, 1 + depth), str(depth), [inner])

    assert read(tmp_path, inner).labels == tuple(map(str, reversed(range(100))))


def test_numbers_in_messages_count_children_too(tmp_path: Path) -> None:
    broken = annotation({"type": "Polygon", "coordinates": [[[0, 0], ["1", 2], [3, 4]]]})

    with pytest.raises(AnnotationError, match="feature 3 has no number at point 2"):
        read(tmp_path, [annotation(square(0, 0, 9), children=[IDC, broken])])


def test_cells_among_the_children_are_no_regions(tmp_path: Path) -> None:
    cells = [annotation(square(10 * x, 0, 8), "Tumor: Negative", objectType="detection") for x in range(3)]

    regions = read(tmp_path, annotation(square(0, 0, 100), "Tumor", cells))

    assert regions.labels == ("Tumor",)
    assert "3 detections or cells" in regions.notes[0]
    assert len(read_cells(tmp_path / "regions.geojson", FRAME)["Tumor: Negative"]) == 3


@pytest.mark.parametrize("name", ["tmaCore", "TMACoreObject", "tma_core"])
def test_cores_of_a_tissue_micro_array_hold_regions_but_are_none(tmp_path: Path, name: str) -> None:
    core = annotation(square(0, 0, 100), children=[IDC], objectType=name)

    regions = read(tmp_path, [core, core])

    assert regions.labels == ("IDC",)
    assert regions.notes[0] == "2 cores of a tissue micro-array of regions.geojson are no regions: left out"
    with pytest.raises(AnnotationError, match="only cores of a tissue micro-array"):
        read(tmp_path, annotation(square(0, 0, 100), objectType=name))


def test_old_names_of_the_children_are_read_and_other_things_refused(tmp_path: Path) -> None:
    old = annotation(square(0, 0, 9))
    old["properties"]["children"] = [IDC]

    assert read(tmp_path, old).labels[1] == "IDC"
    assert len(read(tmp_path, annotation(square(0, 0, 9), children=[]))) == 1
    with pytest.raises(AnnotationError, match="feature 1 has childObjects that are no list but dict"):
        read(tmp_path, annotation(square(0, 0, 9), children={"a": 1}))


def test_halves_of_characters_in_names_become_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "regions.geojson"
    text = json.dumps(annotation(square(0, 0, 9), "IDC", name="NAME") | {"id": "ID"})
    path.write_text(text.replace("NAME", "\\ud800 a").replace('"ID"', '"\\udc00"').replace("IDC", "IDC\\ud801"))

    region = read_regions(path, FRAME)[0]

    assert (region.name, region.region_id, region.label) == ("\ufffd a", "\ufffd", "IDC\ufffd")
