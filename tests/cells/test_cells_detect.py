import tempfile
from pathlib import Path

import numpy as np
import pytest
import shapely

import synthetic
from ki67.annotations import Region, Regions
from ki67.cells import cell_schema, detect_cells, load_engine
from ki67.errors import PixelSizeError, RegionError, TissueError
from ki67.fields.matching import count_matches
from ki67.jobs import job
from ki67.slides import open_slide
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

MPP = 0.25


ENGINE, FOLDER = "network", None


@pytest.fixture(params=["network", "forest"], autouse=True)
def engine(request, monkeypatch, tmp_path):
    """Every engine keeps every promise."""
    monkeypatch.setattr(f"{__name__}.ENGINE", request.param)
    monkeypatch.setattr(f"{__name__}.FOLDER", tmp_path)
    return request.param


def detect(path, region=None, mpp=MPP, threads=None, **options):
    with job(threads=threads), open_slide(path, mpp) as slide:
        return detect_cells(
            slide,
            region,
            Path(tempfile.mkdtemp(dir=FOLDER), "cells.parquet"),
            engine=load_engine(ENGINE),
            **options,
        )


def places(table, label):
    rows = table.filter(np.array(table["label"].to_pylist()) == label)
    return np.column_stack([rows["x_um"].to_numpy(), rows["y_um"].to_numpy()])


@pytest.fixture(scope="module")
def drawn():
    return synthetic.field()


def test_every_drawn_nucleus_is_found_once_with_its_class(drawn, save):
    picture, centres, positive = drawn
    table = detect(save(picture)).read_table()
    for label, own in (("positive", positive), ("negative", ~positive)):
        found = places(table, label)
        hits = count_matches(centres[own] * MPP, found, 2.0)
        assert hits >= 0.95 * own.sum()
        assert len(found) <= 1.05 * own.sum()


def test_table_has_the_documented_columns_units_order_and_numbers(drawn, save):
    table = detect(save(drawn[0])).read_table()
    assert table.schema.equals(cell_schema(), check_metadata=True)
    assert table.schema.names[:9] == [
        "cell_id", "x_um", "y_um", "label", "probability", "area_um2", "dab_od_mean", "region_id", "in_region",
    ]  # fmt: skip
    assert table.schema.field("Mean_DAB").metadata == {b"unit": b"OD"}
    ids = table["cell_id"].to_pylist()
    # Made of the place, to a hundredth of a µm: within one the order may differ from the rows'.
    assert len(set(ids)) == len(ids)
    order = np.lexsort((table["x_um"].to_numpy(), table["y_um"].to_numpy()))
    assert np.array_equal(order, np.arange(len(table)))
    assert set(table["label"].to_pylist()) <= {"positive", "negative", "other"}


def test_measurements_are_those_of_the_drawn_discs(drawn, save):
    table = detect(save(drawn[0])).read_table()
    rows = table.filter(np.array(table["label"].to_pylist()) == "positive")
    # Alone on an even ground, the forest outlines dark nuclei a good pixel (0.5 µm) outside, where the blur fades.
    assert 13 * MPP - 0.2 <= np.median(np.sqrt(rows["area_um2"].to_numpy() / np.pi)) <= 13 * MPP + 0.65
    assert np.median(rows["dab_od_mean"].to_numpy()) == pytest.approx(0.75, abs=0.2)
    assert np.median(rows["Circ."].to_numpy()) > 0.85
    assert np.median(rows["Solidity"].to_numpy()) > 0.9
    # ImageJ measures Feret's diameter between pixel corners: a pixel's diagonal (0.5 µm pixels) longer than the disc.
    across = 2 * np.sqrt(rows["area_um2"].to_numpy() / np.pi) + 0.5 * np.sqrt(2)
    assert np.median(rows["Feret"].to_numpy() / across) == pytest.approx(1, abs=0.06)


def test_outlines_surround_their_centres(drawn, save):
    table = detect(save(drawn[0])).read_table()
    inside = [
        shapely.Polygon(np.reshape(points, (-1, 2))).buffer(0.5).contains(shapely.Point(x, y))
        for points, x, y in zip(
            table["outline_um"].to_pylist(), table["x_um"].to_pylist(), table["y_um"].to_pylist(), strict=True
        )
    ]
    assert np.mean(inside) > 0.95


