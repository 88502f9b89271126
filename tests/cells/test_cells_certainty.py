from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ki67.cells import load_engine
from ki67.cells.checks.certainty import judge_certainty, least_usual, mean_certainty
from ki67.domain import Verdict


def table(probability, cells=200, label="negative"):
    return pa.table(
        {
            "label": [label] * cells,
            "probability": pa.array([probability] * cells, pa.float32()),
            "in_region": [True] * cells,
        }
    )


@pytest.fixture
def card():
    return replace(load_engine().card, least_certainty=0.7)


def test_a_case_of_which_the_model_is_unsure_is_unusual(card):
    assert judge_certainty(table(0.8), card).verdict is Verdict.usual
    unsure = judge_certainty(table(0.6), card)
    assert unsure.verdict is Verdict.unusual
    assert "0.60" in unsure.text
    assert "0.70" in unsure.text


def test_only_tumour_cells_in_the_region_that_have_a_probability_count():
    cells = pa.concat_tables([
        table(0.8, 150), table(0.1, 300, "other"), table(None, 50), table(float("nan"), 50),
    ])  # fmt: skip
    outside = table(0.1, 100).set_column(2, "in_region", pa.array([False] * 100))
    assert mean_certainty(pa.concat_tables([cells, outside])) == pytest.approx(0.8)


def test_few_cells_and_an_unknown_bound_are_told(card):
    assert judge_certainty(table(0.6, 50), card).text == "not measured: too few tumour cells"
    unknown = judge_certainty(table(0.6), replace(card, least_certainty=None))
    assert unknown.verdict is Verdict.usual
    assert unknown.text.startswith("not judged")


def test_one_patient_of_twenty_is_below_the_bound():
    sure = [*np.linspace(0.6, 0.9, 41), None]
    assert np.mean(np.array(sure[:-1]) < least_usual(sure)) == pytest.approx(0.05, abs=0.01)
    assert least_usual(sure[:10]) is None
