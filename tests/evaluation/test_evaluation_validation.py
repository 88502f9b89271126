"""A laboratory's own validation: what passes, what does not, and what the report says of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import expit, logit

import ki67
from ki67.case import read_case
from ki67.cells import load_engine
from ki67.errors import CaseError, DataSetError
from ki67.evaluation.rules import ValidationLimits
from ki67.evaluation.validation import laboratory_deviation, validate
from ki67.evaluation.validation_cases import ValidationCase
from ki67.files import sha256_of
from ki67.options import Options
from ki67.pipeline import run_count
from ki67.report.validation_page import render_validation, write_validation
from ki67.scoring.cut_offs import own_cut_off
from ki67.slides import open_slide

AT_20 = (own_cut_off(20),)


def cases(folder: Path, number: int = 30, off: float = 0.0, **columns: str) -> Path:
    """Manual indices 4, 6, 8, …; the program's ``off`` ± 1 points higher; every third case has columns of its own."""
    rows = [",".join(["case", "manual_percent", "index_percent", *columns])]
    for n in range(number):
        manual = 4 + 2 * n
        others = [value if n % 3 == 0 else "other" for value in columns.values()]
        rows.append(",".join([f"c{n}", str(manual), str(manual + off + (1 if n % 2 else -1)), *others]))
    path = folder / "cases.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def unmet(result: dict) -> list[str]:
    return [row["criterion"] for row in result["criteria"] if not row["met"]]


def test_thirty_cases_that_agree_pass(tmp_path):
    result = validate(cases(tmp_path, off=0.5), cut_offs=AT_20)

    assert result["passed"] is True
    assert (result["cases"], result["compared"], result["warnings"]) == (30, 30, [])
    assert result["agreement"]["bland_altman_bias_points"] == pytest.approx(0.5)


def test_without_a_cut_off_of_its_own_every_published_one_must_be_kept_and_that_is_said(tmp_path):
    result = validate(cases(tmp_path))

    assert [row["cut_off"] for row in result["discordance"]][:2] == ["ikwg-2021", "st-gallen-2011"]
    assert result["warnings"][0].startswith("5 cut-offs must be kept at once")


def test_fewer_than_thirty_are_not_enough_however_well_they_agree(tmp_path):
    result = validate(cases(tmp_path, 29), cut_offs=AT_20)

    assert (result["passed"], result["enough"], unmet(result)) == (False, False, [])
    assert result["warnings"] == ["29 cases with both indices are not enough: with fewer than 30 nothing is passed"]


def test_a_bias_fails_by_the_limit_that_is_set(tmp_path):
    path = cases(tmp_path, off=3.5)

    result = validate(path, cut_offs=AT_20)
    wider = validate(path, cut_offs=AT_20, limits=ValidationLimits(bias_points=4))

    assert (result["passed"], unmet(result)) == (False, ["bias"])
    assert wider["passed"] is True
    sources = [row["source"] for run in (result, wider) for row in run["criteria"] if row["criterion"] == "bias"]
    assert sources == ["chosen by the authors of ki67, no published source", "set by the laboratory"]


def test_cases_in_another_class_are_told_at_the_laboratorys_cut_off(tmp_path):
    # 17 % and 18 % become 20 % and more: two of forty cases.
    path = tmp_path / "cases.csv"
    rows = [f"c{n},{n},{n + (3 if n in (17, 18) else 0)}" for n in range(40)]
    path.write_text("\n".join(["case,manual_percent,index_percent", *rows]))

    result = validate(path, cut_offs=AT_20)

    (row,) = result["discordance"]
    assert (row["cut_off"], row["discordant"], row["percent"]) == ("20", 2, 5)
    assert row["ci95_percent"][0] < 5 < row["ci95_percent"][1]
    assert [case["case"] for case in result["per_case"] if case["other_class_at"] == ["20"]] == ["c17", "c18"]
    assert unmet(validate(path, cut_offs=AT_20, limits=ValidationLimits(discordant_percent=4))) == ["discordance"]


