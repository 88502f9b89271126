"""Nuclei that are found again on a changed picture: nearly all where the network knows them, else it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import synthetic
from ki67.cells import detect_cells, judge_agreement, least_between, load_engine
from ki67.cells.checks import agreement
from ki67.cells.checks.agreement import Agreement, busy_squares
from ki67.domain import Check, Verdict
from ki67.geometry import RectUm
from ki67.slides import open_slide
from ki67.vocabulary import EngineName

SLIDE = RectUm(0, 0, 2000, 2000)


def table(places: list[tuple[float, float]], label: str = "negative", *, inside: bool = True) -> pa.Table:
    x, y = np.array(places, float).reshape(-1, 2).T
    return pa.table({"x_um": x, "y_um": y, "label": [label] * len(x), "in_region": [inside] * len(x)})


def crowd(left: float, top: float, count: int = 30) -> list[tuple[float, float]]:
    return [(left + 5.0 * number, top + 5.0 * number) for number in range(count)]


def test_shares_add_up_over_fields() -> None:
    total = Agreement(10, 10, 5) + Agreement(30, 10, 10)
    assert total.share == pytest.approx(2 * 15 / 60)
    assert Agreement().share is None


def test_squares_hold_tumour_cells_of_the_region_and_are_spread_evenly() -> None:
    cells = [*crowd(0, 0), *crowd(256, 0), *crowd(512, 512), *crowd(768, 0, 10)]
    squares = busy_squares(table(cells), SLIDE)
    assert [(square.x_um, square.y_um) for square in squares] == [(0, 0), (256, 0), (512, 512)]
    assert [(square.x_um, square.y_um) for square in busy_squares(table(cells), SLIDE, 2)] == [(0, 0), (512, 512)]
    assert busy_squares(table(cells, "other"), SLIDE) == []
    assert busy_squares(table(cells, inside=False), SLIDE) == []


def test_a_field_as_usual_is_found_again(save: Callable[..., Path]) -> None:
    engine = load_engine()
    picture, _, _ = synthetic.field(seed=3)
    with open_slide(save(picture), 0.5) as slide:
        found = detect_cells(slide, None, engine=engine)
        usual = judge_agreement(slide, found.read_table(), found.stains, engine)
        assert judge_agreement(slide, found.read_table(), found.stains, load_engine(EngineName.forest)).value is None
        few = judge_agreement(slide, found.read_table().slice(0, 20), found.stains, engine)
    assert usual.verdict is Verdict.usual
    assert usual.value is not None
    assert usual.value > 0.9
    assert (few.verdict, few.text) == (Verdict.usual, "not measured: too few tumour cells")


def test_little_found_again_is_told(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine()
    picture, _, _ = synthetic.field(seed=3)
    monkeypatch.setattr(agreement, "agreement_on", lambda *_: Agreement(300, 300, 240))
    with open_slide(save(picture), 0.5) as slide:
        found = detect_cells(slide, None, engine=engine)
        judged = judge_agreement(slide, found.read_table(), found.stains, engine)
    assert (judged.verdict, judged.value) == (Verdict.unusual, 0.8)
    assert "only 80 % of the nuclei are found again" in judged.text


def test_an_index_is_less_sure_where_little_is_found_again() -> None:
    def check(value: float | None, name: str = "cell_agreement") -> Check:
        return Check(name, Verdict.usual, value=value)

    assert least_between([check(0.95), check(0.2, "nuclear_size")]) == 0
    assert least_between([check(None)]) == 0
    assert least_between([check(0.91)]) == pytest.approx(0.35)