@pytest.mark.parametrize("core_px", [64, 96, 144])
def test_table_is_the_same_to_the_last_bit_however_the_field_is_tiled(drawn, save, core_px):
    path = save(drawn[0])
    assert detect(path, core_px=core_px).read_table().equals(detect(path).read_table())


def test_real_field_is_counted_the_same_however_it_is_tiled(cell_data):
    path = cell_data / "ki67_cells" / "bcdata" / "images" / "5.png"
    assert detect(path, core_px=96).read_table().equals(detect(path).read_table())


def test_the_number_of_threads_changes_nothing(drawn, save):
    path = save(drawn[0])
    assert detect(path, core_px=64, threads=3).read_table().equals(detect(path, core_px=64, threads=1).read_table())


def test_cells_are_in_the_region_by_their_centre_and_kept_in_the_margin(drawn, save):
    region = shapely.box(40, 30, 110, 90).difference(shapely.box(60, 50, 80, 70))
    found = detect(save(drawn[0]), region, margin_um=10)
    table = found.read_table()
    x, y = table["x_um"].to_numpy(), table["y_um"].to_numpy()
    assert np.array_equal(table["in_region"].to_numpy(zero_copy_only=False), shapely.contains_xy(region, x, y))
    assert (~table["in_region"].to_numpy(zero_copy_only=False)).any()
    assert shapely.contains_xy(region.buffer(10.01), x, y).all()
    assert found.area_mm2 == pytest.approx(region.area / 1e6)


def test_a_moved_region_changes_no_cell(drawn, save):
    path = save(drawn[0])
    whole = {(row["x_um"], row["y_um"], row["label"]) for row in detect(path).read_table().to_pylist()}
    part = detect(path, shapely.box(31.7, 22.3, 101, 93), margin_um=0, core_px=64).read_table().to_pylist()
    assert part
    assert {(row["x_um"], row["y_um"], row["label"]) for row in part} <= whole


def test_region_ids_say_which_polygon(drawn, save):
    region = shapely.MultiPolygon([shapely.box(10, 10, 60, 100), shapely.box(90, 10, 150, 100)])
    table = detect(save(drawn[0]), region, margin_um=0).read_table()
    x = table["x_um"].to_numpy()
    assert table["region_id"].to_pylist() == ["1" if value < 75 else "2" for value in x]


def test_named_regions_keep_their_names_and_a_cell_in_two_counts_once(drawn, save):
    upper, both = shapely.box(10, 10, 70, 40), shapely.box(10, 10, 70, 80)
    regions = Regions([Region("IDC", upper, "upper"), Region("IDC", both, "both")])
    found = detect(save(drawn[0]), regions)
    table = found.read_table().to_pylist()
    assert found.area_mm2 == pytest.approx(both.area / 1e6)
    assert {row["region_id"] for row in table if row["in_region"]} == {"upper", "both"}
    assert all((row["y_um"] < 40) == (row["region_id"] == "upper") for row in table if row["in_region"])


def test_area_counts_only_what_lies_on_the_slide(drawn, save):
    found = detect(save(drawn[0]), shapely.box(-1000, 0, 80, 120))
    assert found.area_mm2 == pytest.approx(80 * 120 / 1e6)


def test_region_outside_the_slide_is_refused(drawn, save):
    with pytest.raises(RegionError, match="outside the slide"):
        detect(save(drawn[0]), shapely.box(5000, 5000, 6000, 6000))


def test_empty_region_is_refused(drawn, save):
    with pytest.raises(RegionError, match="empty"):
        detect(save(drawn[0]), shapely.Polygon())


@pytest.mark.parametrize("colour", [(228, 224, 214), (255, 255, 255), (0, 0, 0), (120, 70, 40), (80, 90, 160)])
def test_plain_pictures_are_refused_for_want_of_tissue(save, colour):
    with pytest.raises(TissueError, match="no tissue"):
        detect(save(np.full((200, 300, 3), colour, np.uint8)))


def test_position_does_not_depend_on_the_pixel_size(drawn, save):
    import cv2

    picture, centres, positive = drawn
    doubled = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    table = detect(save(doubled), mpp=MPP / 2).read_table()
    assert count_matches(centres[positive] * MPP, places(table, "positive"), 1.0) >= 0.95 * positive.sum()


