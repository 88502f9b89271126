import threading

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from ki67.geometry import RectUm
from ki67.jobs import job
from ki67.slides import open_slide, read_ahead, write_pyramid
from ki67.slides.slide import snapped_downsample

MPP = 0.25


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """A slide of dark Gaussian spots whose centres are known in µm, lossless."""
    width, height = 1201, 803
    y, x = np.mgrid[:height, :width] + 0.5
    centres_um = [(37.13, 41.9), (160.4, 33.3), (251.77, 170.2)]
    dark = sum(np.exp(-((x - cx / MPP) ** 2 + (y - cy / MPP) ** 2) / (2 * 24.0**2)) for cx, cy in centres_um)
    pixels = np.repeat((250 - 200 * dark).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    path = tmp_path_factory.mktemp("blobs") / "blobs.tif"
    write_pyramid(path, [pixels], (width, height), MPP, tile_px=128, compression="none")
    return path, pixels, centres_um


def centre_of_dark(pixels):
    weight = np.clip(245.0 - pixels[..., 0].astype(float), 0, None)
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    return (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()


@pytest.mark.parametrize("mpp", [0.1, 0.2271, 0.25, 0.33, 0.5, 0.7123, 1.0, 1.9, 2.0, 3.7])
@pytest.mark.parametrize("offset_um", [(0.0, 0.0), (0.07, -0.11), (1.313, 2.717)])
def test_no_read_shifts_by_a_quarter_pixel(blobs, mpp, offset_um):
    path, _, centres_um = blobs
    with open_slide(path, mpp=MPP) as slide:
        for cx, cy in centres_um:
            region = RectUm(cx - 30 + offset_um[0], cy - 30 + offset_um[1], 60, 60)
            x, y = centre_of_dark(slide.read(region, mpp))
            assert abs(x - (cx - region.x_um) / mpp) < 0.1
            assert abs(y - (cy - region.y_um) / mpp) < 0.1


@pytest.mark.parametrize("mpp", [0.25, 0.2, 0.4, 0.61, 1.3])
def test_tiles_join_without_a_seam(blobs, mpp):
    path, _, _ = blobs
    with open_slide(path, mpp=MPP) as slide:
        side = 100 * mpp
        whole = slide.read(RectUm(3.3, 5.1, 2 * side, side), mpp)
        left = slide.read(RectUm(3.3, 5.1, side, side), mpp)
        right = slide.read(RectUm(3.3 + side, 5.1, side, side), mpp)
    np.testing.assert_array_equal(whole, np.hstack([left, right]))


def test_level_0_comes_back_as_it_was_and_beyond_it_is_white(blobs):
    path, pixels, _ = blobs
    with open_slide(path, mpp=MPP) as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds_um, MPP), pixels)
        around = slide.read(slide.bounds_um.expanded(10 * MPP), MPP)
        np.testing.assert_array_equal(around[10:-10, 10:-10], pixels)
        assert (around[:10] == 255).all()
        assert (around[:, -10:] == 255).all()
        assert (slide.read(RectUm(-500, -500, 50, 50), 1.0) == 255).all()


def test_averaging_keeps_the_mean_exactly(blobs):
    path, pixels, _ = blobs
    with open_slide(path, mpp=MPP) as slide:
        read = slide.read(RectUm(10 * MPP, 20 * MPP, 700 * MPP, 700 * MPP), 700 * MPP / 413)
    assert read.shape == (413, 413, 3)
    assert read.mean() == pytest.approx(pixels[20:720, 10:710].mean(), abs=0.05)


@pytest.mark.parametrize("factor", [2, 4])
def test_tiles_shrunk_when_decoded_give_what_averaging_the_block_gives(tmp_path, monkeypatch, factor):
    pixels = np.random.default_rng(0).integers(0, 256, (803, 1201, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "flat.tif", pixels, photometric="rgb", tile=(128, 128))
    mpp = factor * MPP
    # Across tiles, up to the last whole pixel, beyond the edge, and off the grid.
    places = [
        (0, 0, 300, 200),
        (31, 17, 200, 99),
        (40, 30, 1201 // factor - 40, 803 // factor - 30),
        (-5, 90, 80, 60),
    ]
    rects = [RectUm(x * mpp, y * mpp, w * mpp, h * mpp) for x, y, w, h in places]
    rects.append(RectUm(3 * MPP, 5 * MPP, 60 * mpp, 60 * mpp))
    with open_slide(tmp_path / "flat.tif", mpp=MPP) as slide:
        found = [slide.read(rect, mpp) for rect in rects]
        monkeypatch.setattr(type(slide), "_shrunk", lambda *_: None)
        for rect, shrunk in zip(rects, found, strict=True):
            np.testing.assert_array_equal(slide.read(rect, mpp), shrunk)


def test_direct_decoding_gives_the_pixels_of_openslide(tmp_path):
    y, x = np.mgrid[:600, :700]
    pixels = np.stack([127 + 120 * np.sin(x / 9), 127 + 120 * np.cos(y / 11), (x + y) % 256], -1).astype(np.uint8)
    write_pyramid(tmp_path / "j.tif", [pixels], (700, 600), MPP, tile_px=256)
    with open_slide(tmp_path / "j.tif") as slide, openslide.OpenSlide(tmp_path / "j.tif") as reference:
        assert slide.reader == "tifffile"
        for index, level in enumerate(slide.levels):
            expected = np.array(reference.read_region((0, 0), index, level.size_px))[..., :3]
            width, height = level.size_px
            got = slide.read(RectUm(0, 0, width * level.mpp, height * level.mpp), level.mpp)
            assert np.abs(got.astype(int) - expected).max() <= 3


def test_each_tile_is_decoded_once_by_many_threads(blobs, monkeypatch):
    path, _, _ = blobs
    with open_slide(path, mpp=MPP) as slide:
        decoded = []
        original = slide._source._decoded
        slide._source._cache.forget(slide._source._owner)
        monkeypatch.setattr(slide._source, "_decoded", lambda *key: (decoded.append(key), original(*key))[1])
        threads = [threading.Thread(target=slide.read, args=(slide.bounds_um, MPP)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(decoded) == len(set(decoded)) == 10 * 7


def test_read_ahead_keeps_the_order_and_may_be_left_early(blobs):
    path, _, _ = blobs
    with open_slide(path, mpp=MPP) as slide:
        rects = [RectUm(20.0 * i, 0, 20, 20) for i in range(9)]
        read = list(read_ahead(slide, rects, 0.5))
        assert [rect for rect, _ in read] == rects
        for rect, pixels in read:
            np.testing.assert_array_equal(pixels, slide.read(rect, 0.5))
        with job(threads=1):
            ahead = read_ahead(slide, rects, 0.5)
            next(ahead)
            ahead.close()


@pytest.mark.parametrize(
    ("full", "level", "downsample"),
    [
        ((1001, 777), (500, 388), 2),
        ((1001, 777), (501, 389), 2),
        ((46000, 32914), (11500, 8228), 4),
        ((46000, 32914), (1437, 1028), 32),
    ],
)
def test_a_rounded_level_size_does_not_stretch_the_level(full, level, downsample):
    assert snapped_downsample(full, level) == downsample


def test_the_fingerprint_tells_files_apart(tmp_path):
    for name, value in (("a.png", 10), ("b.png", 11), ("c.png", 10)):
        Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(tmp_path / name)
    prints = [open_slide(tmp_path / name, mpp=0.5).fingerprint() for name in ("a.png", "b.png", "c.png")]
    assert prints[0] == prints[2] != prints[1]
    assert prints[0]["bytes"] == (tmp_path / "a.png").stat().st_size
