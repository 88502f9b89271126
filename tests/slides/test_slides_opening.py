import os
import re
import shutil
import socket
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from ki67.errors import PixelSizeError, SlideError
from ki67.geometry import RectUm
from ki67.slides import open_slide, write_pyramid

SLIDES = Path(os.environ.get("KI67_DATA", Path(__file__).parents[3] / "shared" / "data")) / "slides"
needs_data = pytest.mark.skipif(not SLIDES.is_dir(), reason="the real slides (KI67_DATA) are not here")


def colours(height=96, width=128):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2 % 256, y * 2, 255 - x], axis=-1).astype(np.uint8)


def refusal(path, mpp=None, kind=SlideError):
    with pytest.raises(kind) as caught:
        open_slide(path, mpp)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@needs_data
@pytest.mark.parametrize("name", ["broken.svs", "unreadable.svs", "unopenable.tiff"])
def test_bad_slides_are_refused_in_one_line(name):
    refusal(SLIDES / name)
    refusal(SLIDES / name, 0.25)


@needs_data
@pytest.mark.parametrize(
    ("name", "mpp", "size", "reader"),
    [
        ("cmu-1-small-region.svs", 0.499, (2220, 2967), "tifffile"),
        ("fluorescence.ndpi", 0.22818, (3968, 4864), "openslide:hamamatsu"),
        ("camelyon_overview_jpeg2000.dcm", 28.97, (1696, 812), "openslide:dicom"),
        ("os2_ki67_nanozoomer.ome.tif", 0.2271, (2202, 2202), "tifffile"),
        ("os1_he.ome.tif", 0.2271, (1101, 1101), "tifffile"),
        ("small.svs", 0.499, (16, 16), "tifffile"),
    ],
)
def test_real_slides_open_with_their_pixel_size(name, mpp, size, reader):
    with open_slide(SLIDES / name) as slide:
        assert slide.mpp == pytest.approx(mpp, rel=1e-3)
        assert (slide.size_px, slide.reader, slide.mpp_source) == (size, reader, "file")


@needs_data
def test_an_absurd_pixel_size_names_the_way_out():
    path = SLIDES / "mislabelled_generic_tiff.svs"
    assert "--mpp" in refusal(path, kind=PixelSizeError)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.mpp_source == "given"


@needs_data
@pytest.mark.parametrize("name", ["cmu-1-small-region.svs", "mislabelled_generic_tiff.svs"])
def test_real_tiles_decode_as_openslide_does(name):
    with open_slide(SLIDES / name, mpp=0.5) as slide, openslide.OpenSlide(SLIDES / name) as reference:
        expected = np.array(reference.read_region((1000, 1500), 0, (700, 600)))[..., :3]
        got = slide.read(RectUm(500, 750, 350, 300), 0.5)
    assert np.abs(got.astype(int) - expected).max() <= 3


@needs_data
def test_a_dicom_folder_opens(tmp_path):
    shutil.copy(SLIDES / "camelyon_overview_jpeg2000.dcm", tmp_path / "a.dcm")
    (tmp_path / "notes.txt").write_text("nothing")
    with open_slide(tmp_path) as slide:
        assert slide.size_px == (1696, 812)


@needs_data
@pytest.mark.parametrize(
    "name",
    ["cmu-1-small-region.svs", "fluorescence.ndpi", "os2_ki67_nanozoomer.ome.tif", "camelyon_overview_jpeg2000.dcm"],
)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_slide_is_refused_at_opening(tmp_path, name, part):
    data = (SLIDES / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * part)])
    refusal(tmp_path / name)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_truncated_pyramid_is_refused_at_opening(tmp_path, part):
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    write_pyramid(tmp_path / "a.tif", [noise], (600, 600), 0.25, tile_px=128)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(data[: int(len(data) * part)])
    refusal(tmp_path / "b.tif", 0.25)


