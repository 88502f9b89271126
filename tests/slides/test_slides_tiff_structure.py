"""TIFFs that would keep a reader busy, or make it ask for more memory than there is."""

import contextlib
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from slide_pictures import HALF_UM, OME_HALF_UM, tissue, write_ome, write_tiff

from ki67.errors import SlideError
from ki67.slides import open_slide

RGB = tissue(128, 128)


def refusal(path, mpp=0.5):
    with pytest.raises(SlideError) as refused:
        open_slide(path, mpp)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def directory(*entries, following=0):
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def classic(*directories):
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directories)


def test_an_empty_directory_that_announces_itself_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(bytes.fromhex("49492A0008000000000008000000"))
    assert "0 tags" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("back_to", [8, 26])
def test_directories_in_a_ring_are_refused(tmp_path, back_to):
    entry = (256, 4, 1, 64)
    (tmp_path / "a.tif").write_bytes(classic(directory(entry, following=26), directory(entry, following=back_to)))
    assert "ring" in refusal(tmp_path / "a.tif")


def test_a_directory_below_itself_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(classic(directory((330, 4, 1, 8))))
    assert "ring" in refusal(tmp_path / "a.tif")


def test_sub_directories_that_name_the_next_one_are_no_ring(tmp_path):
    with open_slide(write_ome(tmp_path / "a.ome.tif", (tissue(), OME_HALF_UM), levels=3)) as slide:
        assert len(slide.levels) == 4


@pytest.mark.parametrize("beyond", [False, True])
def test_a_tile_size_of_eight_bytes_in_a_classic_file_is_read_where_it_lies(tmp_path, beyond):
    entries = [(322, 16, 1, 10**6 if beyond else 38), (323, 4, 1, 2**20)]
    (tmp_path / "a.tif").write_bytes(classic(directory(*entries)) + struct.pack("<Q", 2**20))
    assert ("1048576 x 1048576" in refusal(tmp_path / "a.tif")) is not beyond


@pytest.mark.parametrize("tag", [256, 273, 324, 325])
def test_values_beyond_the_end_are_refused(tmp_path, tag):
    (tmp_path / "a.tif").write_bytes(classic(directory((tag, 4, 2**31, 8))))
    assert "beyond its end" in refusal(tmp_path / "a.tif")


