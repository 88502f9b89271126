"""Textures repeat without a seam and have the statistics they promise."""

import numpy as np

from ki67.simulate import textures


def test_noise_is_standardised_and_periodic() -> None:
    texture = textures.noise(np.random.default_rng(0), 128, 2.0, 40.0)
    x, y = np.random.default_rng(1).uniform(0, 256, (2, 40))

    far = texture.at(x + 7 * texture.period_um, y - 3 * texture.period_um)

    assert abs(float(texture.pixels.mean())) < 1e-3
    assert abs(float(texture.pixels.std()) - 1) < 1e-3
    np.testing.assert_allclose(far, texture.at(x, y), atol=0.05)


def test_reading_at_pixel_centres_gives_the_pixels() -> None:
    texture = textures.noise(np.random.default_rng(0), 64, 2.0, 40.0)
    axis = (np.arange(64) + 0.5) * 2.0
    x, y = np.meshgrid(axis, axis)

    np.testing.assert_allclose(texture.at(x, y), texture.pixels, atol=1e-4)


def test_long_point_lists_read_like_grids() -> None:
    texture = textures.noise(np.random.default_rng(0), 64, 2.0, 40.0)
    x, y = np.random.default_rng(1).uniform(0, 128, (2, 20_000))

    both = texture.at(x, y)

    np.testing.assert_allclose(
        both[:500].reshape(20, 25), texture.at(x[:500].reshape(20, 25), y[:500].reshape(20, 25)), atol=1e-4
    )
    assert texture.at(x[:0], y[:0]).shape == (0,)


def test_foam_cells_have_the_size_asked_for() -> None:
    foam = textures.foam(np.random.default_rng(0), 256, 2.0, 60.0)

    # the farthest a point of a cell 60 µm across can be from its border is about 30 µm
    assert 22 < float(np.percentile(foam.pixels, 99.9)) < 40
    assert float(foam.pixels.min()) >= 0
