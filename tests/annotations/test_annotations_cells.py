"""Cells as QuPath detections."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Point, Polygon, box

from ki67.annotations import read_cells, read_regions, write_cells_geojson
from ki67.errors import AnnotationError, PixelSizeError
from ki67.slides import PixelFrame


def test_cells_carry_the_class_names_qupath_counts(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"

    write_cells_geojson(path, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], ["positive", "negative", "other"], PixelFrame(0.5))

    features = json.loads(path.read_text())["features"]
    assert [one["properties"]["classification"]["name"] for one in features] == [
        "Tumor: Positive",
        "Tumor: Negative",
        "Other",
    ]
    assert {one["properties"]["objectType"] for one in features} == {"detection"}
    assert [one["geometry"]["coordinates"] for one in features] == [[2, 8], [4, 10], [6, 12]]
    read = {name: places.tolist() for name, places in read_cells(path, PixelFrame(0.5)).items()}
    assert read == {"Tumor: Positive": [[1, 4]], "Tumor: Negative": [[2, 5]], "Other": [[3, 6]]}


def test_outlines_are_written_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    outlines = [box(0, 0, 5, 5), None, Polygon()]

    write_cells_geojson(path, [2.5, 1, 1], [2.5, 1, 1], ["positive"] * 3, PixelFrame(0.25), outlines)

    kinds = [one["geometry"]["type"] for one in json.loads(path.read_text())["features"]]
    assert kinds == ["Polygon", "Point", "Point"]
    assert read_regions(path, PixelFrame(0.25))[0].geometry.equals(box(0, 0, 5, 5))


def test_colours_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"

    write_cells_geojson(path, [1], [1], ["negative"], PixelFrame(0.25), colors={"negative": (0, 0, 255)})

    assert json.loads(path.read_text())["features"][0]["properties"]["classification"]["color"] == [0, 0, 255]


def test_no_cells_are_an_empty_collection(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"

    write_cells_geojson(path, [], [], [], PixelFrame(0.25))

    assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize(
    ("x", "labels", "outlines", "what"),
    [
        ([1.0, float("nan")], ["positive", "positive"], None, "cell 2 has the impossible position"),
        ([1.0, 2.0], ["positive", "Tumor"], None, "cell 2 has the unknown label 'Tumor'"),
        ([1.0, 2.0], ["positive"], None, "differ in number at cell 2"),
        ([1.0, 2.0], ["positive"] * 3, None, "differ in number at cell 3"),
        ([1.0, 2.0], ["positive"] * 2, [None], "differ in number at cell 2"),
    ],
)
def test_a_wrong_cell_is_named_and_nothing_is_left_behind(
    tmp_path: Path, x: list[float], labels: list[str], outlines: list[None] | None, what: str
) -> None:
    with pytest.raises(AnnotationError, match=what):
        write_cells_geojson(tmp_path / "cells.geojson", x, x, labels, PixelFrame(0.25), outlines)

    assert list(tmp_path.iterdir()) == []


def test_a_pixel_size_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PixelSizeError, match="--mpp"):
        write_cells_geojson(tmp_path / "cells.geojson", [1], [1], ["positive"], PixelFrame(0.0))


def test_memory_does_not_grow_with_the_number_of_cells(tmp_path: Path) -> None:
    outline = Point(0, 0).buffer(4)

    def peak_bytes(count: int) -> int:
        def outlines() -> Iterator[Polygon]:
            for _ in range(count):
                yield outline

        xy = np.zeros(count)
        tracemalloc.start()
        write_cells_geojson(
            tmp_path / "cells.geojson", xy, xy, ("positive" for _ in range(count)), PixelFrame(0.25), outlines()
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(8000) < peak_bytes(500) + 100_000