def test_more_tags_or_directories_than_there_can_be_are_refused(tmp_path):
    (tmp_path / "tags.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 60000) + bytes(12 * 60000 + 4))
    assert "60000 tags" in refusal(tmp_path / "tags.tif")
    chain = [directory((256, 4, 1, 64), following=8 + 18 * (place + 1)) for place in range(10_001)]
    (tmp_path / "chain.tif").write_bytes(classic(*chain, directory((256, 4, 1, 64))))
    assert "10000 directories" in refusal(tmp_path / "chain.tif")


def changed_tag(path, name, value):
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[name].overwrite(value)
    return path


@pytest.mark.parametrize("name", ["TileWidth", "TileLength", "ImageWidth", "ImageLength", "SamplesPerPixel"])
@pytest.mark.parametrize("value", [0, 2**16 - 1])
def test_absurd_sizes_end_in_one_line(tmp_path, name, value):
    refusal(changed_tag(write_tiff(tmp_path / "a.tif", RGB), name, value))


@pytest.mark.parametrize("value", [0, 1, 7, 2**16 - 1])
@pytest.mark.parametrize("name", ["BitsPerSample", "PhotometricInterpretation", "Compression", "PlanarConfiguration"])
def test_absurd_codes_end_in_a_known_error_or_are_read(tmp_path, name, value):
    path = changed_tag(write_tiff(tmp_path / "a.tif", RGB), name, (value,) * 3 if name == "BitsPerSample" else value)
    with contextlib.suppress(SlideError), open_slide(path, 0.5) as slide:
        assert slide.read(slide.bounds_um, 0.5).shape == RGB.shape


def test_tiles_too_large_to_be_held_are_refused_before_they_are_decoded(tmp_path):
    zeros = imagecodecs.zlib_encode(bytes(2**20), 9)
    tifffile.imwrite(
        tmp_path / "a.tif", iter([zeros]), shape=(46336, 46336), dtype=np.uint8, tile=(46336, 46336),
        photometric="minisblack", compression="zlib", metadata=None,
    )  # fmt: skip
    assert "46336 x 46336" in refusal(tmp_path / "a.tif")


def test_a_strip_too_large_to_be_held_is_refused(tmp_path):
    zeros = imagecodecs.zlib_encode(bytes(2**20), 9)
    tifffile.imwrite(
        tmp_path / "a.tif", iter([zeros]), shape=(20000, 20000), dtype=np.uint8, rowsperstrip=20000,
        photometric="minisblack", compression="zlib", metadata=None,
    )  # fmt: skip
    assert "381 MB" in refusal(tmp_path / "a.tif")


def encoders():
    large = np.zeros((2000, 2000, 3), np.uint8)
    return {
        7: lambda: imagecodecs.jpeg_encode(large),
        34712: lambda: imagecodecs.jpeg2k_encode(large, level=0),
        50001: lambda: imagecodecs.webp_encode(large, level=10),
        50002: lambda: imagecodecs.jpegxl_encode(large, effort=1, distance=0),
        34933: lambda: imagecodecs.png_encode(large),
    }


@pytest.mark.parametrize("code", list(encoders()))
def test_a_stream_that_would_come_out_larger_than_its_tile_is_not_decoded(tmp_path, code):
    stream = encoders()[code]()
    tifffile.imwrite(
        tmp_path / "a.tif", iter([stream] * 4), shape=RGB.shape, dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression=code, metadata=None, **HALF_UM,
    )  # fmt: skip
    assert "announces 2000 x 2000 px" in refusal(tmp_path / "a.tif")


def test_a_picture_without_a_single_tile_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", iter([b""] * 4), shape=(128, 128), dtype=np.uint8, tile=(64, 64),
        photometric="minisblack", metadata=None,
    )  # fmt: skip
    assert "none of its tiles" in refusal(tmp_path / "a.tif")


def test_missing_tiles_are_white_and_cost_no_memory(tmp_path):
    tile = imagecodecs.zlib_encode(bytes(4096 * 4096 * 3), 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, iter([tile, *[b""] * 15]), shape=(16384, 16384, 3), dtype=np.uint8, tile=(4096, 4096),
        photometric="rgb", compression="zlib", metadata=None,
    )  # fmt: skip
    with open_slide(path, 0.5) as slide:
        pixels = slide.thumbnail(32.0)
    assert (pixels[:64, :64] == 0).all()
    assert (pixels[64:] == 255).all()


def test_a_slide_larger_than_any_glass_is_refused(tmp_path):
    tile = imagecodecs.zlib_encode(bytes(8192 * 8192), 1)
    tifffile.imwrite(
        tmp_path / "a.tif", iter([tile, *[b""] * 63]), shape=(2**16, 2**16), dtype=np.uint8, tile=(8192, 8192),
        photometric="minisblack", compression="zlib", metadata=None,
    )  # fmt: skip
    assert "3,277 x 3,277 mm" in refusal(tmp_path / "a.tif", 50)


def test_random_damage_to_the_directories_ends_in_a_known_error_or_is_read(tmp_path):
    rng = np.random.default_rng(7)
    sound = write_tiff(tmp_path / "sound.tif", RGB, compression="jpeg").read_bytes()
    with tifffile.TiffFile(tmp_path / "sound.tif") as tiff:
        start = tiff.pages[0].offset
    for _ in range(300):
        damaged = bytearray(sound)
        for place in rng.integers(0, 200, rng.integers(1, 4)):
            damaged[min(start + place, len(damaged) - 1)] = rng.integers(0, 256)
        (tmp_path / "damaged.tif").write_bytes(damaged)
        with contextlib.suppress(SlideError), open_slide(tmp_path / "damaged.tif", 0.5) as slide:
            slide.read(slide.bounds_um, 2.0)
