"""Without matplotlib an evaluation works, but for its figures."""

from __future__ import annotations

import sys

import pytest

from ki67.errors import DataSetError, MissingExtraError
from ki67.evaluation.registration import evaluate_registration


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ki67.evaluation.")]:
        if name.endswith(("plots", "_figure", "_figures")):
            monkeypatch.delitem(sys.modules, name)
    for name in ("matplotlib", "matplotlib.axes"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_matplotlib")
def test_figures_are_refused_before_the_work() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'ki67\[figures\]'"):
        evaluate_registration("he.tif", "ki67.tif", "he.csv", "ki67.csv", figures="figures")
    with pytest.raises(DataSetError, match=r"he\.csv"):
        evaluate_registration("he.tif", "ki67.tif", "he.csv", "ki67.csv")
