"""Reading labelled fields: every layout, and what is refused by name before anything is made of it."""

import json

import cv2
import h5py
import numpy as np
import pytest

from ki67.errors import DataSetError, PixelSizeError
from ki67.fields.labelled_fields import PUBLISHED_MPP, read_fields
from ki67.fields.qupath_classes import cell_class
from ki67.slides import write_pyramid

MPP = 0.25
PICTURE = np.full((80, 100, 3), 230, np.uint8)


@pytest.fixture
def point_field(save):
    """A picture of 100 x 80 pixels, and a function that writes its CSV and gives the folder."""

    def write(text):
        path = save(PICTURE, "points/a.png")
        path.with_suffix(".csv").write_text(text)
        return path.parent

    return write


def feature(geometry, name, **properties):
    classification = {"classification": {"name": name}} if name else {}
    return {"type": "Feature", "geometry": geometry, "properties": {**classification, **properties}}


def point(x, y, name, **properties):
    return feature({"type": "Point", "coordinates": [x, y]}, name, **properties)


def square(x, y, width, name, **properties):
    ring = [[x, y], [x + width, y], [x + width, y + width], [x, y + width], [x, y]]
    return feature({"type": "Polygon", "coordinates": [ring]}, name, **properties)


@pytest.fixture
def qupath_points(save):
    """A function that writes features beside a picture and reads the field's points."""

    def read(*features, mpp=0.5):
        path = save(PICTURE, "qupath/a.png")
        path.with_suffix(".geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        (field,) = read_fields(path.parent, "qupath", mpp)
        return {name: places.tolist() for name, places in field.points.items()}

    return read


def test_qupath_points_and_detections_are_read(qupath_points):
    read = qupath_points(
        feature({"type": "MultiPoint", "coordinates": [[4, 8], [20, 40]]}, "Tumor: Positive"),
        square(10, 10, 4, "Tumor: Negative"),
        point(1, 2, "Immune cells"),
        point(50, 50, "Ignore*"),
    )
    assert read == {"positive": [[2, 4], [10, 20]], "negative": [[6, 6]], "other": [[0.5, 1]]}


def test_qupath_points_alone_are_labels(qupath_points):
    assert qupath_points(point(4, 8, "Positive"))["positive"] == [[2, 4]]


def test_a_qupath_outline_beside_detections_is_no_cell(qupath_points):
    detections = [square(x, 10, 4, "Negative", objectType="detection") for x in (10, 20)]
    read = qupath_points(square(0, 0, 60, "Tumor", objectType="annotation"), *detections)
    assert read == {"positive": [], "negative": [[6, 6], [11, 6]], "other": []}


def test_qupath_cells_without_a_class_are_refused(qupath_points):
    with pytest.raises(DataSetError, match="cell without a class"):
        qupath_points(point(4, 8, None))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Positive", "positive"),
        ("tumour: negative", "negative"),
        ("Tumor: 2+", "positive"),
        ("1+", "positive"),
        ("Stroma: Positive", "other"),
        ("Immune cells: Negative", "other"),
        ("Lymphocyte (CD3+)", "other"),
        ("Necrosis", "other"),
        ("Adipose tissue", "other"),
        ("Ignore*", None),
        ("Region*", None),
    ],
)
def test_qupath_classes_mean_what_they_say(name, label):
    assert cell_class("a.geojson", name) == label


@pytest.mark.parametrize(
    "name", ["Non-positive", "Posetive", "Ki67 pos", "neg", "Ki-67: Positive", "Tumor", "Tumor: Posetive", "4+"]
)
def test_qupath_classes_that_may_mean_this_or_that_are_refused_by_name(name):
    with pytest.raises(DataSetError, match=f"class '{name}'".replace("+", r"\+")):
        cell_class("a.geojson", name)


def test_columns_may_be_written_in_capitals(point_field):
    (field,) = read_fields(point_field("Label, X ,Y\nPositive,3.5,7.5\n\nother,1,2\n"), "points", MPP)
    assert field.points["positive"].tolist() == [[1, 2]]
    assert field.points["other"].tolist() == [[0.375, 0.625]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x;y;label\n1;2;positive\n", "has the columns 'x;y;label'"),
        ("", "has the columns ''"),
        ("x,y,label\n1,2\n", "line 2 is no point"),
        ("x,y,label\n1,2,positive\n1,b,positive\n", "line 3 is no point"),
        ("x,y,label\n1,2,tumour\n", "line 2 has the label 'tumour'"),
        ("x,y,label\nnan,2,positive\n", "a coordinate that is not a number"),
        ("x,y,label\n1,2,other\n103,2,positive\n", "has 1 of 2 labels outside its 100 x 80 pixels"),
        ("x,y,label\n1,-3,positive\n", "has 1 of 1 labels outside"),
    ],
)
def test_points_that_cannot_be_right_are_refused(point_field, text, what):
    with pytest.raises(DataSetError, match=what):
        read_fields(point_field(text), "points", MPP)


def test_a_label_set_a_little_over_the_edge_is_kept(point_field):
    (field,) = read_fields(point_field("x,y,label\n100.5,-1.5,positive\n"), "points", MPP)
    assert len(field.points["positive"]) == 1


@pytest.mark.parametrize("label", ["Infinity", "NaN", "7", '"positive"', "null", "[1]"])
def test_unknown_shidc_labels_are_refused(save, label):
    path = save(PICTURE, "shidc/a.png")
    path.with_suffix(".json").write_text(f'[{{"x": 1, "y": 2, "label_id": {label}}}]')
    with pytest.raises(DataSetError, match="label_id"):
        read_fields(path.parent, "shidc")


