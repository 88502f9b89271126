import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from framed_slides import write_mrxs, write_scn, write_sparse_tiff
from ki67.annotations import Region, Regions, read_regions, write_regions
from ki67.geometry import RectUm
from ki67.registration import read_landmark_pairs
from ki67.slides import PixelFrame, open_slide, write_pyramid
from ki67.slides.frame import shown_part
from ki67.stages import CaseSlide

MPP = 0.25
OFFSET = (256, 128)
WRITERS = {"scn": write_scn, "mrxs": write_mrxs, "tif": write_sparse_tiff}


def nuclei(size=800):
    """Brown and blue nuclei on a grid, every fourth one brown."""
    pixels = np.full((size, size, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, size - 40, 80) for y in range(60, size - 40, 80)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    return np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(params=sorted(WRITERS))
def framed(request, tmp_path):
    """The field at an offset on its canvas, in each format that can be drawn."""
    path = tmp_path / f"slide.{request.param}"
    tile = {} if request.param == "scn" else {"tile_px": 64} if request.param == "mrxs" else {"tile_px": 128}
    WRITERS[request.param](path, nuclei()[:768, :768], MPP, OFFSET, **tile)
    return path


def test_other_programs_count_from_the_corner_of_what_was_scanned(framed):
    with open_slide(framed) as slide:
        assert slide.frame == PixelFrame(MPP, OFFSET, (768, 768))
        assert slide.shown_um == RectUm(OFFSET[0] * MPP, OFFSET[1] * MPP, 768 * MPP, 768 * MPP)
        place = slide.frame.to_um([60, 60])
        scanned = slide.read(RectUm(*place, 1, 1), MPP)
        empty = slide.read(RectUm(0, 0, OFFSET[0] * MPP, OFFSET[1] * MPP), MPP)
    assert place == pytest.approx((np.array(OFFSET) + 60) * MPP)
    assert scanned.max() < 200
    assert empty.min() == 255


def test_a_region_drawn_in_qupath_and_the_files_for_qupath_lie_in_place(framed, tmp_path, ki67):
    drawn = tmp_path / "drawn.geojson"
    square = {"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [400, 400], [0, 400], [0, 0]]]}
    drawn.write_text(json.dumps({"type": "Feature", "geometry": square, "properties": {}}))
    case = tmp_path / "case"

    counted = ki67("count", framed, "--out", case, "--regions", drawn, "--json", "--quiet")
    assert counted.code == 0, counted.stderr
    # Nuclei stand every 80 px from 60 on: five by five lie in the square.
    assert 20 <= counted.json["cells"] <= 26
    assert counted.json["area_mm2"] == pytest.approx((400 * MPP / 1000) ** 2, rel=1e-6)

    (written,) = json.loads((case / "regions_ki67.geojson").read_text())["features"]
    assert shapely.geometry.shape(written["geometry"]).bounds == (0, 0, 400, 400)

    again = ki67("count", framed, "--out", tmp_path / "again", "--regions", case / "regions_ki67.geojson", "--json")
    assert {name: again.json[name] for name in ("positive", "negative")} == {
        name: counted.json[name] for name in ("positive", "negative")
    }

    assert ki67("export", case, tmp_path / "cells.geojson").code == 0
    assert ki67("export", case, tmp_path / "cells.csv").code == 0
    centres = [
        shapely.geometry.shape(feature["geometry"]).centroid
        for feature in json.loads((tmp_path / "cells.geojson").read_text())["features"]
    ]
    assert all(abs((place - 60 + 40) % 80 - 40) < 12 for centre in centres for place in (centre.x, centre.y))
    # The tables keep the slide's own frame, whose origin is the corner of the canvas.
    rows = [row for row in pq.read_table(case / "cells.parquet").to_pylist() if row["in_region"]]
    assert min(row["x_um"] for row in rows) > OFFSET[0] * MPP
    assert min(row["y_um"] for row in rows) > OFFSET[1] * MPP


def test_a_region_counted_from_the_corner_of_the_canvas_is_seen_to_stick_out(framed, tmp_path, ki67):
    # All of the scan, in pixels of the canvas: half of it lies where nothing was scanned.
    left, top, right, bottom = 256, 128, 256 + 768, 128 + 768
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    (tmp_path / "canvas.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    outcome = ki67("count", framed, "--out", tmp_path / "case", "--regions", tmp_path / "canvas.geojson", "--json")
    told = outcome.stderr if outcome.code else " ".join(outcome.json["warnings"])
    assert "outside the slide" in told


def test_landmarks_are_read_off_in_the_same_program(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("he_x,he_y,ki67_x,ki67_y\n0,0,10,20\n100,50,30,40\n")
    found = read_landmark_pairs(path, PixelFrame(0.5, (10, 20)), PixelFrame(0.25), (1000, 1000), (1000, 1000))
    np.testing.assert_allclose(found.he_um, [[5, 10], [55, 35]])
    np.testing.assert_allclose(found.ki67_um, [[2.5, 5], [7.5, 10]])


def test_a_round_trip_through_a_file_for_other_programs_changes_nothing(tmp_path):
    frame = PixelFrame(0.2271, (1000.0, 601.0))
    regions = Regions([Region("IDC", shapely.box(300, 200, 421.5, 350.25), "1")])
    write_regions(tmp_path / "a.geojson", regions, frame)
    (back,) = read_regions(tmp_path / "a.geojson", frame)
    np.testing.assert_allclose(back.geometry.bounds, (300, 200, 421.5, 350.25), atol=0.001)


@pytest.mark.parametrize("missing", ["x", "y", "width", "height"])
def test_only_whole_bounds_move_the_origin(missing):
    bounds = {f"openslide.bounds-{name}": "7" for name in ("x", "y", "width", "height")}
    assert shown_part(bounds) == (7, 7, 7, 7)
    assert shown_part(bounds | {f"openslide.bounds-{missing}": "7.5"}) is None
    del bounds[f"openslide.bounds-{missing}"]
    assert shown_part(bounds) is None


def test_a_slide_that_is_shown_whole_keeps_its_corner_and_its_stages(tmp_path):
    write_pyramid(tmp_path / "whole.tif", [nuclei(256)], (256, 256), MPP)
    with open_slide(tmp_path / "whole.tif") as slide:
        assert slide.frame == PixelFrame(MPP)
        assert set(CaseSlide(slide).identity) == {"fingerprint", "mpp", "reading"}


def test_stages_of_a_slide_that_is_shown_cropped_run_again_where_the_origin_was_not_known(framed):
    with open_slide(framed) as slide:
        assert CaseSlide(slide).identity["origin_px"] == list(OFFSET)
        assert CaseSlide(slide).facts["origin_px"] == list(OFFSET)
