"""The size of nuclei is measured without finding any one, and a wrong pixel size shows in it."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import synthetic
from ki67.cells.checks.nuclear_size import KI67_RADIUS_UM, judge_nuclear_size, nuclear_radius_um
from ki67.cells.checks.staining import judge_he, judge_ki67
from ki67.domain import Verdict
from ki67.slides import open_slide

MPP = 0.5


def field(radius_um: float, side: int = 600, seed: int = 3) -> NDArray[np.uint8]:
    """Round nuclei, touching here and there, a third of them brown."""
    rng = np.random.default_rng(seed)
    blue, brown = np.full((side, side), 0.03), np.zeros((side, side))
    for number in range(int(0.3 * side**2 / (np.pi * (radius_um / MPP) ** 2))):
        centre = (int(rng.integers(side)), int(rng.integers(side)))
        cv2.circle(brown if number % 3 == 0 else blue, centre, round(radius_um / MPP), 0.45, -1)
    return synthetic.render(blue, brown)


@pytest.mark.parametrize("radius_um", [3.0, 4.0, 5.0])
def test_the_radius_of_drawn_nuclei_is_found(radius_um: float) -> None:
    assert nuclear_radius_um((field(radius_um),), MPP) == pytest.approx(radius_um, rel=0.25)


def test_a_pixel_size_wrong_by_two_is_told_with_what_would_be_right() -> None:
    picture = field(3.8)

    right = judge_nuclear_size((picture,), MPP, MPP, "nuclear_size", KI67_RADIUS_UM)
    half = judge_nuclear_size((picture,), MPP / 2, MPP / 2, "nuclear_size", KI67_RADIUS_UM)
    twice = judge_nuclear_size((picture,), MPP * 2, MPP * 2, "nuclear_size", KI67_RADIUS_UM)

    assert right.verdict is Verdict.usual
    assert (half.verdict, twice.verdict) == (Verdict.unusual, Verdict.unusual)
    assert "unusually small" in half.text
    assert "unusually large" in twice.text
    assert "check the pixel size" in half.text


def test_where_nuclei_cannot_be_seen_nothing_is_claimed() -> None:
    coarse = judge_nuclear_size((field(3.8),), 4.0, 4.0, "nuclear_size", KI67_RADIUS_UM)
    empty = judge_nuclear_size((np.full((300, 300, 3), 235, np.uint8),), MPP, MPP, "nuclear_size", KI67_RADIUS_UM)

    assert [check.value for check in (coarse, empty)] == [None, None]
    assert [check.verdict for check in (coarse, empty)] == [Verdict.usual, Verdict.usual]
    assert "not measured" in coarse.text


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "unusual"), (1.0, "usual"), (2.0, "unusual")])
def test_the_nanozoomer_field_tells_its_pixel_size(data, factor, verdict):
    path = data / "slides" / "os2_ki67_nanozoomer.ome.tif"
    with open_slide(path, 0.2271 * factor, overrides_file=True) as slide:
        checks = {check.name: check for check in judge_ki67(slide, None)}
    assert checks["nuclear_size"].verdict == verdict


def test_an_he_field_is_measured_too(data):
    with open_slide(data / "slides" / "os1_he.ome.tif") as slide:
        checks = {check.name: check for check in judge_he(slide, None)}
    assert checks["he_nuclear_size"].verdict == "usual"
