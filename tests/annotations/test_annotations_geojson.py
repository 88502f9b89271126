"""QuPath GeoJSON: what is read, what is repaired, what is refused, and round trips."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import MultiPolygon, Point, Polygon, box

from ki67.annotations import UNCLASSIFIED, Region, Regions, qupath_objects, read_cells, read_regions, write_regions
from ki67.errors import AnnotationError, PixelSizeError
from ki67.slides import PixelFrame

SQUARE = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]
BOW_TIE = [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]
MPP = 0.25
DATA = Path(os.environ.get("KI67_DATA", "../shared/data")) / "annotations"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real region files are absent (set KI67_DATA)")


def feature(coordinates: Any = SQUARE, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def written(folder: Path, document: Any) -> Path:
    path = folder / "regions.geojson"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def read(folder: Path, document: Any, mpp: float = MPP) -> Regions:
    return read_regions(written(folder, document), PixelFrame(mpp))


def test_pixels_of_level_0_become_micrometres(tmp_path: Path) -> None:
    regions = read(tmp_path, collection(feature(classification={"name": "IDC", "color": [255, 0, 0]}, name="left")))

    assert regions[0].geometry.equals(box(0, 0, 2.5, 2.5))
    assert (regions[0].label, regions[0].name, regions[0].color) == ("IDC", "left", (255, 0, 0))
    assert regions.source == tmp_path / "regions.geojson"


@pytest.mark.parametrize(
    "document",
    [
        collection(feature()),
        feature(),
        [feature()],
        [collection(feature())],
        {"type": "Polygon", "coordinates": SQUARE},
        [{"type": "Polygon", "coordinates": SQUARE}],
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": SQUARE}]},
    ],
    ids=["FeatureCollection", "Feature", "list", "list of collections", "bare", "list of bare", "GeometryCollection"],
)
def test_every_wrapping_that_qupath_writes_is_read(tmp_path: Path, document: Any) -> None:
    regions = read(tmp_path, document)

    assert len(regions) == 1
    assert regions[0].geometry.equals(box(0, 0, 2.5, 2.5))
    assert regions[0].label == UNCLASSIFIED


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "regions.geojson"
    path.write_text(json.dumps(feature(name="Tumör")), encoding=encoding)

    assert read_regions(path, PixelFrame(MPP))[0].name == "Tumör"


def test_a_file_packed_with_gzip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "regions.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps(feature()).encode()))

    assert len(read_regions(path, PixelFrame(MPP))) == 1
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AnnotationError, match="is damaged"):
        read_regions(path, PixelFrame(MPP))


def test_a_file_larger_than_memory_allows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qupath_objects, "MAX_BYTES", 2**20)
    path = tmp_path / "regions.geojson.gz"
    path.write_bytes(gzip.compress(b" " * 2**21))

    with pytest.raises(AnnotationError, match="holds more than 1 MB of text"):
        read_regions(path, PixelFrame(MPP))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "regions.geojson")

    with pytest.raises(AnnotationError, match="no regular file"):
        read_regions(tmp_path / "regions.geojson", PixelFrame(MPP))


@pytest.mark.parametrize(
    ("properties", "color"),
    [
        ({"classification": {"name": "IDC", "colorRGB": -65536}}, (255, 0, 0)),
        ({"classification": {"name": "IDC", "color": -16711936}}, (0, 255, 0)),
        ({"classification": {"name": "IDC", "color": [1, 2, 3]}}, (1, 2, 3)),
        ({"classification": {"name": "IDC"}, "color": [4, 5, 6]}, (4, 5, 6)),
        ({"classification": {"name": "IDC", "color": "red"}}, None),
        ({"classification": {"name": "IDC", "color": [1, 2, 300]}}, None),
    ],
)
def test_colours_of_old_and_new_qupath_are_read(tmp_path: Path, properties: Any, color: Any) -> None:
    assert read(tmp_path, feature(**properties))[0].color == color


@pytest.mark.parametrize(
    ("classification", "label"),
    [
        ({"name": "Tumor: Positive"}, "Tumor: Positive"),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ("DCIS", "DCIS"),
        ({"name": " "}, UNCLASSIFIED),
        ({}, UNCLASSIFIED),
        (None, UNCLASSIFIED),
    ],
)
def test_class_names_of_old_and_new_qupath_are_read(tmp_path: Path, classification: Any, label: str) -> None:
    assert read(tmp_path, feature(classification=classification))[0].label == label


def test_a_qupath_0_2_file_says_the_type_in_the_id(tmp_path: Path) -> None:
    annotation = feature() | {"id": "PathAnnotationObject"}
    cell = feature() | {"id": "PathCellObject"}

    regions = read(tmp_path, [annotation, annotation, cell])

    assert [region.region_id for region in regions] == ["region-1", "region-2"]
    assert "1 detections or cells" in regions.notes[0]


def test_cells_beside_annotations_are_left_out_and_alone_are_regions(tmp_path: Path) -> None:
    cell = feature(objectType="detection")

    mixed = read(tmp_path, collection(feature(objectType="annotation"), cell, cell))
    alone = read(tmp_path, collection(cell, cell))

    assert (len(mixed), len(alone)) == (1, 2)
    assert "2 detections or cells" in mixed.notes[0]
    assert "taken as regions" in alone.notes[0]


def test_repeated_ids_are_told_apart(tmp_path: Path) -> None:
    same = feature() | {"id": "a"}

    regions = read(tmp_path, [same, same, feature() | {"id": "region-2"}, feature() | {"id": 7}])

    assert len({region.region_id for region in regions}) == 4


def test_open_rings_are_closed_and_heights_dropped(tmp_path: Path) -> None:
    regions = read(tmp_path, feature([[[0, 0, 5], [10, 0, 5], [10, 10, 5], [0, 10, 5]]]))

    assert regions[0].geometry.equals(box(0, 0, 2.5, 2.5))
    assert not regions[0].geometry.has_z


def test_a_bow_tie_is_repaired_and_said_so(tmp_path: Path) -> None:
    regions = read(tmp_path, collection(feature(), feature(BOW_TIE)))

    assert regions[1].geometry.is_valid
    assert regions[1].geometry.area == pytest.approx(50 * MPP**2)
    assert regions.notes[0].startswith("feature 2 of regions.geojson: self-intersection, repaired")


@pytest.mark.parametrize(
    ("loop", "told"), [(20, "(area +4.1 %)"), (100, "(what all its loops enclose is taken: 15,000 px²)")]
)
def test_a_loop_that_took_area_away_is_not_told_as_an_increase(tmp_path: Path, loop: int, told: str) -> None:
    outline = [[0, 0], [100, 0], [100, 100 + loop], [100 + loop, 100], [0, 100], [0, 0]]

    regions = read(tmp_path, feature([outline]))

    assert regions[0].geometry.area == pytest.approx((100**2 + loop**2 / 2) * MPP**2)
    assert regions.notes[0].endswith(f"repaired {told}")


def test_a_hole_that_crosses_the_outline_stays_a_hole(tmp_path: Path) -> None:
    hole = [[5, 5], [15, 5], [15, 8], [5, 8], [5, 5]]

    regions = read(tmp_path, feature([*SQUARE, hole]))

    assert regions[0].geometry.area == pytest.approx((100 - 15) * MPP**2)


def test_overlapping_parts_of_a_multipolygon_count_once(tmp_path: Path) -> None:
    shifted = [[[5, 0], [15, 0], [15, 10], [5, 10], [5, 0]]]

    regions = read(tmp_path, feature([SQUARE, shifted], "MultiPolygon"))

    assert regions[0].geometry.area == pytest.approx(150 * MPP**2)
    assert "merged" in regions.notes[0]


def test_parts_of_a_multipolygon_without_an_area_are_left_out_and_said_so(tmp_path: Path) -> None:
    regions = read(tmp_path, feature([SQUARE, [[[0, 0], [5, 5], [0, 0]]]], "MultiPolygon"))

    assert regions[0].geometry.equals(box(0, 0, 2.5, 2.5))
    assert regions.notes[0].endswith("in the outline of the part 2, found 2: left out")


@pytest.mark.parametrize(
    ("hole", "said"),
    [
        ([[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]], "a hole outside its outline: left out"),
        ([[10, 0], [20, 0], [20, 10], [10, 10], [10, 0]], "a hole outside its outline: left out"),
        ([[1, 1], [2, 2]], "hole 1 of the geometry has no area: left out"),
        ([[1, 1], [2, 2], [3, 3], [1, 1]], "a hole without an area: left out"),
    ],
)
def test_a_hole_that_takes_nothing_away_never_becomes_tissue(tmp_path: Path, hole: Any, said: str) -> None:
    regions = read(tmp_path, feature([*SQUARE, hole]))

    assert regions[0].geometry.area == pytest.approx(100 * MPP**2)
    assert any(said in note for note in regions.notes)


def test_holes_inside_one_another_take_away_what_the_outer_one_holds(tmp_path: Path) -> None:
    holes = [[[step, step], [40 - step, step], [40 - step, 40 - step], [step, 40 - step]] for step in range(1, 19)]

    regions = read(tmp_path, feature([[[0, 0], [40, 0], [40, 40], [0, 40]], *holes]))

    assert regions[0].geometry.area == pytest.approx((40**2 - 38**2) * MPP**2)


DEGENERATE: list[tuple[Any, str]] = [
    (feature([[[0, 0], [1, 1], [0, 0]]]), "feature 2 needs three different points in the outline"),
    (feature([[[0, 0], [1, 1], [2, 2], [0, 0]]]), "feature 2 has no area"),
    (feature([[[5, 5], [5, 5], [5, 5], [5, 5]]]), "feature 2 needs three different points"),
    (feature([]), "feature 2 holds no area"),
    (feature([], "MultiPolygon"), "feature 2 holds no area"),
    (feature([*SQUARE, SQUARE[0]]), "feature 2 has no area: its holes take all of it away"),
    ({"type": "Feature", "geometry": None, "properties": {}}, "feature 2 has no geometry"),
    ({"type": "Feature", "properties": {}}, "feature 2 has no geometry"),
]


@pytest.mark.parametrize(("degenerate", "said"), DEGENERATE)
def test_a_feature_without_an_area_is_left_out_and_said_so(tmp_path: Path, degenerate: Any, said: str) -> None:
    regions = read(tmp_path, collection(feature(), degenerate, feature()))

    assert len(regions) == 2
    assert len(regions.notes) == 1
    assert regions.notes[0].startswith(f"regions.geojson: {said}")
    assert regions.notes[0].endswith(": left out")


@pytest.mark.parametrize(("degenerate", "said"), DEGENERATE)
def test_a_file_with_nothing_else_is_refused_with_the_reasons(tmp_path: Path, degenerate: Any, said: str) -> None:
    with pytest.raises(AnnotationError, match=f"no region with an area: {said.replace('2', '1', 1)}"):
        read(tmp_path, collection(degenerate))


def test_of_many_features_without_an_area_the_first_ones_are_named(tmp_path: Path) -> None:
    regions = read(tmp_path, collection(feature(), *[feature([])] * 10))

    assert regions.notes[0].endswith("feature 4 holds no area; and 7 more features: left out")


def scribble(corners: int, seed: int = 0) -> list[Any]:
    return [np.random.default_rng(seed).uniform(0, 4000, (corners, 2)).round(2).tolist()]


def test_a_scribble_is_sorted_out_and_read_back_as_it_was_written(tmp_path: Path) -> None:
    regions = read(tmp_path, feature(scribble(150)))

    write_regions(tmp_path / "back.geojson", regions, PixelFrame(MPP))
    back = read_regions(tmp_path / "back.geojson", PixelFrame(MPP))

    assert back.notes == ()
    assert back[0].geometry.area == pytest.approx(regions[0].geometry.area, rel=1e-6)


def test_a_scribble_without_end_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"feature 1 has more than 50,000 crossings of the outline.*scribble"):
        read(tmp_path, feature(scribble(2000)))
    with pytest.raises(AnnotationError, match="scribble"):
        read(tmp_path, feature([[[0, 0], [4000, 1]] * 500 + [[9, 9]]]))


def test_a_region_that_vanishes_in_the_file_is_not_written(tmp_path: Path) -> None:
    speck = MultiPolygon([box(0, 0, 1, 1), box(5, 5, 5 + 1e-6, 5 + 1e-6)])
    regions = Regions([Region("IDC", speck, "a"), Region("IDC", box(9, 9, 9 + 1e-6, 9 + 1e-6), "b")])

    write_regions(tmp_path / "out.geojson", regions, PixelFrame(MPP))
    back = read_regions(tmp_path / "out.geojson", PixelFrame(MPP))

    assert [(region.region_id, region.geometry.area) for region in back] == [("a", pytest.approx(1.0))]
    assert back.notes == ()


def test_points_and_lines_beside_areas_are_left_out_with_a_note(tmp_path: Path) -> None:
    document = collection(feature(), feature([1, 2], "Point"), feature([[1, 2], [3, 4]], "LineString"))

    regions = read(tmp_path, document)

    assert len(regions) == 1
    assert "2 features of regions.geojson are points or lines" in regions.notes[0]


def test_a_file_of_points_alone_is_refused_as_regions_and_read_as_cells(tmp_path: Path) -> None:
    path = written(tmp_path, feature([[4, 8], [12, 16]], "MultiPoint", classification={"name": "Neoplastic"}))

    with pytest.raises(AnnotationError, match="holds no areas, only points or lines"):
        read_regions(path, PixelFrame(MPP))
    assert {name: places.tolist() for name, places in read_cells(path, PixelFrame(MPP)).items()} == {
        "Neoplastic": [[1, 2], [3, 4]]
    }


def square(x: float, y: float, width: float) -> list[Any]:
    return [[[x, y], [x + width, y], [x + width, y + width], [x, y + width], [x, y]]]


def cells(folder: Path, *features: Any) -> list[list[float]]:
    found = read_cells(written(folder, collection(*features)), PixelFrame(MPP))
    return [place for places in found.values() for place in places.tolist()]


def test_points_are_cells_in_collections_too_and_lines_are_passed_over(tmp_path: Path) -> None:
    nested = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [4, 4]}]}
    line = feature([[1, 2], [3, 4]], "LineString")

    assert cells(tmp_path, feature([8, 4], "Point"), nested, line) == [[2, 1], [1, 1]]


@pytest.mark.parametrize("of_region", [{}, {"classification": {"name": "Tumor"}}], ids=["unclassified", "tumour"])
def test_beside_detections_and_points_areas_are_regions(tmp_path: Path, of_region: dict[str, Any]) -> None:
    region = feature(square(0, 0, 400), objectType="annotation", **of_region)
    outlined = feature(square(0, 0, 20), objectType="annotation", **of_region)
    detections = [feature(square(x, 0, 8), objectType="detection") for x in (0, 20)]
    point = feature([40, 4], "Point", objectType="annotation")

    assert cells(tmp_path, region, *detections, outlined, point) == [[1, 1], [6, 1], [10, 1]]


def test_an_outline_by_hand_is_a_cell_up_to_the_size_of_a_nucleus(tmp_path: Path) -> None:
    nucleus, region = (feature(square(0, 0, width), objectType="annotation") for width in (80, 81))

    assert cells(tmp_path, nucleus, region, feature([8, 4], "Point")) == [[10, 10], [2, 1]]
    with pytest.raises(AnnotationError, match="holds no cells: its 1 features are lines, or areas above 400 µm²"):
        cells(tmp_path, region)


def test_of_a_cell_the_nucleus_tells_the_centre(tmp_path: Path) -> None:
    nucleus = {"nucleusGeometry": {"type": "Polygon", "coordinates": square(0, 0, 8)}}

    assert cells(tmp_path, feature(square(0, 0, 40), objectType="cell") | nucleus) == [[1, 1]]


def test_a_collection_without_features_holds_no_regions(tmp_path: Path) -> None:
    assert len(read(tmp_path, collection())) == 0


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (feature([[[0, 0], [float("nan"), 0], [1, 1]]]), "impossible coordinate nan at point 2"),
        (feature([[[0, 0], [float("inf"), 0], [1, 1]]]), "impossible coordinate inf"),
        (feature([[[0, 0], [10**400, 0], [1, 1]]]), "impossible coordinate 1000"),
        (feature([[[0, 0], [1e300, 0], [1, 1]]]), "impossible coordinate 1e"),
        (feature([[[0, 0], ["a", 0], [1, 1]]]), "no number at point 2 of the outline"),
        (feature([[[0, 0], [True, 0], [1, 1]]]), "no number at point 2"),
        (feature([[[0, 0], [None, 0], [1, 1]]]), "no number at point 2"),
        (feature([[[0, 0], [1], [1, 1]]]), r"no \[x, y\] at point 2"),
        (feature([[[0, 0], {}, [1, 1]]]), r"no \[x, y\] at point 2"),
        (feature([[0, 0], [1, 1]]), r"no \[x, y\] at point 1"),
        (feature({}), "no list of coordinates"),
        (feature(SQUARE, "Circle"), "type 'Circle'"),
        (feature(SQUARE, "MultiPolygon"), r"no \[x, y\]|no list"),
        ({"type": "GeometryCollection", "geometries": 3}, "without a list of geometries"),
        (feature() | {"properties": [1]}, "properties that are no object"),
        ({"type": "Topology"}, "type 'Topology', expected Feature"),
        (17, "is no GeoJSON object but int"),
        (None, "is no GeoJSON object but NoneType"),
    ],
)
def test_what_cannot_be_repaired_is_refused_by_file_and_feature_number(
    tmp_path: Path, broken: Any, what: str
) -> None:
    path = written(tmp_path, collection(feature(), broken))

    with pytest.raises(AnnotationError, match=what) as caught:
        read_regions(path, PixelFrame(MPP))

    assert str(caught.value).startswith(f"{path}: feature 2 ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"type":"FeatureCollection","features":[{"type":"Fea', "not valid JSON.*cut off"),
        (b'{"type":"FeatureCollection","features":[', "not valid JSON.*cut off"),
        (b"hello", "not valid JSON: Expecting value at line 1, column 1"),
        (b'\xff\xfe{"a": 1}', "not valid JSON"),
        (b'\xff\xfe{"a": 1}!', "not UTF-8"),
        (b'{"type":"Point\xe9"}', "not UTF-8 text"),
        (b"[" * 100_000, "not sensible JSON|not valid JSON"),
        (b"[" + b"9" * 10_000 + b"]", "not sensible JSON"),
        (b'{"type":"FeatureCollection"}', "without a list of features"),
        (b'{"type":"FeatureCollection","features":{}}', "without a list of features"),
        (b"{}", "feature 1 has the type None"),
        (b'"text"', "feature 1 is no GeoJSON object"),
    ],
)
def test_a_file_that_is_no_geojson_is_refused_in_one_line(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "regions.geojson"
    path.write_bytes(content)

    with pytest.raises(AnnotationError, match=what) as caught:
        read_regions(path, PixelFrame(MPP))

    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_cut_off_anywhere_is_refused_never_half_read(tmp_path: Path) -> None:
    whole = json.dumps(collection(feature(), feature()))
    path = tmp_path / "regions.geojson"
    for length in range(0, len(whole) - 1, 7):
        path.write_text(whole[:length])
        with pytest.raises(AnnotationError):
            read_regions(path, PixelFrame(MPP))


def test_missing_files_folders_and_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()

    with pytest.raises(AnnotationError, match="does not exist"):
        read_regions(tmp_path / "absent.geojson", PixelFrame(MPP))
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_regions(tmp_path / "folder.json", PixelFrame(MPP))
    (tmp_path / "regions.txt").write_text("IDC")
    with pytest.raises(AnnotationError, match=r"\.txt; known: \.geojson \.json \(QuPath GeoJSON\)"):
        read_regions(tmp_path / "regions.txt", PixelFrame(MPP))
    with pytest.raises(AnnotationError, match="no suffix"):
        write_regions(tmp_path / "regions", Regions(), PixelFrame(MPP))


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_size_that_is_none_is_refused(tmp_path: Path, mpp: float) -> None:
    with pytest.raises(PixelSizeError, match="--mpp"):
        read(tmp_path, feature(), mpp)


def test_a_region_file_is_laid_out_as_qupath_expects(tmp_path: Path) -> None:
    path = tmp_path / "out.geojson"
    uuid = "6423a977-ffff-48db-affc-cd11632010f0"

    write_regions(
        path,
        Regions([Region("IDC", box(0, 0, 2.5, 2.5), uuid, "n"), Region(UNCLASSIFIED, box(0, 0, 1, 1), "b")]),
        PixelFrame(MPP),
    )

    document = json.loads(path.read_text())
    first, second = document["features"]
    assert document["type"] == "FeatureCollection"
    assert first["id"] == uuid
    assert first["properties"] == {
        "objectType": "annotation",
        "name": "n",
        "classification": {"name": "IDC", "color": [255, 0, 0]},
    }
    assert max(x for x, _ in first["geometry"]["coordinates"][0]) == 10
    assert second["properties"] == {"objectType": "annotation", "metadata": {"region_id": "b"}}


def test_no_regions_are_written_as_an_empty_collection(tmp_path: Path) -> None:
    path = tmp_path / "out.geojson"

    write_regions(path, Regions(), PixelFrame(MPP))

    assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}
    assert len(read_regions(path, PixelFrame(MPP))) == 0


def test_the_same_regions_give_the_same_bytes(tmp_path: Path) -> None:
    regions = Regions([Region("IDC", Point(50, 50).buffer(20), "idc-1")])

    write_regions(tmp_path / "a.geojson", regions, PixelFrame(MPP))
    write_regions(tmp_path / "b.geojson", regions, PixelFrame(MPP))

    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()


number = st.floats(0, 50_000, allow_nan=False)


@st.composite
def rings(draw: st.DrawFn) -> Polygon:
    """Star-shaped polygons, with a hole of their own shape or without."""
    count = draw(st.integers(3, 12))
    radii = draw(st.lists(st.floats(5, 500), min_size=count, max_size=count))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    shell = Polygon(np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1))
    hole = affinity.scale(shell, 0.5, 0.5, origin=(0, 0)).exterior.coords
    polygon = Polygon(shell.exterior.coords, [hole] if draw(st.booleans()) else [])
    return affinity.translate(polygon, draw(number), draw(number))


@st.composite
def geometries(draw: st.DrawFn) -> Polygon | MultiPolygon:
    parts = draw(st.lists(rings(), min_size=1, max_size=3))
    if len(parts) == 1:
        return parts[0]
    # Apart from one another by more than their size, so that the multipolygon is valid.
    return MultiPolygon([affinity.translate(part, 60_000 * index, 0) for index, part in enumerate(parts)])


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
region_sets = st.lists(
    st.builds(
        Region,
        label=st.sampled_from(["IDC", "DCIS", "Normal", "Fibröse: β", UNCLASSIFIED]),
        geometry=geometries(),
        region_id=st.text("abc123-é", min_size=1, max_size=9),
        name=text,
        color=st.none() | st.tuples(*[st.integers(0, 255)] * 3),
    ),
    max_size=4,
    unique_by=lambda region: region.region_id,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=region_sets, mpp=st.floats(0.1, 10))
def test_regions_survive_writing_and_reading(tmp_path: Path, found: list[Region], mpp: float) -> None:
    path = tmp_path / "round.geojson"

    write_regions(path, Regions(found), PixelFrame(mpp))
    back = read_regions(path, PixelFrame(mpp))

    assert back.notes == ()
    assert len(back) == len(found)
    for before, after in zip(found, back, strict=True):
        assert (after.label, after.name, after.region_id) == (before.label, before.name, before.region_id)
        assert after.display_color == before.display_color
        assert after.geometry.geom_type == before.geometry.geom_type
        # Positions are rounded to a thousandth of a pixel.
        assert after.geometry.hausdorff_distance(before.geometry) <= 0.001 * mpp
        assert after.geometry.area == pytest.approx(before.geometry.area, rel=1e-3, abs=0.1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(xy=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=12))
def test_any_scribble_becomes_valid_or_is_refused(tmp_path: Path, xy: list[tuple[int, int]]) -> None:
    path = written(tmp_path, feature([[list(point) for point in xy]]))

    try:
        geometry = read_regions(path, PixelFrame(1.0))[0].geometry
    except AnnotationError as error:
        message = str(error)
        geometry = None

    if geometry is None:
        assert "feature 1 " in message
    else:
        assert geometry.is_valid
        assert geometry.area > 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats() | st.sampled_from(["Feature", "Polygon", "FeatureCollection"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "geometry", "coordinates", "features", "properties", "classification", "id"]
                ),
                inner,
            )
        ),
        max_leaves=25,
    )
)
def test_no_json_whatever_raises_anything_but_an_annotation_error(tmp_path: Path, document: Any) -> None:
    path = written(tmp_path, document)
    for reader in (read_regions, read_cells):
        message = ""
        try:
            reader(path, PixelFrame(MPP))
        except AnnotationError as error:
            message = str(error)
        assert "\n" not in message


def test_collections_nested_without_end_are_no_obstacle(tmp_path: Path) -> None:
    nested: dict[str, Any] = {"type": "Polygon", "coordinates": SQUARE}
    for _ in range(300):
        nested = {"type": "GeometryCollection", "geometries": [nested]}

    assert len(read(tmp_path, nested)) == 1


@needs_data
def test_a_file_from_qupath_0_5_is_read_and_written_back_unchanged(tmp_path: Path) -> None:
    regions = read_regions(DATA / "qupath05.geojson", PixelFrame(MPP))

    assert [region.name for region in regions] == ["UT", "I", "I"]
    assert {region.color for region in regions} == {(255, 0, 0)}
    assert regions[0].geometry.bounds[0] == pytest.approx(8837 * MPP)
    write_regions(tmp_path / "back.geojson", regions, PixelFrame(MPP))
    assert read_regions(tmp_path / "back.geojson", PixelFrame(MPP)) == regions


@needs_data
def test_a_file_of_a_cell_detector_is_read_as_cells() -> None:
    cells = read_cells(DATA / "cell_detection_multipoint.geojson", PixelFrame(MPP))

    assert {name: len(places) for name, places in cells.items()} == {
        "Neoplastic": 36,
        "Inflammatory": 3562,
        "Connective": 34329,
    }
