"""Options that contradict one another are refused together, in words."""

import pytest

from ki67.errors import SimulationError
from ki67.simulate.options import SimulationOptions


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SimulationError) as caught:
        SimulationOptions(size_mm=(0.1, 3.0), index_percent=120.0, mpp=0.0)

    for part in ("size is 0.1 x 3.0 mm", "index is 120.0 %", "pixel size is 0.0 µm"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"cells": 0},
        {"hot_spot": -0.1},
        {"grade": 4},
        {"folds": -1},
        {"jpeg_quality": 0},
        {"index_percent": float("nan")},
        {"size_mm": (float("nan"), 2.0)},
        {"size_mm": (1e6, 2.0)},
        {"tears": 10**9},
        {"rotation_deg": 1e300},
        {"rotation_deg": float("nan")},
        {"shift_um": (0.0, 1e300)},
        {"shift_um": (float("inf"), 0.0)},
    ],
)
def test_each_option_has_its_range(wrong: dict[str, object]) -> None:
    with pytest.raises(SimulationError):
        SimulationOptions(**wrong)  # type: ignore[arg-type]


def test_defaults_are_valid() -> None:
    assert SimulationOptions().size_mm == (4.0, 3.0)
