from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ki67.cohort import case_run

STAND_IN = Path(__file__).with_name("stand_in.py")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small, quick program stand for ``ki67 score``, so that processes can be killed by dozens."""
    monkeypatch.setattr(case_run, "COMMAND", (sys.executable, str(STAND_IN)))


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[..., Path]:
    """Make a table of cases whose H&E files say what shall happen to them; without text: a result."""

    def make(**happenings: str) -> Path:
        lines = ["case,he,ki67,patient"]
        for number, (name, what) in enumerate(happenings.items()):
            (tmp_path / f"{name}.he").write_text(what)
            (tmp_path / f"{name}.ki67").write_text(str(100 + number))
            lines.append(f"{name},{name}.he,{name}.ki67,{'P' + str(number // 2)}")
        table = tmp_path / "cases.csv"
        table.write_text("\n".join(lines) + "\n")
        return table

    return make