def test_intensity_classes_follow_from_label_and_density(drawn, save):
    table = detect(save(drawn[0])).read_table()
    for label, intensity, density in zip(
        table["label"].to_pylist(), table["intensity"].to_pylist(), table["dab_od_mean"].to_pylist(), strict=True
    ):
        if label == "positive":
            assert intensity == ("1+" if density < 0.4 else "2+" if density < 0.6 else "3+")
        else:
            assert intensity == {"negative": "0", "other": ""}[label]


def test_a_dab_threshold_decides_alone_which_tumour_cells_are_positive(drawn, save):
    path = save(drawn[0])
    plain, strict = detect(path).read_table(), detect(path, dab_threshold=5.0).read_table()
    assert places(strict, "positive").size == 0
    assert len(places(strict, "negative")) == len(places(plain, "negative")) + len(places(plain, "positive"))
    overruled = np.array(strict["label"].to_pylist()) != np.array(plain["label"].to_pylist())
    assert (np.array([value is None for value in strict["probability"].to_pylist()]) == overruled).all()
    loose = detect(path, dab_threshold=0.0).read_table()
    assert len(places(loose, "positive")) == len(places(strict, "negative"))


def test_without_any_brown_no_cell_is_positive(drawn, save):
    picture = drawn[0].astype(np.float32)
    blue = np.array([0.715, 0.617, 0.328], np.float32)
    amount = np.log10(245 / picture.clip(1, 245)).sum(axis=2, keepdims=True) / blue.sum()
    found = detect(save((245 * 10 ** -(amount * blue)).clip(0, 255).astype(np.uint8)))
    assert "positive" not in found.read_table()["label"].to_pylist()


def test_plainly_brown_nuclei_are_positive_whatever_the_engine_says(drawn, save, monkeypatch):
    class Doubter:
        def __init__(self, engine):
            self.card, self.halo_px, self.engine = engine.card, engine.halo_px, engine

        def find(self, tile, core):
            found = self.engine.find(tile, core)
            found.label[found.label == POSITIVE] = NEGATIVE
            return found

    path = save(drawn[0])
    expected = detect(path)
    doubter = Doubter(load_engine(ENGINE))
    monkeypatch.setattr(f"{__name__}.load_engine", lambda _: doubter)
    found = detect(path)
    table = found.read_table()
    np.testing.assert_array_equal(places(table, "positive"), places(expected.read_table(), "positive"))
    positive = np.array(table["label"].to_pylist()) == "positive"
    assert np.array([value is None for value in table["probability"].to_pylist()])[positive].all()


@pytest.mark.parametrize(
    ("seen", "mean_dab", "median_dab", "median_hematoxylin", "label"),
    [
        (NEGATIVE, 0.4, 0.4, 0.1, POSITIVE),
        (NEGATIVE, 0.4, 0.4, 0.5, NEGATIVE),  # more blue than brown
        (NEGATIVE, 0.5, 0.1, 0.0, NEGATIVE),  # the rim of a black neighbour
        (NEGATIVE, 0.2, 0.2, 0.1, NEGATIVE),
        (POSITIVE, 0.1, 0.1, 0.3, POSITIVE),
        (POSITIVE, 0.02, 0.02, 0.0, NEGATIVE),  # not brown at all
        (OTHER, 0.9, 0.9, 0.0, OTHER),
    ],
)
def test_density_has_the_last_word(seen, mean_dab, median_dab, median_hematoxylin, label):
    from ki67.cells.detect import _by_density
    from ki67.cells.measurements import MEASUREMENT_UNITS

    given = {"Mean_DAB": mean_dab, "Median_DAB": median_dab, "Median_Hematoxylin": median_hematoxylin}
    measured = np.array([[given.get(name, 0.0) for name in MEASUREMENT_UNITS]], np.float32)
    assert _by_density(np.array([seen], np.int8), measured, brown_od=0.3, threshold=None) == [label]


def test_pixels_too_large_for_nuclei_are_refused(drawn, save):
    with pytest.raises(PixelSizeError, match="too large for nuclei"):
        detect(save(drawn[0]), mpp=2.5)