def test_the_bias_of_each_scanner_and_clone_is_judged_where_there_are_enough_cases(tmp_path):
    rows = ["case,manual_percent,index_percent,scanner,antibody"]
    rows += [f"a{n},{n},{n},Aperio,MIB-1" for n in range(30)]
    rows += [f"m{n},{n},{n + 6},MIRAX,{'30-9' if n else ''}" for n in range(5)]
    (tmp_path / "cases.csv").write_text("\n".join(rows))

    result = validate(tmp_path / "cases.csv", cut_offs=AT_20)

    assert [(row["group"], row["cases"], row["bias_points"]) for row in result["by_scanner"]] == [
        ("Aperio", 30, 0),
        ("MIRAX", 5, 6),
    ]
    assert [(row["criterion"], row["of"]) for row in result["criteria"] if not row["met"]] == [
        ("bias_by_scanner", "MIRAX")
    ]
    assert result["warnings"] == [
        "antibody with fewer than 5 cases, so not judged: 30-9 (4)",
        "1 cases without antibody",
    ]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of one drawn field."""
    folder = tmp_path_factory.mktemp("counted")
    pixels = np.full((600, 600, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, 560, 80) for y in range(60, 560, 80)):
        cv2.circle(pixels, (x, y), 15, (110, 70, 45) if number % 4 == 0 else (120, 140, 195), -1, cv2.LINE_AA)
    cv2.imwrite(str(folder / "field.png"), pixels[..., ::-1])
    run_count(folder / "field.png", folder / "case", Options(), mpp=0.25)
    return folder / "case"


def changed(case: Path, score: dict | None = None, **manifest: object) -> None:
    """Change ``run.json`` and ``score.json`` as another outcome would have left them."""
    run = json.loads((case / "run.json").read_text()) | manifest
    if score is not None:
        found = json.loads((case / "score.json").read_text())
        (case / "score.json").write_text(json.dumps(found | score))
        for stage in run["stages"].values():
            if "score.json" in stage.get("outputs", {}):
                stage["outputs"]["score.json"] = sha256_of(case / "score.json")
    (case / "run.json").write_text(json.dumps(run))


def test_the_indices_of_case_folders_are_read_and_refused_cases_count(tmp_path, counted):
    for name in ("a", "b", "c", "no_index", "refused"):
        shutil.copytree(counted, tmp_path / name)
    changed(tmp_path / "a", models={"cells": "ab" * 32})
    changed(tmp_path / "no_index", {"index_percent": None})
    changed(tmp_path / "refused", state="failed", error="too few cells")
    index = json.loads((counted / "score.json").read_text())["index_percent"]
    rows = [f"{name},{index - 1},{name}" for name in ("a", "b", "c", "no_index", "refused")]
    (tmp_path / "cases.csv").write_text("\n".join(["case,manual_percent,folder", *rows]))

    result = validate(tmp_path / "cases.csv", cut_offs=AT_20)

    assert result["compared"] == 3
    assert result["agreement"]["bland_altman_bias_points"] == pytest.approx(1)
    assert result["without_index"] == [
        {"case": "no_index", "reason": "counted, but no index given: see its report"},
        {"case": "refused", "reason": "too few cells"},
    ]
    assert "without_index" in unmet(result)
    assert result["warnings"][1].startswith("the cases were not all scored by the same program: ki67 ")


def test_a_folder_without_a_case_or_with_an_unfinished_one_is_refused(tmp_path, counted):
    (tmp_path / "cases.csv").write_text("case,manual_percent,folder\na,10,one\n")
    with pytest.raises(CaseError, match="is no case"):
        validate(tmp_path / "cases.csv")
    shutil.copytree(counted, tmp_path / "one")
    changed(tmp_path / "one", state="running")
    with pytest.raises(CaseError, match="holds a run that has not ended"):
        validate(tmp_path / "cases.csv")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a,10,9,x", "line 2 has both an index_percent and a folder"),
        ("a,10,,", "line 2 has neither an index_percent nor a folder"),
        ("a,120,9,", "line 2 has the manual_percent '120'"),
        ("a,10,nine,", "line 2 has the index_percent 'nine'"),
        ("a,10,9,\na,10,9,", "line 3 names the case 'a' again"),
        ("a,10,9,\nb,10,none,", "holds 1 cases with both indices, at least 3"),
    ],
)
def test_tables_that_make_no_sense_are_refused(tmp_path, row, what):
    (tmp_path / "cases.csv").write_text(f"case,manual_percent,index_percent,folder\n{row}\n")
    with pytest.raises(DataSetError, match=what):
        validate(tmp_path / "cases.csv")


def test_the_report_and_the_table_are_whole_and_safe(tmp_path):
    result = validate(cases(tmp_path, off=0.5, scanner="<script>alert(1)</script>"))

    files = write_validation(tmp_path / "out", result, "Pathology & Cytology")
    page, table = (Path(files[name]).read_text() for name in ("report", "table"))

    assert "Passed" in page
    assert "Pathology &amp; Cytology" in page
    assert "<script>" not in page
    assert page.count('src="data:image/svg+xml;base64,') == 1
    assert "http" not in page
    assert "chosen by the authors of ki67, no published source" in page
    assert len(table.splitlines()) == 31
    assert table.startswith("case,scanner,antibody,manual_percent,index_percent,difference_points,")


def test_a_report_of_too_few_cases_does_not_say_passed(tmp_path):
    page = render_validation(validate(cases(tmp_path, 10)))
    assert "Not enough cases" in page
    assert "Passed" not in page


def test_the_command_ends_with_0_for_pass_and_fail_and_1_for_bad_input(tmp_path, ki67):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    passed = ki67("validate", cases(good), "--cut-off", "20", "--out", tmp_path / "out", "--json")
    failed = ki67("validate", cases(bad, off=8), "--cut-off", "st-gallen-2013")
    absent = ki67("validate", tmp_path / "absent.csv")

    assert (passed.code, passed.json["passed"]) == (0, True)
    assert Path(passed.json["report"]).is_file()
    assert (failed.code, "NOT PASSED" in failed.stdout) == (0, True)
    assert (absent.code, absent.stderr.count("\n")) == (1, 1)
    assert ki67("validate", good / "cases.csv", "--cut-off", "high").code == 2


def in_one_laboratory(
    number: int = 40, bias: float = 0.3, between: float = 0.25, **same: object
) -> list[ValidationCase]:
    """Cases whose index is off on the logit, each counted on 5,000 cells."""
    rng = np.random.default_rng(8)
    true = rng.uniform(0.03, 0.6, number)
    found = expit(logit(true) + bias + rng.normal(0, between, number))
    facts = {"cells_model": "ab" * 32} | same
    by_hand = rng.binomial(500, true) / 5
    return [
        ValidationCase(f"c{n}", float(hand), float(100 * own), **facts)
        for n, (hand, own) in enumerate(zip(by_hand, found, strict=True))
    ]


def test_how_far_the_index_is_off_in_a_laboratory_is_found_again():
    own = laboratory_deviation(in_one_laboratory())

    assert own is not None
    assert (own.cells_model, own.cases) == ("ab" * 32, 40)
    assert own.bias == pytest.approx(0.3, abs=0.12)
    assert 0.15 < own.between < 0.4


def test_cases_that_say_nothing_on_the_logit_move_no_interval():
    own = in_one_laboratory()
    nothing = [
        ValidationCase(f"n{n}", manual, manual, cells_model="ab" * 32) for n, manual in enumerate([0.0, 100.0] * 20)
    ]
    assert laboratory_deviation(nothing) is None
    assert laboratory_deviation([*own, *nothing]) == laboratory_deviation(own)
    alike = [ValidationCase(f"a{n}", 20.0, 22.0, cells_model="ab" * 32) for n in range(30)]
    assert laboratory_deviation(alike).between >= 0.1


def test_a_folder_stands_for_one_case_only(tmp_path, counted):
    shutil.copytree(counted, tmp_path / "a")
    (tmp_path / "cases.csv").write_text("case,manual_percent,folder\nx,10,a\ny,12,./a\n")
    with pytest.raises(DataSetError, match="line 3 names the folder"):
        validate(tmp_path / "cases.csv")


@pytest.mark.parametrize("less", ["few", "two models", "no folder"])
def test_nothing_is_claimed_of_a_laboratory_by_few_cases_or_other_models(less):
    given = {
        "few": in_one_laboratory(29),
        "two models": [*in_one_laboratory(20), *in_one_laboratory(20, cells_model="cd" * 32)],
        "no folder": in_one_laboratory(cells_model=""),
    }
    assert laboratory_deviation(given[less]) is None


def written(folder: Path, **changes: object) -> Path:
    own = {"format": 1, "laboratory": "Ours", "cells_model": load_engine().card.sha256, "cases": 40}
    own |= {"bias": 0.3, "between": 0.1, "per_cell": 0.0} | changes
    (folder / "laboratory.json").write_text(json.dumps(own))
    return folder / "laboratory.json"


def test_the_interval_of_a_case_rests_on_the_laboratorys_own_validation(tmp_path, counted):
    field = counted.parent / "field.png"
    options = Options(allow_few_cells=True)
    run_count(field, tmp_path / "card", options, mpp=0.25)
    run_count(field, tmp_path / "own", replace(options, validation=written(tmp_path)), mpp=0.25)
    card, own = (read_case(tmp_path / name).score for name in ("card", "own"))

    assert card.own_validation is None
    assert own.own_validation is not None
    assert (own.own_validation.laboratory, own.own_validation.cases) == ("Ours", 40)
    assert own.index_percent == card.index_percent
    assert own.index_corrected_percent < card.index_corrected_percent
    page = (tmp_path / "own" / "report.html").read_text()
    assert "40 cases of Ours" in page
    assert "40 cases of Ours" not in (tmp_path / "card" / "report.html").read_text()
    with open_slide(field, 0.25) as slide:
        again = ki67.score(ki67.count(slide, validation=tmp_path / "laboratory.json"), allow_few_cells=True)
    assert again.intervals == own.intervals


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cells_model": "cd" * 32}, "counted by another model"),
        ({"bias": "high"}, "no validation of a laboratory"),
        ({"between": -1.0}, "no validation of a laboratory"),
        ({"format": 2}, "no validation of a laboratory"),
        ({"surplus": 1}, "no validation of a laboratory"),
        ({"bias": float("nan")}, "NaN"),
    ],
)
def test_a_validation_that_does_not_fit_is_refused_before_anything_is_counted(tmp_path, counted, changes, said, ki67):
    path = written(tmp_path, **changes)
    told = ki67(
        "count", counted.parent / "field.png", "--mpp", 0.25, "--out", tmp_path / "case", "--validation", path
    )
    assert (told.code, told.stderr.count("\n")) == (1, 1)
    assert said in told.stderr
    assert not (tmp_path / "case").exists()


def test_a_threshold_that_overrules_the_model_and_a_validation_of_it_do_not_go_together(tmp_path, counted, ki67):
    words = ("--mpp", 0.25, "--out", tmp_path / "case", "--validation", written(tmp_path), "--dab-threshold", 0.2)
    assert ki67("count", counted.parent / "field.png", *words).code == 2


def test_the_page_and_the_file_tell_what_an_index_means_in_the_laboratory(tmp_path):
    result = validate(cases(tmp_path)) | {"deviation": laboratory_deviation(in_one_laboratory()).model_dump()}

    files = write_validation(tmp_path / "out", result, "Ours")

    assert "What an index means in this laboratory" in Path(files["report"]).read_text()
    own = json.loads(Path(files["laboratory"]).read_text())
    assert (own["laboratory"], own["cases"]) == ("Ours", 40)
    again = write_validation(tmp_path / "out", result | {"deviation": None})
    assert "laboratory" not in again
    assert not Path(files["laboratory"]).exists()
