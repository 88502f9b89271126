"""``ki67 report``: the report of a finished case again, in another language, with details and corrections."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ki67.case import read_case
from ki67.case.log import LOG
from ki67.files import read_json
from ki67.options import Options
from ki67.pipeline import run_count

Run = Callable[..., Any]


def draw_field(path: Path) -> None:
    pixels = np.full((600, 600, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, 560, 80) for y in range(60, 560, 80)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), pixels[..., ::-1])


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    draw_field(folder / "field.png")
    run_count(folder / "field.png", folder / "case", Options(), mpp=0.25)
    return folder


@pytest.fixture
def case(counted: Path, tmp_path: Path) -> Path:
    shutil.copytree(counted, tmp_path / "copy")
    return tmp_path / "copy" / "case"


def page(case: Path) -> str:
    return (case / "report.html").read_text(encoding="utf-8")


def test_a_count_writes_both_and_no_details(case: Path) -> None:
    assert (case / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "details" not in read_json(case / "run.json", ValueError, "")  # type: ignore[arg-type]
    assert "Accession" not in page(case)


def test_another_language_leaves_every_number(ki67: Run, case: Path) -> None:
    before = {name: (case / name).read_bytes() for name in ("score.json", "cells.parquet")}
    done = ki67("report", case, "--language", "de", "--json", "--quiet")
    assert done.code == 0
    assert done.json["report"].endswith("report.html")
    assert done.json["index_percent"] == done.json["automatic_index_percent"]
    assert '<html lang="de">' in page(case)
    assert {name: (case / name).read_bytes() for name in before} == before
    assert read_case(case).record.state == "done"


def test_details_are_kept_from_one_report_to_the_next(ki67: Run, case: Path) -> None:
    ki67("report", case, "--accession", "A26-17", "--antibody", "MIB-1")
    ki67("report", case, "--antibody", "SP6", "--scanner", "<GT 450>")
    assert dict(read_case(case).record.details.told()) == {
        "accession": "A26-17",
        "antibody": "SP6",
        "scanner": "<GT 450>",
    }
    for said in ("A26-17", "SP6", "&lt;GT 450&gt;"):
        assert said in page(case)
    assert "MIB-1" not in page(case)


def test_a_correction_takes_the_report_away_and_the_next_one_shows_it(ki67: Run, case: Path) -> None:
    cell = next(row for row in read_case(case).cells.to_pylist() if row["label"] == "positive" and row["in_region"])
    words = ("relabel", "--cell", cell["cell_id"], "--to", "negative", "--by", "Dr <A>", "--why", "pale nucleus")
    corrected = ki67("correct", case, *words)
    assert corrected.code == 0
    assert "ki67 report CASE" in corrected.stdout
    assert not (case / "report.html").exists()
    assert not (case / "report.pdf").exists()
    assert read_case(case).report is None

    done = ki67("report", case, "--json", "--quiet")
    assert done.json["index_percent"] < done.json["automatic_index_percent"]
    text = page(case)
    assert f"{done.json['index_percent']:.1f} %" in text
    assert f"Automatic index {done.json['automatic_index_percent']:.1f} %" in text
    assert "Dr &lt;A&gt;" in text
    assert "pale nucleus" in text
    assert "1 correction by hand" in text


def test_the_same_command_as_before_keeps_the_corrections_in_the_report(ki67: Run, case: Path) -> None:
    ki67("correct", case, "add", "--at-um", 75, 75, "--label", "positive", "--by", "A", "--why", "missed")
    done = ki67("count", case.parent / "field.png", "--out", case, "--mpp", 0.25)
    assert done.code == 0
    assert "1 correction by hand" in page(case)


def test_a_slide_that_is_gone_leaves_everything_as_it_was(ki67: Run, case: Path, counted: Path) -> None:
    (case.parent / "field.png").unlink()

    def held() -> list[tuple[str, bytes]]:
        files = (path for path in case.iterdir() if path.is_file() and path.name != LOG)
        return sorted((path.name, path.read_bytes()) for path in files)

    before = held()
    (case / "elsewhere.png").write_bytes(b"")
    done = ki67("report", case, "--ki67", case / "nowhere.png")
    assert done.code == 1
    assert "lies no longer at" in done.stderr
    (case / "elsewhere.png").unlink()
    assert held() == before
    assert ki67("report", case, "--ki67", counted / "field.png").code == 0


@pytest.mark.parametrize("value", ["x" * 65, "two\nlines"])
def test_a_detail_that_is_no_line_is_wrong_usage(ki67: Run, case: Path, value: str) -> None:
    done = ki67("report", case, "--block", value)
    assert done.code == 2
    assert "one line of at most 64 characters" in done.stderr


def test_a_folder_without_a_case_or_a_language_that_is_none_is_said(ki67: Run, case: Path, tmp_path: Path) -> None:
    assert ki67("report", tmp_path).code == 1
    assert ki67("report", case, "--language", "xx").code == 2


def test_other_cuts_of_intensity_need_no_count(ki67: Run, counted: Path, tmp_path: Path) -> None:
    shutil.copytree(counted, tmp_path / "copy")
    folder, case = tmp_path / "copy", tmp_path / "copy" / "case"
    before, cells = read_case(case).score, read_case(case).cells_sha256
    words = ("count", folder / "field.png", "--mpp", 0.25, "--out", case, "--json", "--quiet")

    done = ki67(*words, "--intensity-cuts", 0.01, 0.02)

    assert done.code == 0, done.stderr
    after = read_case(case).score
    assert before.intensity is not None
    assert after.intensity is not None
    assert done.json["index_percent"] == before.index_percent
    assert after.intensity.cells["3+"] == after.positive > 0
    assert before.intensity.cells["0"] == after.intensity.cells["0"] == after.negative
    assert read_case(case).cells_sha256 == cells
    assert ki67("export", case, case / "cells.csv", "--quiet").code == 0
    assert (case / "cells.csv").read_text("utf-8").count(',"3+",') >= after.positive
    refused = ki67(*words, "--intensity-cuts", 0.6, 0.4)
    assert refused.code == 2
    assert "two densities above 0 and up to 3" in " ".join(refused.stderr.split())
