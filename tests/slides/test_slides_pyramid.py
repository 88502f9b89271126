import numpy as np
import openslide
import pytest
import tifffile

from ki67.slides import open_slide, write_pyramid
from ki67.slides.pyramid import halve, level_sizes


def smooth_picture(width, height, seed=0):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 37 + seed) + np.cos(y / 53), np.sin((x + y) / 71), np.cos(x / 91) * np.sin(y / 43)]
    return np.stack([(wave + 2) * 60 for wave in waves], axis=-1).astype(np.uint8)


def bands_of(pixels, rows=97):
    return (pixels[top : top + rows] for top in range(0, len(pixels), rows))


@pytest.mark.parametrize("compression", ["jpeg", "deflate", "none"])
def test_openslide_and_tifffile_see_the_same_levels_and_pixel_size(tmp_path, compression):
    pixels = smooth_picture(701, 523)
    path = tmp_path / "p.tif"
    write_pyramid(path, bands_of(pixels), (701, 523), 0.25, tile_px=128, compression=compression)
    with openslide.OpenSlide(path) as slide, tifffile.TiffFile(path) as tiff:
        assert slide.level_dimensions == ((701, 523), (351, 262), (176, 131), (88, 66))
        assert [level.shape[:2][::-1] for level in tiff.series[0].levels] == list(slide.level_dimensions)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25, rel=1e-4)
        difference = np.abs(tiff.asarray().astype(int) - pixels)
        assert difference.max() <= (8 if compression == "jpeg" else 0)


def test_lower_levels_are_2x2_means_whatever_the_bands(tmp_path):
    pixels = smooth_picture(300, 201)
    for rows in (1, 64, 500):
        write_pyramid(tmp_path / "p.tif", bands_of(pixels, rows), (300, 201), 1.0, tile_px=64, compression="none")
        with tifffile.TiffFile(tmp_path / "p.tif") as tiff:
            np.testing.assert_array_equal(tiff.asarray(level=1), halve(pixels))
            np.testing.assert_array_equal(tiff.asarray(level=2), halve(halve(pixels)))


def test_a_band_may_be_overwritten_by_its_maker(tmp_path):
    pixels = smooth_picture(130, 90)

    def reused():
        band = np.empty((10, 130, 3), np.uint8)
        for top in range(0, 90, 10):
            band[:] = pixels[top : top + 10]
            yield band

    write_pyramid(tmp_path / "p.tif", reused(), (130, 90), 1.0, tile_px=64, compression="none")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "p.tif", level=0), pixels)


def test_float_levels_leave_missing_values_out_of_the_mean(tmp_path):
    values = np.arange(100 * 80, dtype=np.float32).reshape(80, 100)
    values[:40] = np.nan
    values[40, 0] = np.nan
    write_pyramid(tmp_path / "f.tif", [values], (100, 80), 4.0, tile_px=64, compression="deflate")
    with tifffile.TiffFile(tmp_path / "f.tif") as tiff:
        np.testing.assert_array_equal(tiff.asarray(level=0), values)
        lower = tiff.asarray(level=1)
    assert np.isnan(lower[:20]).all()
    assert lower[20, 0] == pytest.approx(np.nanmean(values[40:42, :2]))


@pytest.mark.parametrize("rows", [80, 100])
def test_bands_that_do_not_add_up_leave_no_file(tmp_path, rows):
    band = np.zeros((rows, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="add up"):
        write_pyramid(tmp_path / "p.tif", [band], (50, 90), 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_band_of_another_width_is_refused(tmp_path):
    bands = [np.zeros((10, 50, 3), np.uint8), np.zeros((10, 51, 3), np.uint8)]
    with pytest.raises(ValueError, match="row 10"):
        write_pyramid(tmp_path / "p.tif", bands, (50, 20), 1.0)


def test_sizes_halve_until_one_tile_holds_all():
    assert level_sizes((1000, 300), 256) == [(1000, 300), (500, 150), (250, 75)]
    assert level_sizes((10, 10), 256) == [(10, 10)]


def test_a_written_pyramid_is_decoded_directly(tmp_path):
    write_pyramid(tmp_path / "p.tif", [smooth_picture(300, 200)], (300, 200), 0.5, tile_px=128)
    with open_slide(tmp_path / "p.tif") as slide:
        assert slide.reader == "tifffile"
        assert slide.mpp == pytest.approx(0.5, rel=1e-4)
        assert [level.downsample for level in slide.levels] == [1, 2, 4]
