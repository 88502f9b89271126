"""Where labelling is complete: what is found elsewhere is neither hit nor false alarm, nor learnt from."""

import json

import cv2
import numpy as np
import pytest

import synthetic
from ki67.errors import DataSetError
from ki67.evaluation.cells import evaluate_cells
from ki67.fields.labelled_fields import read_fields

MPP = 0.25


@pytest.fixture
def half_labelled(tmp_path, save):
    """A drawn field whose left half alone is labelled; a function that says so in a file beside it."""
    picture, centres, positive = synthetic.field()
    half = picture.shape[1] / 2
    rows = [
        f"{x - 0.5},{y - 0.5},{'positive' if brown else 'negative'}"
        for (x, y), brown in zip(centres, positive, strict=True)
        if x < half
    ]
    (tmp_path / "field.csv").write_text("\n".join(["x,y,label", *rows]))
    save(picture)

    def say(suffix):
        if suffix == ".png":
            mask = np.zeros(picture.shape[:2], np.uint8)
            mask[:, : int(half)] = 255
            cv2.imwrite(str(tmp_path / "field_labelled.png"), mask)
        elif suffix == ".geojson":
            ring = [[0, 0], [half, 0], [half, picture.shape[0]], [0, picture.shape[0]], [0, 0]]
            feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
            (tmp_path / "field_labelled.geojson").write_text(json.dumps(feature))
        return tmp_path

    return say


@pytest.mark.parametrize("suffix", [".png", ".geojson"])
def test_false_alarms_outside_the_labelled_area_are_not_counted(half_labelled, suffix):
    without = evaluate_cells(half_labelled(""), "points", MPP)
    within = evaluate_cells(half_labelled(suffix), "points", MPP)
    assert without["detection"]["precision"] < 0.7
    assert within["detection"]["precision"] > 0.95
    assert within["detection"]["recall"] == without["detection"]["recall"]


def test_the_index_is_compared_inside_the_labelled_area(half_labelled, tmp_path):
    # What is labelled is positive alone, and half of all that is drawn is not labelled: only there are negatives.
    folder = half_labelled(".png")
    rows = [row for row in (folder / "field.csv").read_text().splitlines() if not row.endswith("negative")]
    (folder / "field.csv").write_text("\n".join(rows))
    mask = np.zeros(cv2.imread(str(folder / "field.png")).shape[:2], np.uint8)
    for row in rows[1:]:
        x, y, _ = row.split(",")
        cv2.circle(mask, (round(float(x)), round(float(y))), 6, 255, -1)
    cv2.imwrite(str(folder / "field_labelled.png"), mask)
    result = evaluate_cells(folder, "points", MPP)
    assert result["index_pooled_percent"] > 95
    assert result["gold_pooled_percent"] == 100


def test_a_nucleus_found_at_the_edge_of_the_area_is_a_hit(half_labelled):
    (field,) = read_fields(half_labelled(".png"), "points", MPP)
    edge_um = field.labelled.mask[0].sum() * MPP
    rightmost = max(
        (place for places in field.points.values() for place in places.tolist()), key=lambda place: place[0]
    )
    beside = np.array([[edge_um + 1.0, rightmost[1]], [edge_um + 40.0, 10.0]])
    field.points["positive"] = np.vstack([field.points["positive"], [[edge_um - 0.5, rightmost[1]]]])
    assert field.can_judge(beside, 2.5).tolist() == [True, False]


def test_a_mask_of_another_size_is_refused(half_labelled):
    folder = half_labelled(".png")
    cv2.imwrite(str(folder / "field_labelled.png"), np.full((10, 12), 255, np.uint8))
    with pytest.raises(DataSetError, match=r"field_labelled\.png: has 12 x 10 pixels, the picture"):
        read_fields(folder, "points", MPP)


def test_a_mask_that_leaves_nothing_is_refused(half_labelled):
    folder = half_labelled(".png")
    mask = cv2.imread(str(folder / "field_labelled.png"))
    cv2.imwrite(str(folder / "field_labelled.png"), 0 * mask)
    with pytest.raises(DataSetError, match="leaves nothing of the picture"):
        read_fields(folder, "points", MPP)


def test_a_mask_and_outlines_at_once_are_refused(half_labelled):
    half_labelled(".png")
    with pytest.raises(DataSetError, match="both say where labelling is complete"):
        read_fields(half_labelled(".geojson"), "points", MPP)


def test_nothing_is_asked_for_outside_the_labelled_area(half_labelled):
    torch = pytest.importorskip("torch")
    from ki67.learning.cells.crops import Crops, Draws
    from ki67.learning.cells.recipe import FieldSet, read_labels, read_pixels

    (field,) = read_pixels(read_labels([FieldSet("points", half_labelled(".png"), mpp=MPP)]))
    assert field.labelled.shape == field.light.shape[:2]
    crops = Crops([field], 96, torch.device("cpu"))
    edge_px = int(field.labelled[0].sum())
    upright = {
        "turn": np.eye(2, dtype=np.float32)[None],
        "centre": np.array([[edge_px, 60]], np.float32),
        "scale": np.ones(1, np.float32),
    }
    drawn = Draws(**(vars(crops.draw(np.random.default_rng(1), 1)) | upright)).to(crops.device)
    _, _, weight = crops.make(drawn)
    assert weight[0, 1, :, :23].min() > 0
    assert weight[0, :, :, 25:].max() == 0
