"""What a file says of its pixel size, and what is taken where it says two things."""

from pathlib import Path

import pytest
import tifffile
from slide_pictures import OME_HALF_UM, tissue, write_ome, write_tiff

from ki67.errors import PixelSizeError
from ki67.slides import open_slide
from ki67.slides.pixel_size import Found
from ki67.slides.stated_sizes import agreed, sizes_of_properties

RGB = tissue()
HERE = Path("slide.tif")
QUARTER_UM = {"resolution": (40000, 40000), "resolutionunit": 3}
PRINT = {"resolution": (72, 72), "resolutionunit": 2}
APERIO = "Aperio Image Library v12\r\n384x256 [0,0 384x256] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
VIPS = "".join(
    f'<property><name>openslide.mpp-{axis}</name><value type="VipsRefString">0.5</value></property>' for axis in "xy"
)


def mpp_of(path, given=None):
    with open_slide(path, given) as slide:
        return slide.mpp, " ".join(slide.warnings)


def test_ome_xml_wins_over_resolution_tags_and_both_are_named(tmp_path):
    mpp, warnings = mpp_of(write_ome(tmp_path / "a.ome.tif", (RGB, OME_HALF_UM), **QUARTER_UM))
    assert mpp == 0.5
    assert "0.5 µm (OME-XML)" in warnings
    assert "0.25 µm (resolution tags)" in warnings


@pytest.mark.parametrize("description", [APERIO, VIPS])
def test_any_other_two_sizes_are_refused_until_one_of_them_is_given(tmp_path, description):
    path = write_tiff(tmp_path / "a.svs", (RGB, {"description": description}), **QUARTER_UM)
    with pytest.raises(PixelSizeError, match=r"0\.5 µm .*0\.25 µm .resolution tags.*--mpp"):
        open_slide(path)
    for given in (0.5, 0.25):
        mpp, warnings = mpp_of(path, given)
        assert mpp == given
        assert "0.5 µm" in warnings
        assert "0.25 µm" in warnings
    with pytest.raises(PixelSizeError):
        open_slide(path, 0.4)


@pytest.mark.parametrize("description", [APERIO, VIPS])
@pytest.mark.parametrize("tags", [PRINT, {}])
def test_resolutions_for_print_are_no_second_size(tmp_path, description, tags):
    usual = {"resolution": (1, 1), "resolutionunit": 1}
    path = write_tiff(tmp_path / "a.svs", (RGB, {"description": description}), **(usual | tags))
    assert mpp_of(path) == (0.5, "")


def test_sizes_within_two_percent_are_one():
    stated = [Found(0.5, 0.5, "OME-XML"), Found(0.509, 0.5, "resolution tags")]
    assert agreed(HERE, stated, None) == (stated[0], [])


def test_what_no_pixel_can_be_is_told_only_where_nothing_else_is_said():
    absurd = Found(352.8, 352.8, "resolution tags")
    assert agreed(HERE, [absurd], None) == (absurd, [])
    assert agreed(HERE, [absurd, Found(0.5, 0.5, "Aperio's MPP")], None) == (Found(0.5, 0.5, "Aperio's MPP"), [])
    assert agreed(HERE, [], None) == (None, [])


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m"])
def test_imagejs_calibration_is_read(tmp_path, unit):
    metadata = {"unit": unit, "axes": "YXS"}
    tifffile.imwrite(tmp_path / "a.tif", RGB, imagej=True, resolution=(4, 4), metadata=metadata)
    assert mpp_of(tmp_path / "a.tif") == (0.25, "")


@pytest.mark.parametrize("metadata", [{"axes": "YXS"}, {"unit": "pixel", "axes": "YXS"}])
def test_imagej_without_a_calibration_says_nothing(tmp_path, metadata):
    tifffile.imwrite(tmp_path / "a.tif", RGB, imagej=True, resolution=(4, 4), metadata=metadata)
    with pytest.raises(PixelSizeError, match="does not say"):
        open_slide(tmp_path / "a.tif")


def test_a_resolution_without_a_unit_says_nothing(tmp_path):
    path = write_tiff(tmp_path / "a.tif", RGB, resolution=(4, 4), resolutionunit=1)
    with pytest.raises(PixelSizeError, match="does not say"):
        open_slide(path)


def test_what_openslide_says_and_the_tags_of_its_tiff_are_compared():
    facts = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}
    tags = {"tiff.XResolution": "40000", "tiff.YResolution": "40000", "tiff.ResolutionUnit": "centimeter"}
    assert sizes_of_properties(facts, "philips") == [Found(0.5, 0.5, "its philips data")]
    with pytest.raises(PixelSizeError, match=r"philips.*resolution tags"):
        agreed(HERE, sizes_of_properties(facts | tags, "philips"), None)