def test_what_is_no_slide_is_refused(tmp_path):
    (tmp_path / "text.svs").write_text("this is no slide\n" * 100)
    (tmp_path / "empty.svs").touch()
    (tmp_path / "folder").mkdir()
    refusal(tmp_path / "text.svs")
    refusal(tmp_path / "empty.svs")
    refusal(tmp_path / "folder")
    assert "does not exist" in refusal(tmp_path / "missing.svs")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_plain_picture_needs_mpp_even_with_a_print_resolution(tmp_path, suffix):
    path = tmp_path / f"field.{suffix}"
    Image.fromarray(colours()).save(path, dpi=(300, 300))
    assert "--mpp" in refusal(path, kind=PixelSizeError)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.size_px == (128, 96)
        assert np.abs(slide.read(slide.bounds_um, 0.25).astype(int) - colours()).max() <= (
            60 if suffix == "jpg" else 0
        )


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_plain_picture_too_fine_for_print_tells_its_pixel_size(tmp_path, suffix):
    path = tmp_path / f"field.{suffix}"
    Image.fromarray(colours()).save(path, dpi=(50_800, 50_800))
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-4)
    assert re.search(r"0\.25 µm.* 0\.5 µm", refusal(path, 0.25, kind=PixelSizeError))
    with open_slide(path, 0.25, overrides_file=True) as slide:
        assert slide.mpp == 0.25


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_truncated_picture_is_refused(tmp_path, suffix):
    path = tmp_path / f"field.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refusal(path, 0.25)


@pytest.mark.parametrize("mpp", [0.01, 80, float("nan"), -1])
def test_an_absurd_given_pixel_size_is_refused(tmp_path, mpp):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    assert "--mpp" in refusal(tmp_path / "a.png", mpp, PixelSizeError)


def test_pixels_that_are_not_square_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, colours(), tile=(64, 64), photometric="rgb", resolution=(40000, 38000), resolutionunit="CENTIMETER"
    )
    assert "square" in refusal(path, kind=PixelSizeError)


def test_pictures_in_other_colours_become_rgb(tmp_path):
    rgb = colours()
    grey = rgb[..., 0]
    alpha = np.zeros_like(grey)
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "clear.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(rgb).quantize(64).save(tmp_path / "palette.tif")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.tif")
    tifffile.imwrite(tmp_path / "rgb16.tif", rgb.astype(np.uint16) * 257, photometric="rgb", tile=(64, 64))

    def read(name):
        with open_slide(tmp_path / name, mpp=1.0) as slide:
            return slide.read(slide.bounds_um, 1.0).astype(int)

    assert (read("clear.png") == 255).all()
    np.testing.assert_array_equal(read("grey.png"), np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(read("grey16.png"), np.repeat(grey[..., None], 3, 2))
    assert np.abs(read("palette.tif") - rgb).mean() < 12
    assert np.abs(read("cmyk.tif") - rgb).max() <= 1
    np.testing.assert_array_equal(read("rgb16.tif"), rgb)


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_twelve_bits_in_sixteen_are_refused_not_shown_black(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    values = np.random.default_rng(0).integers(2000, 4000, (128, 128, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "camera.tif", values, photometric="rgb", tile=tile)
    with pytest.raises(SlideError, match="12-bit values not scaled"):
        open_slide(tmp_path / "camera.tif", 0.25)


def test_a_fluorescence_stack_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "s.ome.tif", np.zeros((5, 64, 64), np.uint16), metadata={"axes": "CYX"})
    assert "channels" in refusal(tmp_path / "s.ome.tif", 0.5)


@pytest.mark.parametrize("kind", ["APERIO_JP2000_YCBC", "APERIO_JP2000_RGB"])
def test_aperio_jpeg2000_colours_match_openslide(tmp_path, kind):
    rgb = colours(128, 128)
    ycc = np.array(Image.fromarray(rgb).convert("YCbCr")) if kind.endswith("YCBC") else rgb
    code = imagecodecs.jpeg2k_encode(ycc, codecformat="j2k", mct=False, level=0)
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path,
        iter([bytes(code)]),
        shape=rgb.shape,
        dtype=np.uint8,
        tile=(128, 128),
        photometric="rgb",
        compression=kind,
        description="Aperio Image Library v10\n|AppMag = 40|MPP = 0.25",
        metadata=None,
    )
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        expected = np.array(reference.read_region((0, 0), 0, (128, 128)))[..., :3]
        got = slide.read(slide.bounds_um, slide.mpp)
        assert slide.reader == "tifffile"
    assert np.abs(got.astype(int) - expected).max() <= 3
    assert np.abs(got.astype(int) - rgb).max() <= 3


def test_damage_inside_the_file_is_named_when_it_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3), dtype=np.uint8)
    path = tmp_path / "a.tif"
    write_pyramid(path, [noise], (640, 640), 0.25, tile_px=128)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[3]  # none of those looked at when opening
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\0" * 2000)
    with open_slide(path) as slide, pytest.raises(SlideError, match="tile"):
        slide.read(slide.bounds_um, 0.25)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path, make):
    make(tmp_path / "a.tif")
    refusal(tmp_path / "a.tif", 0.25)


