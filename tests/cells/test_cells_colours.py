"""What is known to be no bright-field picture of a Ki-67 or H&E stain is told in words; honest extremes are not."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import synthetic
from ki67.cells.checks.staining import judge_he_sample, judge_ki67_sample, wrong_order
from ki67.cells.sampling import Sample
from ki67.domain import Check, Verdict, doubts, worst

Picture = NDArray[np.uint8]
MPP = 0.5
EOSIN = np.array([0.09, 0.95, 0.28])
"""As on most slides; the published vector has less blue."""


def judged(picture: Picture) -> tuple[Check, ...]:
    return judge_ki67_sample(Sample((picture,)))


def he_field() -> Picture:
    """Blue nuclei on pink, with a strip of glass."""
    blue = synthetic.field(positive_every=10_000)[0]
    picture = (blue * 10.0 ** -(0.3 * EOSIN)).astype(np.uint8)
    picture[:40] = synthetic.BACKGROUND
    return picture


def section(hematoxylin: float, dab: float, ground: float = 0.03, positive_every: int = 3) -> Picture:
    """A field whose stains have the given strengths."""
    size, spacing, radius = (480, 640), 40, 11
    blue, brown = np.full(size, ground), np.zeros(size)
    centres = [(x, y) for y in range(20, size[0], spacing) for x in range(20, size[1], spacing)]
    for number, centre in enumerate(centres):
        positive = number % positive_every == 0
        cv2.circle(brown if positive else blue, centre, radius, dab if positive else hematoxylin, -1)
    picture = synthetic.render(blue, brown)
    picture[:20] = synthetic.BACKGROUND
    return picture


def as_ycbcr(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]], np.uint8)


def as_rgb(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB), np.uint8)


def grey(picture: Picture) -> Picture:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


FAULTS: dict[str, tuple[Callable[[Picture], Picture], str]] = {
    "swapped": (lambda picture: picture[..., ::-1], "red and blue seem to be swapped"),
    "grey": (grey, "grey"),
    "tinted grey": (lambda picture: (grey(picture) * np.array([1, 0.95, 0.85])).astype(np.uint8), "grey"),
    "inverted": (lambda picture: 255 - picture, "inverted"),
    "YCbCr read as RGB": (as_ycbcr, "YCbCr"),
    "RGB read as YCbCr": (as_rgb, "YCbCr"),
    "faded": (lambda picture: (picture * 0.25 + 170).astype(np.uint8), "hardly any contrast"),
    "green and blue swapped": (lambda picture: picture[..., [0, 2, 1]], "exchanged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_ki67_field_with_wrong_colours_is_unusable_and_the_mistake_is_named(fault: str) -> None:
    mistake, words = FAULTS[fault]

    checks = judged(np.ascontiguousarray(mistake(synthetic.field()[0])))

    assert worst(checks) is Verdict.unusable
    assert words in doubts(checks)[0]


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "green and blue swapped"])
def test_an_he_with_wrong_colours_is_unusable(fault: str) -> None:
    picture = np.ascontiguousarray(FAULTS[fault][0](he_field()))

    assert worst(judge_he_sample(Sample((picture,)), MPP)) is Verdict.unusable


@pytest.mark.parametrize(
    ("hematoxylin", "dab", "positive_every"),
    [
        pytest.param(0.35, 0.9, 10_000, id="no positive cell"),
        pytest.param(0.35, 0.9, 1, id="no negative cell"),
        pytest.param(0.15, 0.9, 3, id="very weak counterstain"),
        pytest.param(0.6, 0.9, 3, id="strong counterstain"),
        pytest.param(0.35, 2.5, 2, id="very strong brown"),
        pytest.param(0.35, 0.3, 3, id="pale brown"),
    ],
)
def test_honest_extremes_of_ki67_are_usable(hematoxylin: float, dab: float, positive_every: int) -> None:
    checks = judged(section(hematoxylin, dab, positive_every=positive_every))

    assert worst(checks) is not Verdict.unusable, doubts(checks)


def test_a_counterstain_so_weak_that_a_faded_picture_looks_the_same_is_unusable_without_a_positive_cell() -> None:
    checks = judged(section(0.15, 0.9, positive_every=10_000))

    assert "hardly any contrast" in doubts(checks)[0]


def test_yellow_and_dim_light_are_usable() -> None:
    for light in ([1.0, 0.97, 0.8], [0.7, 0.7, 0.7]):
        checks = judged((synthetic.field()[0] * np.array(light)).astype(np.uint8))
        assert worst(checks) is not Verdict.unusable, doubts(checks)


def test_red_chromogens_are_told_from_dab() -> None:
    aec = np.array([0.27, 0.68, 0.68]) / np.linalg.norm([0.27, 0.68, 0.68])
    blue, brown = np.full((400, 600), 0.05), np.zeros((400, 600))
    for x in range(20, 600, 40):
        for y in range(20, 400, 40):
            cv2.circle(brown if (x + y) % 120 == 0 else blue, (x, y), 11, 0.7, -1)
    od = blue[..., None] * synthetic.HEMATOXYLIN + brown[..., None] * aec
    checks = judged((np.array(synthetic.BACKGROUND) * 10.0**-od).astype(np.uint8))

    assert worst(checks) is Verdict.unusual
    assert "red rather than brown" in doubts(checks)[0]


def test_each_stain_is_unusable_in_the_place_of_the_other() -> None:
    ki67, he = synthetic.field()[0], he_field()

    right = (*judged(ki67), *judge_he_sample(Sample((he,)), MPP))
    wrong = (*judged(he), *judge_he_sample(Sample((ki67,)), MPP))

    assert worst(right) is Verdict.usual
    assert not wrong_order(right)
    assert {check.name for check in wrong if check.verdict is Verdict.unusable} == {"stain", "he_stain"}
    assert wrong_order(wrong)


def test_an_he_that_fills_the_picture_is_usable_though_its_lightest_pixels_are_pink() -> None:
    blue = synthetic.field(positive_every=10_000)[0]
    eosin = 0.15 + 0.25 * (np.indices(blue.shape[:2])[1] % 80 < 40)
    filled = (blue * 10.0 ** -(eosin[..., None] * EOSIN)).astype(np.uint8)

    checks = judge_he_sample(Sample((filled,)), MPP)

    assert worst(checks) is not Verdict.unusable, doubts(checks)
