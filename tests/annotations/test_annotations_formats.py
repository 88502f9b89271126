"""Region files of other programs: read, written, read again; what is wrong with them is told in one line."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon, box

from ki67.annotations import Region, Regions, read_cells, read_regions, write_regions
from ki67.annotations.converting import convert_regions
from ki67.annotations.parts import without_holes
from ki67.errors import AnnotationError, RegionError
from ki67.slides import GlassPlace, PixelFrame
from ki67.slides.frame import foreign_frame, glass_place
from ki67.vocabulary import RegionFormat

GLASS = GlassPlace((1_250_000.0, -90_000.0), (0.23, 0.23), (40_000, 30_000))
FRAME = PixelFrame(0.23, glass=GLASS)
REAL = Path(os.environ.get("KI67_DATA", "../shared/data")) / "annotations"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real region files are not here")

DONUT = Polygon([(100, 100), (900, 100), (900, 900), (100, 900)], [[(300, 300), (500, 300), (500, 500), (300, 500)]])
REGIONS = Regions(
    [
        Region("IDC", DONUT, "a", name='the "first" <one> & ü', color=(255, 0, 0)),
        Region("IDC", box(330, 330, 400, 400), "island", color=(255, 0, 0)),
        Region("DCIS", box(1000, 1000, 1200, 1300), "b", color=(0, 255, 0)),
        Region("Unclassified", box(2000, 1000, 2100, 1100), "c"),
    ]
)
NAMES = {
    RegionFormat.qupath: "r.geojson",
    RegionFormat.dsa: "r.dsa.json",
    RegionFormat.asap: "r.xml",
    RegionFormat.imagescope: "r.xml",
    RegionFormat.halo: "r.annotations",
    RegionFormat.ndpa: "r.ndpi.ndpa",
}


def same_areas(one: Regions, other: Regions, tolerance_um: float = 0.01) -> None:
    """Every label covers the same area in both; pieces may differ."""
    assert set(one.labels) == set(other.labels)
    for label in one.labels:
        first, second = one.with_label(label).union(), other.with_label(label).union()
        assert shapely.symmetric_difference(first, second).area <= tolerance_um * (first.length + 1)


@pytest.mark.parametrize("form", list(RegionFormat))
def test_what_is_written_is_read_again_in_the_same_place(tmp_path: Path, form: RegionFormat) -> None:
    path = tmp_path / NAMES[form]

    write_regions(path, REGIONS, FRAME, form)
    again = read_regions(path, FRAME)

    same_areas(REGIONS, again)
    assert not again.notes or form in (RegionFormat.imagescope, RegionFormat.halo)
    if form is not RegionFormat.halo:
        assert 'the "first" <one> & ü' in {region.name for region in again}
    assert {region.display_color for region in again.with_label("DCIS")} == {(0, 255, 0)}


@pytest.mark.parametrize("form", list(RegionFormat))
def test_content_says_what_a_file_is_and_not_its_name(tmp_path: Path, form: RegionFormat) -> None:
    path = tmp_path / "r.txt"
    write_regions(path, REGIONS, FRAME, form)
    packed = tmp_path / "r.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))

    same_areas(REGIONS, read_regions(path, FRAME))
    same_areas(REGIONS, read_regions(packed, FRAME))


def test_what_a_format_cannot_hold_is_told(tmp_path: Path) -> None:
    two = Regions([Region("IDC", shapely.union_all([box(0, 0, 9, 9), box(20, 20, 30, 30)]), "a", name="two")])

    assert write_regions(tmp_path / "r.geojson", REGIONS, FRAME) == ()
    assert write_regions(tmp_path / "r.dsa.json", REGIONS, FRAME) == ()
    lost = write_regions(tmp_path / "r.xml", REGIONS, FRAME, RegionFormat.asap)
    assert "1 region(s) with holes, cut into pieces without holes; the area is the same" in lost
    lost = write_regions(tmp_path / "r.annotations", two, FRAME)
    assert "1 region(s) of several parts, written as one region each part" in lost
    assert "the names of 1 region(s)" in lost


def test_a_name_that_leaves_a_choice_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"may be asap .* or imagescope .* by its name. Say which, with --to"):
        write_regions(tmp_path / "r.xml", REGIONS, FRAME)


def imagescope(path: Path, regions: str, name: str = "IDC", root: str = "<Annotations>") -> Path:
    path.write_text(
        f'{root}<Annotation Name="{name}" LineColor="255"><Regions>{regions}</Regions></Annotation></Annotations>'
    )
    return path


def region(points: list[tuple[float, float]], **attributes: str) -> str:
    words = " ".join(f'{key}="{value}"' for key, value in {"Type": "0", **attributes}.items())
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
    return f"<Region {words}><Vertices>{corners}</Vertices></Region>"


def halo(kind: str, vertices: str) -> str:
    return (
        f"<Annotations><Annotation><Regions><Region Type='{kind}'><Vertices>{vertices}</Vertices></Region></Regions>"
        "</Annotation></Annotations>"
    )


SQUARE = [(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]


def test_rectangles_and_ellipses_are_areas_and_rulers_are_not(tmp_path: Path) -> None:
    path = imagescope(
        tmp_path / "r.xml",
        region([(0, 0), (100, 50)], Type="1")
        + region([(0, 0), (100, 50)], Type="2")
        + region([(50, 0), (100, 25), (50, 50), (0, 25)], GeoShape="Ellipse")
        + region([(0, 0), (5, 5)], Type="4"),
    )

    found = read_regions(path, PixelFrame(1.0))

    areas = [one.geometry.area for one in found]
    assert areas == pytest.approx([5000, np.pi * 50 * 25, np.pi * 50 * 25])
    assert [one.geometry.bounds for one in found][1] == pytest.approx((0, 0, 100, 50), abs=0.05)
    assert any("2 ellipses" in note for note in found.notes)
    assert any("1 shapes of r.xml are points or lines" in note for note in found.notes)


def test_negative_regions_are_holes_of_their_layer_only_and_the_inner_one_holds(tmp_path: Path) -> None:
    hole = region([(20, 20), (60, 20), (60, 60), (20, 60)], NegativeROA="1")
    island = region([(30, 30), (40, 30), (40, 40), (30, 40)])
    astray = region([(900, 900), (950, 900), (950, 950)], NegativeROA="1")
    path = imagescope(tmp_path / "r.xml", hole + region(SQUARE) + island + astray)
    text = path.read_text().replace("</Annotations>", "")
    other = f'<Annotation Name="DCIS"><Regions>{region(SQUARE)}</Regions></Annotation></Annotations>'
    path.write_text(text + other)

    found = read_regions(path, PixelFrame(1.0))

    assert [one.geometry.area for one in found] == [10_000 - 1_600, 100, 10_000]
    assert any("inside a negative one" in note for note in found.notes)
    assert any("1 negative region(s) lie over no region" in note for note in found.notes)


def test_only_negative_regions_and_a_negative_over_all_are_refused(tmp_path: Path) -> None:
    alone = imagescope(tmp_path / "a.xml", region(SQUARE, NegativeROA="1"))
    same = imagescope(tmp_path / "b.xml", region(SQUARE) + region(SQUARE, NegativeROA="1"))

    for path in (alone, same):
        with pytest.raises(AnnotationError, match="negative"):
            read_regions(path, PixelFrame(1.0))


def test_a_self_crossing_outline_is_mended_and_told(tmp_path: Path) -> None:
    bow = region([(0, 0), (100, 100), (100, 0), (0, 100)])

    found = read_regions(imagescope(tmp_path / "r.xml", bow), PixelFrame(1.0))

    assert found[0].geometry.area == pytest.approx(5000)
    assert "repaired" in found.notes[0]


def test_names_that_a_program_gives_of_itself_are_no_class(tmp_path: Path) -> None:
    path = imagescope(tmp_path / "r.xml", region(SQUARE) + region(SQUARE, Text="Tumor"), name="Layer 1")

    assert read_regions(path, PixelFrame(1.0)).labels == ("Unclassified", "Tumor")


def test_another_pixel_size_in_the_file_is_told(tmp_path: Path) -> None:
    path = imagescope(tmp_path / "r.xml", region(SQUARE), root='<Annotations MicronsPerPixel="0.5">')

    assert "perhaps another slide" in read_regions(path, PixelFrame(0.25)).notes[0]
    assert not read_regions(path, PixelFrame(0.5)).notes


NDPA = """<?xml version="1.0"?><annotations>
<ndpviewstate id="1"><title>IDC</title><annotation type="freehand" color="#ff0000"><closed>1</closed><pointlist>
<point><x>1250000</x><y>-90000</y></point><point><x>1350000</x><y>-90000</y></point>
<point><x>1350000</x><y>10000</y></point></pointlist></annotation></ndpviewstate>
<ndpviewstate id="2"><title>IDC</title><annotation type="circle"><x>1250000</x><y>-90000</y><radius>23000</radius>
</annotation></ndpviewstate>
<ndpviewstate id="3"><title>pen</title><annotation type="freehand"><closed>0</closed><pointlist>
<point><x>0</x><y>0</y></point><point><x>9</x><y>9</y></point></pointlist></annotation></ndpviewstate>
<ndpviewstate id="4"><title>Positive</title>
<annotation type="pin"><x>1250000</x><y>-90000</y></annotation></ndpviewstate>
<ndpviewstate id="5"><title>?</title><annotation type="unknown"/></ndpviewstate></annotations>"""


def test_ndpa_counts_from_the_centre_of_the_glass(tmp_path: Path) -> None:
    path = tmp_path / "x.ndpi.ndpa"
    path.write_text(NDPA)
    centre_um = (20_000 * 0.23, 15_000 * 0.23)

    found = read_regions(path, FRAME)
    cells = read_cells(path, FRAME)

    assert found[0].geometry.bounds == pytest.approx((*centre_um, centre_um[0] + 100, centre_um[1] + 100))
    assert found[1].geometry.area == pytest.approx(np.pi * 23**2)
    assert found[1].geometry.centroid.coords[0] == pytest.approx(centre_um)
    assert len(found) == 2
    assert any("2 shapes of x.ndpi.ndpa are points or lines" in note for note in found.notes)
    assert any("1 entries" in note for note in found.notes)
    assert cells["Positive"] == pytest.approx(np.array([centre_um]))


def test_ndpa_without_a_place_on_the_glass_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ndpa"
    path.write_text(NDPA)

    for act in (lambda: read_regions(path, PixelFrame(0.23)), lambda: write_regions(path, REGIONS, PixelFrame(0.23))):
        with pytest.raises(AnnotationError, match="centre of the glass"):
            act()


def test_a_place_on_the_glass_needs_all_it_is_made_of() -> None:
    whole = {
        "hamamatsu.XOffsetFromSlideCentre": "12538720",
        "hamamatsu.YOffsetFromSlideCentre": "-96063",
        openslide.PROPERTY_NAME_MPP_X: "0.228",
        openslide.PROPERTY_NAME_MPP_Y: "0.228",
    }

    place = glass_place(whole, (100, 200))

    assert place is not None
    assert place.to_px((12538720, -96063)) == pytest.approx((50, 100))
    assert place.to_nm(place.to_px((5, 7))) == pytest.approx((5, 7))
    for name in whole:
        assert glass_place({key: text for key, text in whole.items() if key != name}, (100, 200)) is None
        assert glass_place(whole | {name: "nan"}, (100, 200)) is None


ASAP = """<?xml version="1.0"?><ASAP_Annotations><Annotations>
<Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="IDC" Color="#64FE2E"><Coordinates>
<Coordinate Order="2" X="100" Y="100"/><Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="100" Y="0"/>
<Coordinate Order="3" X="0" Y="100"/></Coordinates></Annotation>
<Annotation Name="cells" Type="PointSet" PartOfGroup="Positive"><Coordinates><Coordinate Order="0" X="5" Y="6"/>
<Coordinate Order="1" X="7" Y="8"/></Coordinates></Annotation>
<Annotation Name="s" Type="Spline" PartOfGroup="None"><Coordinates><Coordinate Order="0" X="0" Y="0"/>
<Coordinate Order="1" X="50" Y="0"/><Coordinate Order="2" X="0" Y="50"/></Coordinates></Annotation>
</Annotations><AnnotationGroups/></ASAP_Annotations>"""


def test_asap_corners_come_in_their_order_and_groups_are_classes(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    path.write_text(ASAP)

    found = read_regions(path, PixelFrame(0.5))

    assert [(one.label, one.name, one.geometry.area) for one in found] == [
        ("IDC", "", 2500.0),
        ("Unclassified", "s", 312.5),
    ]
    assert found[0].color == (0x64, 0xFE, 0x2E)
    assert any("1 splines" in note for note in found.notes)
    assert read_cells(path, PixelFrame(0.5))["Positive"].tolist() == [[2.5, 3.0], [3.5, 4.0]]


def test_dsa_shapes(tmp_path: Path) -> None:
    elements = [
        {
            "type": "rectangle",
            "center": [50, 50, 0],
            "width": 40,
            "height": 20,
            "rotation": np.pi / 2,
            "group": "IDC",
        },
        {"type": "circle", "center": [50, 50, 0], "radius": 10, "label": {"value": "DCIS"}},
        {"type": "ellipse", "center": [50, 50, 0], "width": 40, "height": 20, "rotation": 0, "group": "default"},
        {"type": "polyline", "closed": False, "points": [[0, 0, 0], [9, 9, 0]]},
        {"type": "point", "center": [5, 6, 0], "group": "Positive"},
        {"type": "heatmap", "points": []},
    ]
    path = tmp_path / "r.json"
    for document in ({"elements": elements}, {"_id": "1", "annotation": {"name": "a", "elements": elements}}):
        path.write_text(json.dumps([document]))

        found = read_regions(path, PixelFrame(1.0))

        assert found.labels == ("IDC", "DCIS", "Unclassified")
        assert found[0].geometry.bounds == pytest.approx((40, 30, 60, 70))
        assert [one.geometry.area for one in found] == pytest.approx([800, np.pi * 100, np.pi * 200])
        assert read_cells(path, PixelFrame(1.0))["Positive"].tolist() == [[5.0, 6.0]]


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<{root}><Annotation Name="&b;"/></{root}>'
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.replace("{root}", "Annotations"), "declares entities of its own"),
        (LAUGHS.replace("{root}", "annotations"), "declares entities of its own"),
        ("<Annotations><Annotation>", "is not valid XML: no element found at line 1"),
        ("<Annotations>" + "<a>" * 50 + "</a>" * 50 + "</Annotations>", "nested deeper"),
        ("<html></html>", "is XML of no program that is known"),
        ("<", "is XML of no program that is known"),
        ('<?xml version="1.0" encoding="klingon"?><Annotations/>', "XML"),
        (halo("0", "<Vertex X='1' Y=''/>"), "annotation 1, corner 1, has no number but ''"),
        (halo("0", "<Vertex X='1,5' Y='1'/>"), "has no number but '1,5'"),
        (halo("77", ""), "unknown kind"),
        (halo("2", "<V X='1' Y='1'/>"), "is an ellipse of 1 points"),
        (halo("0", "<V X='nan' Y='1'/><V X='1' Y='1'/><V X='1' Y='2'/>"), "the impossible coordinate"),
        (ASAP.replace('Order="2"', 'Order="x"'), "annotation 1, corner 1, has no number but 'x'"),
        (NDPA.replace("23000", ""), r"annotation 2 \(radius\) has no number"),
        ("<annotations><ndpviewstate/></annotations>", "holds no shape that is known"),
        ('{"elements": [3]}', "annotation 1 is no object but int"),
        ('{"elements": [{"type": "blob"}]}', "unknown type 'blob'"),
        ('{"elements": [{"type": "circle", "center": [1, 2, 3], "radius": true}]}', "no number as radius"),
        ('{"elements": [{"type": "polyline", "closed": true, "points": [[1], [2, 3]]}]}', r"no \[x, y, z\]"),
        ('{"elements": [', "is not valid JSON"),
        ("", "is not a region file that can be read"),
        ("IDC 1 2 3", "is not a region file that can be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.dat"
    path.write_text(content)

    for act in (read_regions, read_cells):
        with pytest.raises(AnnotationError, match=message) as caught:
            act(path, FRAME)
        assert "\n" not in str(caught.value)


def test_a_file_without_shapes_gives_no_regions(tmp_path: Path) -> None:
    for text in ("<Annotations/>", "<annotations/>", "<ASAP_Annotations/>", '{"elements": []}'):
        (tmp_path / "r").write_text(text)
        assert len(read_regions(tmp_path / "r", FRAME)) == 0


def test_utf16_is_read(tmp_path: Path) -> None:
    path = imagescope(tmp_path / "r.xml", region(SQUARE), name="Tumör")
    path.write_bytes(('<?xml version="1.0" encoding="UTF-16"?>' + path.read_text()).encode("utf-16"))

    assert read_regions(path, PixelFrame(1.0)).labels == ("Tumör",)


polygons = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(5, 120), st.integers(5, 120)),
    min_size=1,
    max_size=6,
).map(lambda boxes: shapely.union_all([box(x, y, x + w, y + h) for x, y, w, h in boxes]))


@given(outer=polygons, inner=polygons, form=st.sampled_from([*RegionFormat]))
@settings(max_examples=60, deadline=None)
def test_any_region_covers_the_same_after_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, outer: Polygon, inner: Polygon, form: RegionFormat
) -> None:
    geometry = shapely.difference(outer, shapely.affinity.scale(inner, 0.5, 0.5))
    if geometry.is_empty or geometry.geom_type not in ("Polygon", "MultiPolygon"):
        return
    regions = Regions([Region("IDC", geometry, "a"), Region("IDC", box(500, 0, 550, 50), "b")])
    path = tmp_path_factory.mktemp("trip") / NAMES[form]

    write_regions(path, regions, FRAME, form)

    same_areas(regions, read_regions(path, FRAME))


def test_pieces_without_holes_cover_the_same() -> None:
    holes = [box(x, y, x + 3, y + 3).exterior.coords for x in range(5, 95, 10) for y in range(5, 95, 10)]
    grid = Polygon(box(0, 0, 100, 100).exterior.coords, holes)

    pieces = without_holes(grid)

    assert not any(piece.interiors for piece in pieces)
    assert sum(piece.area for piece in pieces) == pytest.approx(grid.area)


def test_converting_tells_what_was_read_and_lost(tmp_path: Path) -> None:
    source = imagescope(tmp_path / "r.xml", region(SQUARE, Text="x") + region([(0, 0), (5, 5)], Type="4"))

    result = convert_regions(source, tmp_path / "r.annotations")

    assert result["from"] == "Aperio ImageScope XML"
    assert result["labels"] == {"IDC": 1}
    assert result["area_mm2"] is None
    assert result["notes"] == ["1 shapes of r.xml are points or lines, no areas: left out"]
    assert "the names of 1 region(s)" in result["not_carried"]


def test_the_command_converts_and_tells(tmp_path: Path, ki67: Callable[..., Any]) -> None:
    source = imagescope(tmp_path / "r.xml", region(SQUARE) + region([(0, 0), (5, 5)], Type="4"))

    done = ki67("annotations", "convert", source, tmp_path / "o.xml", "--to", "asap", "--json")
    unsaid = ki67("annotations", "convert", source, tmp_path / "p.xml")
    glass = ki67("annotations", "convert", source, tmp_path / "p.ndpa")

    assert done.code == 0, done.stderr
    assert (done.json["from"], done.json["to"]) == ("Aperio ImageScope XML", "ASAP XML")
    assert done.json["not_carried"] == ["the ids of 1 region(s)"]
    same_areas(read_regions(source, FRAME), read_regions(tmp_path / "o.xml", FRAME))
    assert (unsaid.code, glass.code) == (1, 1)
    assert "--to" in unsaid.stderr
    assert "centre of the glass" in glass.stderr
    assert not (tmp_path / "p.ndpa").exists()


@needs_real
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("imagescope_regions.xml", 15),
        ("imagescope_shapes.xml", 3),
        ("halo_example.annotations", 10),
        ("halo_holes.annotations", 1),
        ("halo_layers.annotations", 4),
        ("qupath05.geojson", 3),
    ],
)
def test_real_files_are_read_written_and_read_again(tmp_path: Path, name: str, count: int) -> None:
    found = read_regions(REAL / name, FRAME)

    assert len(found) == count
    for form in RegionFormat:
        write_regions(tmp_path / NAMES[form], found, FRAME, form)
        same_areas(found, read_regions(tmp_path / NAMES[form], FRAME))


@needs_real
def test_the_nuclei_of_a_real_file_lie_on_dark_nuclei() -> None:
    cv2 = pytest.importorskip("cv2")
    folder = REAL / "he_nuclei_imagescope"
    for file in folder.glob("*.xml"):
        grey = cv2.imread(str(file.with_suffix(".tif")), cv2.IMREAD_GRAYSCALE)
        centres_px = np.concatenate(list(read_cells(file, PixelFrame(0.248)).values())) / 0.248
        at = np.clip(centres_px.round().astype(int), 0, 999)
        assert grey[at[:, 1], at[:, 0]].mean() < 0.6 * grey.mean()


@needs_real
def test_a_real_ndpa_is_read_on_its_frame_and_its_place_on_a_real_slide_is_refused(tmp_path: Path) -> None:
    slide = REAL.parent / "slides" / "fluorescence.ndpi"

    found = read_regions(
        REAL / "hamamatsu_mixed.ndpa", PixelFrame(0.23, glass=GlassPlace((0, 0), (0.23, 0.23), (10_000, 10_000)))
    )

    assert [(one.label, round(one.area_mm2, 4)) for one in found] == [("Tumor", 0.02)]
    with pytest.raises(AnnotationError, match="is not valid XML"):
        read_regions(REAL / "hamamatsu_malformed.ndpa", FRAME)
    assert foreign_frame(slide, (3968, 4864), 0.228).glass is not None
    with pytest.raises(RegionError, match="outside the slide"):
        convert_regions(REAL / "hamamatsu_mixed.ndpa", tmp_path / "r.geojson", slide=slide)
