"""`ki67 evaluate idc` reads an index of its own, prints Table 2 and survives odd sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ki67.errors import DataSetError
from ki67.evaluation.idc import RATE_ROWS, evaluate_idc
from ki67.evaluation.idc_sections import assemble, evaluate_section
from ki67.idc import load_model, read_patches

PINK, PURPLE = (228, 180, 205), (110, 60, 150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, six places each, 50 px."""
    root = tmp_path_factory.mktemp("patches")
    generator = np.random.default_rng(0)
    for patient in ("7001", "7002"):
        for place in range(12):
            label, x, y = int(place % 4 > 1), 50 * (place % 4), 50 * (place // 4)
            pixels = np.clip(generator.normal(PURPLE if label else PINK, 20, (50, 50, 3)), 0, 255).astype(np.uint8)
            path = root / patient / str(label) / f"{patient}_idx5_x{x + 1}_y{y + 1}_class{label}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def test_every_row_is_there_with_intervals_over_patients(folder: Path) -> None:
    result = evaluate_idc(folder)
    assert set(RATE_ROWS) <= set(result["pooled"])
    assert set(result["intervals"]) == set(RATE_ROWS)
    assert result["pooled"]["patches"] == 24
    assert result["pooled"]["patients"] == 2
    assert result["model"] == "idc_inception_v1"
    assert result["model_sha256"] == load_model().sha256


def test_the_command_takes_the_patches_that_the_index_names(folder: Path, ki67: Callable[..., object]) -> None:
    rows = read_patches(folder)[:7]
    index = folder / "some.csv"
    lines = [f"{row.patient},{row.label},{row.path.relative_to(folder)}" for row in rows]
    index.write_text("\n".join(["patient,label,file", *lines]))
    outcome = ki67("evaluate", "idc", folder, "--index", index, "--json", "--quiet")
    assert outcome.code == 0
    assert outcome.json["pooled"]["patches"] == 7
    table = ki67("evaluate", "idc", folder, "--index", index, "--quiet")
    assert "balanced_accuracy" in table.stdout


def test_patches_of_one_class_have_no_auc(folder: Path) -> None:
    index = folder / "one.csv"
    rows = [row for row in read_patches(folder) if row.label == 1]
    lines = [f"{row.patient},{row.label},{row.path.relative_to(folder)}" for row in rows]
    index.write_text("\n".join(["patient,label,file", *lines]))
    result = evaluate_idc(folder, index)
    assert result["pooled"]["auc"] is None
    assert result["intervals"]["specificity"] is None


def test_a_wrong_folder_is_one_line(ki67: Callable[..., object], tmp_path: Path) -> None:
    outcome = ki67("evaluate", "idc", tmp_path / "nowhere", "--quiet")
    assert outcome.code == 1
    assert "is not a folder" in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1


def test_a_section_is_put_together_and_judged_like_a_slide(folder: Path) -> None:
    rows = [row for row in read_patches(folder) if row.patient == "7001"]
    section = assemble(rows, 50, 4.0)
    assert section.pixels.shape == (150, 200, 3)
    assert section.truth.tolist() == [[0, 0, 1, 1]] * 3
    result = evaluate_section(section, load_model())
    assert result.heatmap.probability.shape == (6, 8)
    assert result.measures["true_area_mm2"] == pytest.approx(6 * 0.04)


def test_a_file_name_without_a_place_cannot_be_put_together(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "1" / "0" / "here.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(path)
    with pytest.raises(DataSetError, match="holds no place"):
        assemble(read_patches(tmp_path), 50, 4.0)


def test_the_real_validation_sample_keeps_its_figure(data: Path, tmp_path: Path) -> None:
    root = data / "idc_patches"
    rows = read_patches(root, root / "index.csv")
    chosen = [row for row in rows if row.columns["split"] == "val" and row.columns["random_sample"] == "1"][::4]
    index = tmp_path / "index.csv"
    lines = [f"{row.patient},{row.label},{row.path.relative_to(root)}" for row in chosen]
    index.write_text("\n".join(["patient,label,file", *lines]))
    result = evaluate_idc(root, index)
    # A quarter of the patches: the standard error of this AUC is about 0.012.
    assert result["pooled"]["auc"] > 0.88
