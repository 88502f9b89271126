"""``ki67 cohort``: the words, the exit codes, and real cases that are refused by the real program."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ki67.cohort.results import FIGURES, figures_of

Run = Callable[..., Any]
Cohort = Callable[..., Path]


def test_the_table_follows_the_command_and_options_stand_anywhere(
    ki67: Run, cohort: Cohort, tmp_path: Path, stand_in: None
) -> None:
    table, out = cohort(A="", B=""), tmp_path / "out"
    first = ki67("cohort", table, "--out", out, "--json", "--quiet", "--", "--allow-few-cells", "--mode", "rigid")
    assert first.code == 0, first.stderr
    assert first.json["done"] == 2
    assert first.stderr == ""
    assert ki67("cohort", "--out", out, "--json", "--shard", "1/1", table).json["already_done"] == 0  # other options
    assert ki67("cohort", "run", table, "--out", out, "--json").json["already_done"] == 2
    told = ki67("cohort", table, "--out", out, "--dry-run")
    assert told.stdout.startswith("0 of 2 cases to run, 2 finished")
    assert "collect" in ki67("cohort", "--help").stdout
    assert ki67("cohort", "collect", out).stdout.startswith("2 of 2 cases have a result")


def test_a_failed_case_ends_the_cohort_with_1_and_one_line(
    ki67: Run, cohort: Cohort, tmp_path: Path, stand_in: None
) -> None:
    outcome = ki67("cohort", cohort(A="", B="damaged", C=""), "--out", tmp_path / "out", "--json", "--quiet")
    assert outcome.code == 1
    assert outcome.json["done"] == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("ki67: error: 1 of 3 cases failed (the first: B, slide cannot be read)")
    assert ki67("cohort", "collect", tmp_path / "out", "--quiet").code == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("cohort",), 2, ""),
        (("cohort", "cases.csv"), 2, "--out"),
        (("cohort", "cases.csv", "more.csv", "--out", "o"), 2, "one word too many"),
        (("cohort", "cases.csv", "--out", "o", "--workers", "0"), 2, "--workers"),
        (("cohort", "cases.csv", "--out", "o", "--shard", "3/2"), 2, "--shard"),
        (("cohort", "cases.csv", "--out", "o", "--scheduler", "tcp://x:1", "--workers", "2"), 2, "its own workers"),
        (("cohort", "cases.csv", "--out", "o", "--", "--json"), 2, "--json is the cohort's to give"),
        (("cohort", "cases.csv", "--out", "o", "--", "--he-mpp=1"), 2, "--he-mpp is the cohort's"),
        (("cohort", "cases.csv", "--out", "o", "--", "--no-such-option"), 2, "--no-such-option"),
        (("cohort", "cases.csv", "--out", "o", "--", "--mode", "bent"), 2, "bent"),
        (("cohort", "cases.csv", "--out", "o", "--", "--validation", "no.json"), 1, "no.json: does not exist"),
        (("cohort", "cases.csv", "--out", "o", "--", "--cell-model=no.onnx"), 1, "no.onnx: is missing"),
        (("cohort", "cases.csv", "--out", "o", "--", "--idc-model", "no.onnx"), 1, "no.onnx: is missing"),
        (("cohort", "nowhere.csv", "--out", "o"), 1, "nowhere.csv: does not exist. Give a CSV file"),
        (("cohort", "collect", "nowhere"), 1, "cohort.json: does not exist"),
        (("cohort", "compare", "nowhere", "nowhere"), 1, "nowhere: does not exist"),
        (("pair", "nowhere"), 1, "nowhere: is no folder"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    ki67: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.csv").write_text("case,he,ki67\nA,h,k\n")
    outcome = ki67(*words)
    assert outcome.code == code
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 1
    assert not (tmp_path / "o").exists()


def test_real_slides_that_cannot_be_used_are_named_each_for_its_reason(ki67: Run, tmp_path: Path) -> None:
    white = cv2.imencode(".png", np.full((300, 300, 3), 255, np.uint8))[1].tobytes()
    (tmp_path / "white.png").write_bytes(white)
    (tmp_path / "cut.png").write_bytes(white[: len(white) // 2])
    text = "case,he,ki67,he_mpp,ki67_mpp\nwhite,white.png,white.png,0.5,0.5\nmissing,nowhere.svs,white.png,,0.5\n"
    text += "cut,cut.png,white.png,0.5,0.5\nunmeasured,white.png,white.png,,\n"
    (tmp_path / "cases.csv").write_text(text)
    outcome = ki67("cohort", tmp_path / "cases.csv", "--out", tmp_path / "out", "--json", "--quiet")
    assert outcome.code == 1
    kinds = {row["case"]: row["kind"] for row in outcome.json["failures"]}
    assert kinds == {
        "white": "no tissue",
        "missing": "slide cannot be read",
        "cut": "slide cannot be read",
        "unmeasured": "pixel size",
    }
    assert all(row["error"] and "\n" not in row["error"] for row in outcome.json["failures"])
    entries = [json.loads(line) for line in (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()]
    assert [(entry["code"], entry["attempt"]) for entry in entries] == [(1, 1)] * 4


def test_what_a_score_prints_is_cut_to_the_figures_of_a_line() -> None:
    result = {
        "index_percent": None, "ci95_percent": None, "positive": 0, "negative": 0, "cells": 0, "area_mm2": 1.0,
        "registration": {"ncc": 0.5, "accepted": False}, "domain": {"checks": {}}, "warnings": [],
    }  # fmt: skip
    assert set(figures_of(result)) == set(FIGURES)
    with pytest.raises(KeyError):
        figures_of({"index_percent": 3.0})


def write_summary(folder: Path, **indices: float | None) -> Path:
    folder.mkdir()
    with (folder / "summary.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["case", "state", "index_percent"])
        for name, index in indices.items():
            table.writerow([name, "failed" if index is None else "done", "" if index is None else index])
    return folder


def test_two_runs_are_compared_by_what_moved_across_a_cut_off(ki67: Run, tmp_path: Path) -> None:
    old = write_summary(tmp_path / "old", A=19.9, B=3.0, C=40.0, D=None, E=12.0, F=8.0)
    new = write_summary(tmp_path / "new", A=20.1, B=3.0, C=None, D=50.0, E=11.5, G=1.0)
    outcome = ki67("cohort", "compare", old, new, "--out", tmp_path / "moved.csv", "--json")
    assert outcome.code == 0, outcome.stderr
    told = outcome.json
    assert (told["compared"], told["changed"]) == (3, 2)
    assert told["largest_difference_points"] == pytest.approx(-0.5)
    assert {(row["case"], row["cut_off"]) for row in told["crossed"]} >= {("A", "st-gallen-2013")}
    assert {row["case"] for row in told["crossed"]} == {"A"}
    assert (told["lost"], told["gained"], told["only_old"], told["only_new"]) == (["C"], ["D"], ["F"], ["G"])
    with (tmp_path / "moved.csv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert rows["E"]["difference_points"] == "-0.5"
    assert rows["C"]["new_state"] == "failed"
    text = ki67("cohort", "compare", old, new / "summary.csv").stdout
    assert "A: 19.9 → 20.1 %, low → high by st-gallen-2013" in text


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not Unicode")
def test_a_table_in_a_folder_of_any_name_is_taken(ki67: Run, tmp_path: Path, stand_in: None) -> None:
    folder = tmp_path / os.fsdecode(b"F\xe4lle \xc2\xb5")
    folder.mkdir()
    for name in ("he", "ki67"):
        (folder / name).write_text("" if name == "he" else "7")
    (folder / "cases.csv").write_text("case,he,ki67\nÄ 1,he,ki67\n")
    outcome = ki67("cohort", folder / "cases.csv", "--out", folder / "out", "--json", "--quiet")
    assert outcome.code == 0, outcome.stderr
    assert ki67("cohort", folder / "cases.csv", "--out", folder / "out", "--json").json["already_done"] == 1