def test_a_socket_is_no_slide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.tif")
        assert "socket" in refusal(Path("a.tif"))


@pytest.mark.parametrize(("bits", "named"), [(10, "12-bit"), (12, "12-bit"), (14, "14-bit")])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_fewer_bits_than_sixteen_are_told(tmp_path, bits, named, tile):
    values = np.random.default_rng(0).integers(2 ** (bits - 1), 2**bits, (128, 128, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", tile=tile)
    assert named in refusal(tmp_path / "a.tif", 0.25)


def test_twelve_bits_packed_as_such_have_their_white_at_4095(tmp_path):
    values = np.full((64, 64, 3), 4095, np.uint16)
    values[:32] = 2047
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", bitspersample=12)
    with open_slide(tmp_path / "a.tif", 0.25) as slide:
        pixels = slide.read(slide.bounds_um, 0.25)
    assert (pixels[:32] == 127).all()
    assert (pixels[32:] == 255).all()


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint32])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_samples_that_are_no_colours_are_named(tmp_path, kind, tile):
    tifffile.imwrite(tmp_path / "a.tif", colours().astype(kind), photometric="rgb", tile=tile)
    text = refusal(tmp_path / "a.tif", 0.25)
    assert np.dtype(kind).name in text
    assert "8-bit RGB" in text


def test_premultiplied_colours_are_laid_over_white(tmp_path):
    rgb, alpha = colours(), np.full((96, 128), 128, np.uint8)
    straight = (rgb.astype(int) * 128 + 255 * 127 + 127) // 255
    for kind, stored in (("unassalpha", rgb), ("assocalpha", (rgb.astype(int) * 128 // 255).astype(np.uint8))):
        tifffile.imwrite(tmp_path / "a.tif", np.dstack([stored, alpha]), photometric="rgb", extrasamples=[kind])
        with open_slide(tmp_path / "a.tif", 1.0) as slide:
            assert np.abs(slide.read(slide.bounds_um, 1.0).astype(int) - straight).max() <= 2


def test_jpeg_tiles_whose_colours_contradict_the_directory_are_not_guessed(tmp_path):
    import io

    stream = io.BytesIO()
    Image.fromarray(colours(64, 64)).save(stream, "JPEG", subsampling=2)
    jpeg = stream.getvalue()
    bare = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]  # without the JFIF marker that tells
    tifffile.imwrite(
        tmp_path / "a.tif", iter([bare]), shape=(64, 64, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression=7, metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(2)
    assert "YCbCr" in refusal(tmp_path / "a.tif", 0.25)


def test_a_name_that_no_file_can_have_ends_in_one_line(tmp_path):
    refusal(tmp_path / ("a" * 300 + ".svs"))
    refusal(Path("/".join(["b" * 200] * 30)))


def test_a_pipe_among_the_files_of_a_mirax_slide_is_told_and_not_waited_for(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.mrxs")
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "Slidedat.ini")
    assert "Slidedat.ini" in refusal(tmp_path / "a.mrxs", 0.25)
