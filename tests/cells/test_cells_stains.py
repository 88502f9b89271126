import numpy as np
import pytest

import synthetic
from ki67.cells.checks.staining import judge_ki67_sample
from ki67.cells.sampling import Sample
from ki67.cells.stains import (
    REFERENCE_DAB,
    REFERENCE_HEMATOXYLIN,
    brown_density,
    estimate_background,
    estimate_stains,
    stain_amounts,
)
from ki67.domain import doubts
from ki67.light import optical_density
from ki67.slides import open_slide


def warnings_of(picture):
    return tuple(doubts(judge_ki67_sample(Sample((picture,)))))


def test_background_is_the_colour_of_the_empty_field_not_white():
    picture, _, _ = synthetic.field()
    assert estimate_background(picture.reshape(-1, 3)) == pytest.approx(synthetic.GROUND, abs=4)


def test_unscanned_white_does_not_count_as_background():
    picture, _, _ = synthetic.field()
    pixels = np.concatenate([picture.reshape(-1, 3), np.full((200_000, 3), 255, np.uint8)])
    assert estimate_background(pixels) == pytest.approx(synthetic.GROUND, abs=4)


def test_both_stain_vectors_are_recovered():
    picture, _, _ = synthetic.field()
    stains = estimate_stains(picture.reshape(-1, 3))
    assert stains.hematoxylin_estimated
    assert stains.dab_estimated
    assert np.dot(stains.hematoxylin, synthetic.HEMATOXYLIN) > np.cos(np.deg2rad(6))
    assert np.dot(stains.dab, synthetic.DAB) > np.cos(np.deg2rad(6))


def test_absent_dab_falls_back_to_the_published_vector_and_says_so():
    picture, _, _ = synthetic.field(positive_every=10_000)
    picture = picture[60:]
    stains = estimate_stains(picture.reshape(-1, 3))
    assert not stains.dab_estimated
    assert stains.dab == pytest.approx(np.array(REFERENCE_DAB) / np.linalg.norm(REFERENCE_DAB))
    assert any("DAB is nearly absent" in line for line in warnings_of(picture))


def test_amounts_of_pure_stains_separate():
    picture, centres, positive = synthetic.field()
    stains = estimate_stains(picture.reshape(-1, 3))
    amounts = stain_amounts(optical_density(picture, stains.background_rgb), stains)
    at = amounts[centres[:, 1].astype(int), centres[:, 0].astype(int)]
    assert np.median(at[positive, 1]) == pytest.approx(0.9, abs=0.1)
    assert np.median(at[~positive, 0]) == pytest.approx(0.35, abs=0.06)
    assert abs(np.median(at[~positive, 1])) < 0.06


def test_unmixing_inverts_mixing():
    picture, _, _ = synthetic.field()
    stains = estimate_stains(picture.reshape(-1, 3))
    mixed = 0.4 * np.array(stains.hematoxylin) + 0.7 * np.array(stains.dab)
    assert mixed @ stains.unmixing == pytest.approx([0.4, 0.7])


def test_reference_vectors_where_nothing_is_stained():
    stains = estimate_stains(np.full((5000, 3), 230, np.uint8))
    assert not stains.hematoxylin_estimated
    assert stains.hematoxylin == pytest.approx(
        np.array(REFERENCE_HEMATOXYLIN) / np.linalg.norm(REFERENCE_HEMATOXYLIN)
    )


def test_a_good_field_gives_no_warning():
    assert warnings_of(synthetic.field()[0]) == ()


def test_hematoxylin_and_eosin_is_told_from_ki67():
    picture, _, _ = synthetic.field(positive_every=10_000)
    light = picture.astype(float) * 10.0 ** -(0.35 * synthetic.EOSIN)
    light[:40] = synthetic.BACKGROUND
    assert any("H&E" in line for line in warnings_of(light.astype(np.uint8)))


def test_a_grey_picture_is_not_a_stain():
    picture, _, _ = synthetic.field()
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    assert any("grey" in line for line in warnings_of(grey))


def test_an_out_of_focus_picture_is_noticed():
    import cv2

    blurred = cv2.GaussianBlur(synthetic.field()[0], (0, 0), 12)
    assert any("out of focus" in line for line in warnings_of(blurred))


def with_film_of_dab(picture, amount):
    return np.clip(picture * 10.0 ** (-amount * synthetic.DAB), 0, 255).astype(np.uint8)


def test_a_brown_background_is_noticed():
    lines = warnings_of(with_film_of_dab(synthetic.field()[0], 0.3))
    assert any("background is brown" in line for line in lines)


def test_warm_light_is_no_brown_background():
    warm = (synthetic.field()[0] * np.array([1.0, 0.97, 0.87])).astype(np.uint8)
    assert warnings_of(warm) == ()


def test_hematoxylin_and_eosin_is_no_usable_ki67_stain():
    picture, _, _ = synthetic.field(positive_every=10_000)
    light = picture.astype(float) * 10.0 ** -(0.35 * synthetic.EOSIN)
    light[:40] = synthetic.BACKGROUND
    assert [line.split(":")[0] for line in warnings_of(light.astype(np.uint8))] == ["not a usable Ki-67 stain"]


@pytest.mark.parametrize("folder", ["bcdata/images", "shidc", "deepliif", "glioma"])
def test_real_fields_give_no_stain_warning(cell_data, folder):
    names = sorted((cell_data / "ki67_cells" / folder).iterdir())
    paths = [path for path in names if path.suffix in {".png", ".jpg"} and "mask" not in path.name][::4]
    assert paths
    for path in paths:
        with open_slide(path, 0.25) as slide:
            assert warnings_of(slide.read(slide.bounds_um, 0.5)) == ()


def brown_limit(picture):
    return brown_density(picture, estimate_stains(picture))


def test_what_is_brown_follows_the_strength_of_the_slides_own_stain():
    weak, strong = (
        synthetic.render(np.full((200, 200), synthetic.GROUND_AMOUNT), amount * brown)
        for brown in [np.pad(np.ones((60, 60)), 70)]
        for amount in (0.5, 1.5)
    )
    assert brown_limit(weak) == pytest.approx(0.15, abs=0.03)
    assert brown_limit(strong) > 1.3 * brown_limit(weak)


def test_a_brown_ground_makes_no_nucleus_brown():
    blue = np.pad(np.full((60, 60), 0.4), 70) + synthetic.GROUND_AMOUNT
    film = np.full((200, 200), 0.25)
    film[:10] = 0.0
    limit = brown_limit(synthetic.render(blue, film))
    assert limit > 0.25 + 0.12
