"""Labelled patches are listed and read as published, and a bad index says where it is bad."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idc_scene import MPP, PATCH_PX
from ki67.errors import DataSetError
from ki67.fields.patches import FACTS_SCHEMA, load_pixels, read_patches, rows_for_model
from ki67.idc import IdcModel


def test_the_published_folders_give_patient_and_label(patch_folder: Path) -> None:
    rows = read_patches(patch_folder)
    assert len(rows) == 24
    assert {row.patient for row in rows} == {"101", "102", "103", "104"}
    assert all(row.path.parent.name == str(row.label) for row in rows)


def test_an_index_chooses_patches_and_keeps_its_order_and_columns(patch_folder: Path) -> None:
    index = patch_folder / "chosen.csv"
    lines = (patch_folder / "index.csv").read_text().splitlines()
    index.write_text("\n".join([lines[0], lines[9], lines[2]]))
    rows = read_patches(patch_folder, index)
    assert [row.patient for row in rows] == ["102", "101"]
    assert rows[0].columns["split"] == "train"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("patient,label\n1,0\n", "line 1: lacks the column"),
        ("patient,label,file\n1,IDC,a.png\n", "line 2: the label is 'IDC'"),
        ("patient,label,file\n1,0,a.png\n,0,a.png\n", "line 3: the patient is empty"),
        ("patient,label,file\n1,0\n", "line 2: does not have as many fields"),
        ("patient,label,file\n1,0,a.png,b\n", "line 2: does not have as many fields"),
        ("patient,label,file\n", "names no patches"),
        ("", "lacks the column"),
    ],
)
def test_a_bad_index_is_refused_with_its_line(patch_folder: Path, text: str, complaint: str) -> None:
    index = patch_folder / "bad.csv"
    index.write_text(text)
    with pytest.raises(DataSetError, match=complaint) as caught:
        read_patches(patch_folder, index)
    assert str(index) in str(caught.value)


def test_a_missing_folder_index_or_image_is_named(patch_folder: Path) -> None:
    with pytest.raises(DataSetError, match="is not a folder"):
        read_patches(patch_folder / "nowhere")
    with pytest.raises(DataSetError, match="does not exist"):
        read_patches(patch_folder, patch_folder / "nowhere.csv")
    rows = read_patches(patch_folder)
    rows[3].path.unlink()
    with pytest.raises(DataSetError, match=rows[3].path.name):
        load_pixels(rows, 20)


def test_a_file_that_is_no_image_is_refused(patch_folder: Path) -> None:
    rows = read_patches(patch_folder)
    whole = rows[0].path.read_bytes()
    header = whole[12:16] + struct.pack(">II", 60_000, 60_000) + whole[24:29]
    for content in (whole[:60], whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]):
        rows[0].path.write_bytes(content)
        with pytest.raises(DataSetError, match="cannot be read as an image"):
            load_pixels(rows, 20)


def test_patches_cut_off_at_the_edge_are_padded_with_white_and_larger_ones_refused(patch_folder: Path) -> None:
    rows = read_patches(patch_folder)[:2]
    Image.fromarray(np.zeros((12, 20, 3), np.uint8)).save(rows[0].path)
    pixels = load_pixels(rows, 20)
    assert pixels.shape == (2, 20, 20, 3)
    assert (pixels[0, :12] == 0).all()
    assert (pixels[0, 12:] == 255).all()
    with pytest.raises(DataSetError, match="20 x 20 px, expected at most 16 x 16"):
        load_pixels(rows[1:], 16)


def test_patches_that_are_all_too_small_are_refused(patch_folder: Path) -> None:
    with pytest.raises(DataSetError, match="smaller than 50 x 50 px; the largest has 20 px"):
        load_pixels(read_patches(patch_folder), 50)


def write_facts(
    folder: Path, classes: tuple[str, ...], patch_px: int = PATCH_PX, mpp: float = MPP, core_px: int | None = None
) -> None:
    facts = {"schema": FACTS_SCHEMA, "classes": classes, "patch_px": patch_px, "mpp": mpp}
    facts |= {} if core_px is None else {"core_px": core_px}
    (folder / "patches.json").write_text(json.dumps(facts))


def test_labels_are_numbered_as_the_model_does(patch_folder: Path, green_model: IdcModel) -> None:
    rows = read_patches(patch_folder)
    assert rows_for_model(rows, patch_folder, green_model.card) == rows
    write_facts(patch_folder, ("other", "IDC"))
    assert rows_for_model(rows, patch_folder, green_model.card) == rows
    write_facts(patch_folder, ("IDC", "other"))
    turned = rows_for_model(rows, patch_folder, green_model.card)
    assert [row.label for row in turned] == [1 - row.label for row in rows]


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ((("other", "IDC"), 48), "48 px at 4 µm, the model takes 20 px at 4 µm"),
        ((("other", "IDC"), PATCH_PX, 2.0), "20 px at 2 µm, the model takes 20 px at 4 µm"),
        ((("other", "IDC"), PATCH_PX, 4.0, 8), "labelled by the 8 px in their middle, the model judges 20 px"),
        ((("other", "DCIS", "IDC"),), "holds the class DCIS, the model knows other, IDC"),
    ],
)
def test_patches_that_a_model_was_not_made_for_are_refused(
    patch_folder: Path, green_model: IdcModel, facts: tuple[object, ...], complaint: str
) -> None:
    write_facts(patch_folder, *facts)
    with pytest.raises(DataSetError, match=complaint):
        rows_for_model(read_patches(patch_folder), patch_folder, green_model.card)


def test_many_patches_lie_in_a_file_and_are_the_same(patch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_patches(patch_folder)
    held = load_pixels(rows, 20)
    monkeypatch.setattr("ki67.fields.patches.HELD_BYTES", 1000)
    aside = load_pixels(rows, 20)
    assert isinstance(aside, np.memmap)
    np.testing.assert_array_equal(aside, held)
