"""Plain pictures: turned, animated, in other colours, too large."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from slide_pictures import tissue, write_tiff

from ki67.errors import SlideError
from ki67.slides import open_slide

RGB = tissue(96, 128)


def read(path):
    with open_slide(path, 0.5) as slide:
        return slide.read(slide.bounds_um, 0.5), " ".join(slide.warnings)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_picture_that_asks_to_be_turned_is_read_as_stored_and_says_so(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", exif=exif, quality=95, subsampling=0)
    pixels, warnings = read(tmp_path / f"a.{suffix}")
    assert np.abs(pixels.astype(int) - RGB).mean() < 3
    assert f"EXIF orientation {orientation}" in warnings


@pytest.mark.parametrize("tile", [(64, 64), None])
def test_so_is_a_tiff(tmp_path, tile):
    path = write_tiff(tmp_path / "a.tif", RGB, tile=tile, extratags=[(274, 3, 1, 6, True)])
    pixels, warnings = read(path)
    np.testing.assert_array_equal(pixels, RGB)
    assert "TIFF orientation 6" in warnings


def test_an_upright_picture_has_no_warning(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert read(tmp_path / "a.png")[1] == ""


def test_of_an_animation_the_first_picture_is_read_and_the_others_are_told(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(RGB[:, ::-1])])
    pixels, warnings = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, RGB)
    assert "2 pictures" in warnings


@pytest.mark.parametrize("progressive", [False, True])
def test_cmyk_and_progressive_jpegs_have_their_colours(tmp_path, progressive):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95, progressive=progressive)
    assert np.abs(read(tmp_path / "cmyk.jpg")[0].astype(int) - RGB).mean() < 4


def test_bands_join_without_a_seam(tmp_path):
    tall = tissue(700, 40)
    Image.fromarray(np.dstack([tall, np.full(tall.shape[:2], 255, np.uint8)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], tall)


def png(width, height, colour=2, depth=8, chunks=()):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(min(height, 4) * (1 + width * 4)))
    body = [chunk(b"IHDR", head), *(chunk(*part) for part in chunks), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(("colour", "depth"), [(0, 8), (2, 8), (6, 16)])
def test_pictures_are_limited_by_what_would_be_held(tmp_path, colour, depth):
    (tmp_path / "a.png").write_bytes(png(19_999, 19_999, colour, depth))
    with pytest.raises(SlideError, match=r"would hold 2\.6 GB, at most 2 GB"):
        open_slide(tmp_path / "a.png", 0.25)


@pytest.mark.parametrize(("width", "height"), [(100_000_000, 1), (1, 100_000_000)])
def test_a_picture_longer_than_any_slide_is_told_as_such_and_not_as_damaged(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png(width, height, colour=0))
    with pytest.raises(SlideError, match=r"a side has at most 1,000,000 px") as refused:
        open_slide(tmp_path / "a.png", 0.5)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_picture_with_a_bomb_in_a_chunk_ends_in_one_line(tmp_path, kind):
    bomb = b"name\0\0" + zlib.compress(bytes(100 * 2**20), 9)
    (tmp_path / "a.png").write_bytes(png(8, 8, chunks=[(kind, bomb)]))
    with pytest.raises(SlideError, match="cannot be decoded") as refused:
        open_slide(tmp_path / "a.png", 0.25)
    assert "\n" not in str(refused.value)


def test_a_jpeg_in_a_thousand_scans_is_refused(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", progressive=True)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-2] + b"\xff\xda\x00\x02" * 1000 + data[-2:])
    with pytest.raises(SlideError, match="more than 100 scans"):
        open_slide(tmp_path / "a.jpg", 0.25)
