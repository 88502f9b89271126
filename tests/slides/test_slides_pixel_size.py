import numpy as np
import pytest

from ki67.errors import PixelSizeError
from ki67.slides import open_slide, write_pyramid
from ki67.slides.pixel_size import Found, chosen_size

GREY = np.full((64, 64, 3), 200, np.uint8)


@pytest.fixture
def slide(tmp_path):
    """A slide that says 0.5 µm."""
    path = tmp_path / "slide.tif"
    write_pyramid(path, [GREY], (64, 64), 0.5)
    return path


@pytest.mark.parametrize("given", [0.25, 0.4895, 0.5105, 1.0])
def test_a_size_more_than_two_percent_from_the_files_own_is_refused_with_both(slide, given):
    with pytest.raises(PixelSizeError) as caught:
        open_slide(slide, given)
    text = str(caught.value)
    assert f"{given:g} µm" in text
    assert "0.5 µm" in text
    assert "--mpp-overrides-file" in text
    assert "\n" not in text


@pytest.mark.parametrize("given", [0.4905, 0.49, 0.5, 0.5095, 0.51])
def test_a_size_within_two_percent_is_the_same_size_and_taken(slide, given):
    with open_slide(slide, given) as opened:
        assert (opened.mpp, opened.mpp_source, opened.warnings) == (given, "given", ())


def test_insisting_takes_the_given_size_and_says_so_with_both(slide):
    with open_slide(slide, 0.25, overrides_file=True) as opened:
        assert (opened.mpp, opened.mpp_source) == (0.25, "given")
        (warning,) = opened.warnings
        assert opened.bounds_um.width_um == 16
    assert "0.25 µm" in warning
    assert "0.5 µm" in warning
    assert opened.named_warnings == (f"slide.tif: {warning}",)


def test_insisting_on_what_the_file_says_itself_is_no_contradiction(slide):
    with open_slide(slide, 0.5, overrides_file=True) as opened:
        assert opened.warnings == ()


def test_insisting_does_not_make_an_absurd_size_believable(slide):
    for absurd in (0.01, 60.0, float("nan")):
        with pytest.raises(PixelSizeError, match=r"expected 0\.05 to 50 µm"):
            open_slide(slide, absurd, overrides_file=True)


def test_a_size_that_no_slide_has_is_no_word_of_the_files_to_stand_by(tmp_path):
    # 72 dpi, what programs write that know no better.
    print_size = Found(352.8, 352.8, "resolution tags")
    assert chosen_size(tmp_path / "a.tif", 0.25, print_size).mpp == 0.25
    with pytest.raises(PixelSizeError, match="--mpp"):
        chosen_size(tmp_path / "a.tif", None, print_size)


def test_pixels_that_are_not_square_agree_with_no_size_given(tmp_path):
    oblong = Found(0.25, 0.5, "OME-XML")
    with pytest.raises(PixelSizeError, match="square"):
        chosen_size(tmp_path / "a.tif", None, oblong)
    with pytest.raises(PixelSizeError, match=r"0\.25 x 0\.5 µm"):
        chosen_size(tmp_path / "a.tif", 0.25, oblong)
    assert chosen_size(tmp_path / "a.tif", 0.25, oblong, overrides_file=True).contradicts
