"""Several sections of a block: each is reached by the way whose estimated error is least."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from registration_scene import HE, IHC, MPP, draw_tissue, known_matrix, make_section, moved, stain

from ki67.pipeline import run_register
from ki67.registration import (
    PiecewiseTransform,
    Registered,
    Transform,
    reach,
    read_transform,
    register_sections,
    ways,
)
from ki67.registration.images import Section

TURNS = (np.eye(3), known_matrix(30.0, mirrored=False, shift_um=(90.0, -60.0)),
         known_matrix(200.0, mirrored=True, shift_um=(-70.0, 40.0)))  # fmt: skip
PLACES_UM = np.array([[900.0, 1000.0], [1900.0, 1100.0], [1500.0, 1900.0]])


def picture(number: int) -> np.ndarray:
    return stain(moved(draw_tissue(1), TURNS[number]), HE if number == 0 else IHC, 10 + number)


def section(number: int) -> Section:
    return make_section(picture(number), f"section {number + 1}")


@cache
def registered() -> dict[tuple[int, int], Registered]:
    return {(a, b): register_sections(section(a), section(b), mode="affine") for a, b in combinations(range(3), 2)}


def with_errors(**errors_um: float | None) -> dict[tuple[int, int], Registered]:
    """The pairs with other estimates of their error; a refused one has None."""
    pairs = dict(registered())
    for name, error_um in errors_um.items():
        a, b = int(name[1]), int(name[2])
        transform, quality = pairs[a, b]
        pairs[a, b] = transform, replace(quality, estimated_error_um=error_um, accepted=error_um is not None)
    return pairs


@pytest.mark.parametrize(
    ("errors_um", "expected"),
    [
        ({"_01": 10.0, "_02": 12.0, "_12": 3.0}, {1: (), 2: ()}),
        ({"_01": 10.0, "_02": 40.0, "_12": 3.0}, {1: (), 2: (1,)}),
        ({"_01": 50.0, "_02": 40.0, "_12": 3.0}, {1: (), 2: ()}),
        ({"_01": None, "_02": 40.0, "_12": 3.0}, {1: (2,), 2: ()}),
        ({"_01": None, "_02": None, "_12": 3.0}, {1: (), 2: ()}),
    ],
)
def test_a_way_through_another_section_is_taken_where_it_is_clearly_surer(
    errors_um: dict[str, float | None], expected: dict[int, tuple[int, ...]]
) -> None:
    assert ways(with_errors(**errors_um), 3) == expected


@pytest.mark.parametrize("target", [1, 2])
def test_the_way_through_another_section_leads_to_the_same_place(target: int) -> None:
    other = 3 - target
    found = reach(section(0), section(target), target, (other,), registered())

    truth = Transform(TURNS[target]).map_points(PLACES_UM)
    np.testing.assert_allclose(found.transform.map_points(PLACES_UM), truth, atol=2 * MPP)
    np.testing.assert_allclose(found.transform.inverse_points(truth), PLACES_UM, atol=2 * MPP)
    assert found.quality.accepted
    steps = [registered()[0, other][1], registered()[1, 2][1]]
    expected = np.hypot(*[quality.estimated_error_um or 0.0 for quality in steps])
    assert found.quality.estimated_error_um == pytest.approx(expected)


def test_a_way_that_stretches_the_tissue_is_refused_however_its_steps_were_believed() -> None:
    pairs = dict(registered())
    transform, quality = pairs[0, 1]
    pairs[0, 1] = PiecewiseTransform.whole(Transform(transform.matrix @ np.diag([1.3, 1.3, 1.0]))), quality

    found = reach(section(0), section(2), 2, (1,), pairs)

    assert not found.quality.accepted
    assert "stretches" in found.quality.reasons[0]


def test_a_block_is_registered_in_one_case_and_again_from_what_is_there(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))
    words = (paths[0], paths[1], tmp_path / "case", paths[2:])
    result = run_register(*words, mode="affine", he_mpp=MPP, ki67_mpp=MPP)

    assert [Path(entry["slide"]).name for entry in result["sections"]] == ["1.png", "2.png"]
    for entry, turn in zip(result["sections"], TURNS[1:], strict=True):
        assert entry["accepted"], entry["reasons"]
        truth = Transform(turn).map_points(PLACES_UM)
        np.testing.assert_allclose(read_transform(entry["transform"]).map_points(PLACES_UM), truth, atol=2 * MPP)
    assert result["transform"] == result["sections"][0]["transform"]
    again = run_register(*words, mode="affine", he_mpp=MPP, ki67_mpp=MPP)
    assert again["seconds"] == result["seconds"]