def test_two_pictures_beside_one_label_file_are_refused(point_field):
    folder = point_field("x,y,label\n")
    cv2.imwrite(str(folder / "a.jpg"), PICTURE)
    with pytest.raises(DataSetError, match=r"a\.png: has the name of a\.jpg"):
        read_fields(folder, "points", MPP)


def test_fields_asked_for_twice_or_by_a_wrong_name_are_refused(point_field):
    folder = point_field("x,y,label\n")
    with pytest.raises(DataSetError, match="the field a twice"):
        read_fields(folder, "points", MPP, ["a", "a"])
    with pytest.raises(DataSetError, match="no labelled field 'b'"):
        read_fields(folder, "points", MPP, ["a", "b"])


def test_own_pictures_tell_their_pixel_size_or_it_is_asked_for(point_field, tmp_path):
    folder = point_field("x,y,label\n1,1,positive\n")
    with pytest.raises(PixelSizeError, match="--mpp"):
        read_fields(folder, "points")
    (folder / "a.png").unlink()
    write_pyramid(folder / "a.tif", [PICTURE], (100, 80), 0.4)
    (field,) = read_fields(folder, "points")
    assert field.mpp == pytest.approx(0.4)
    np.testing.assert_allclose(field.points["positive"], [[0.6, 0.6]])
    with pytest.raises(PixelSizeError, match="--mpp-overrides-file"):
        read_fields(folder, "points", 0.5)
    (insisted,) = read_fields(folder, "points", 0.5, overrides_file=True)
    assert insisted.mpp == 0.5
    assert "0.4 µm" in insisted.warnings[0]
    with insisted.open() as slide:
        assert slide.mpp == 0.5


def test_public_sets_are_taken_at_their_published_size(save):
    path = save(PICTURE, "bcdata/images/1.png")
    for label in ("positive", "negative"):
        labels = path.parents[1] / "annotations" / label / "1.h5"
        labels.parent.mkdir(parents=True)
        with h5py.File(labels, "w") as store:
            store["coordinates"] = np.array([[1, 1]])
    (field,) = read_fields(path.parents[1], "bcdata")
    assert field.mpp == PUBLISHED_MPP["bcdata"] == 0.25
    assert field.points["positive"].tolist() == field.points["negative"].tolist() == [[0.375, 0.375]]


def test_fields_too_coarse_for_nuclei_are_refused(point_field):
    with pytest.raises(PixelSizeError, match=r"pixels of 1\.2 µm, too large for nuclei"):
        read_fields(point_field("x,y,label\n"), "points", 1.2)


def test_masks_in_red_and_blue_are_read_as_nuclei(save, tmp_path):
    picture = np.full((80, 80, 3), 230, np.uint8)
    mask = np.zeros_like(picture)
    mask[10:26, 10:26] = mask[40:56, 40:56] = (0, 255, 0)
    mask[12:24, 12:24], mask[42:54, 42:54] = (255, 0, 0), (0, 0, 255)
    mask[70:72, 70:72] = (0, 0, 255)
    save(picture, "masked/a_ihc.png")
    save(mask, "masked/a_mask.png")
    (field,) = read_fields(tmp_path / "masked", "deepliif", MPP)
    np.testing.assert_allclose(field.points["positive"], [[4.5, 4.5]])
    np.testing.assert_allclose(field.points["negative"], [[12.0, 12.0]])


def test_polygons_are_read_as_nuclei_and_malformed_ones_refused(save, tmp_path):
    folder = save(np.full((60, 60, 3), 230, np.uint8), "outlined/a.png").parent
    square = [[10, 10], [20, 10], [20, 20], [10, 20]]
    (folder / "polygons.json").write_text(json.dumps({"a": {"positive": [square], "negative": []}}))
    (field,) = read_fields(folder, "glioma", MPP)
    np.testing.assert_allclose(field.points["positive"], [[3.75, 3.75]])
    (folder / "polygons.json").write_text(json.dumps({"a": {"positive": [[[1, "x"]]]}}))
    with pytest.raises(DataSetError, match="malformed entry for a"):
        read_fields(folder, "glioma", MPP)
    (folder / "polygons.json").write_text("[]")
    with pytest.raises(DataSetError, match="no list of polygons"):
        read_fields(folder, "glioma", MPP)


@pytest.mark.parametrize(("layout", "labels"), [("glioma", "polygons.json"), ("shidc", "a.json")])
@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '[{"x": NaN}]', "", "{"])
def test_labels_that_are_no_sensible_json_are_refused(save, layout, labels, text):
    folder = save(PICTURE, f"{layout}/a.png").parent
    (folder / labels).write_text(text)
    with pytest.raises(DataSetError, match=labels):
        read_fields(folder, layout, MPP)


def test_bcdata_labels_that_claim_more_than_a_field_holds_are_refused(save):
    path = save(PICTURE, "bcdata/images/1.png")
    labels = path.parents[1] / "annotations/positive/1.h5"
    labels.parent.mkdir(parents=True)
    with h5py.File(labels, "w") as store:
        store.create_dataset("coordinates", (10**9, 2), "f4", chunks=(1000, 2))
    with pytest.raises(DataSetError, match=r"1\.h5.*2000000000 coordinates"):
        read_fields(path.parents[1], "bcdata")
    with h5py.File(labels, "w") as store:
        store.create_group("coordinates")
    with pytest.raises(DataSetError, match=r"1\.h5"):
        read_fields(path.parents[1], "bcdata")


@pytest.mark.parametrize("content", [b"", b"II*\0", b"\x89PNG\r\n\x1a\n"])
def test_a_mask_that_is_no_picture_is_refused(save, content):
    folder = save(PICTURE, "masked/a_ihc.png").parent
    (folder / "a_mask.png").write_bytes(content)
    with pytest.raises(DataSetError, match=r"a_mask\.png: is no picture"):
        read_fields(folder, "deepliif", MPP)
