"""The measurements against ImageJ's own, where ImageJ and a Java compiler are installed (Debian: imagej, a JDK)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from ki67.cells.channels import WORKING_MPP
from ki67.cells.masks import Mask, stacked
from ki67.cells.measurements import CHANNEL_UNITS, MEASUREMENT_UNITS, SHAPE_UNITS, STATISTICS, measure
from ki67.cells.stains import Stains, stain_amounts
from ki67.light import optical_density

IMAGEJ = Path(os.environ.get("KI67_IMAGEJ", "/usr/share/java/ij.jar"))
PROGRAM = Path(__file__).parent / "ImageJMeasurements.java"
STAINS = Stains((231.0, 228.0, 220.0), (0.65, 0.704, 0.286), (0.268, 0.57, 0.776), True, True, 0.3, 0.6)
BOX, BOXES_ACROSS = 36, 20
# Half a step of the last of the nine digits that a float32 column keeps.
PRECISION = 2e-6
# AR and Round where ImageJ guards a division by zero (see measurements.py).
GUARDED = 2e-4
# ImageJ takes moments from sums of powers, which cost digits where values hardly differ.
SUMS_OF_POWERS = 1e-3
LESS_EXACT = ("AR", "Round", "Skew", "Kurt")


def ellipse(rng: np.random.Generator) -> NDArray[np.bool_]:
    """A tilted ellipse, the circle among them."""
    major = rng.uniform(1.0, 15.0)
    minor = major * rng.choice([1.0, rng.uniform(0.25, 1.0)])
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:BOX, :BOX] - BOX / 2 + rng.uniform(-0.5, 0.5)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return (along / max(major, 1)) ** 2 + (across / max(minor, 1)) ** 2 <= 1


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    """The largest 4-connected part of smoothed noise, filled."""
    noise = cv2.GaussianBlur(rng.random((BOX, BOX)), (0, 0), rng.uniform(1.0, 4.0))
    return ndimage.binary_fill_holes(largest(noise > np.quantile(noise, rng.uniform(0.5, 0.8))))


def ragged(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Noise hardly smoothed: spurs one pixel wide, and pockets closed only by a corner."""
    noise = cv2.GaussianBlur(rng.random((BOX, BOX)), (0, 0), 0.6)
    return ndimage.binary_fill_holes(largest(noise > np.quantile(noise, 0.45)))


def staircase(rng: np.random.Generator) -> NDArray[np.bool_]:
    """A stair of steps of one pixel, one or two pixels thick, either way."""
    mask = np.zeros((BOX, BOX), bool)
    for step in range(int(rng.integers(2, BOX - 3))):
        mask[step, step : step + 1 + int(rng.integers(1, 3))] = True
        mask[step + 1, step + 1] = True
    return mask[:, :: rng.choice([-1, 1])]


def walk(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pixels of a random walk, its holes filled: from one pixel to a tangle with corners that touch."""
    mask = np.zeros((BOX, BOX), bool)
    place = np.array([BOX // 2, BOX // 2])
    for turn in rng.integers(0, 4, int(rng.choice([0, 1, 2, 3, 8, 40, 150]))):
        mask[tuple(place)] = True
        place = np.clip(place + ((0, 1), (1, 0), (0, -1), (-1, 0))[turn], 1, BOX - 2)
    mask[tuple(place)] = True
    return ndimage.binary_fill_holes(mask)


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 4-connected part."""
    parts, _ = ndimage.label(mask)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


def label_image(seed: int) -> NDArray[np.uint16]:
    """Shapes of all kinds, each in a box of its own; every second one is pushed to the box's corner.

    So shapes touch the picture's edges, and each other.
    """
    rng = np.random.default_rng(seed)
    kinds = (ellipse, blob, ragged, staircase, walk)
    labels = np.zeros((BOX * BOXES_ACROSS, BOX * BOXES_ACROSS), np.uint16)
    for number in range(BOXES_ACROSS**2):
        mask = kinds[number % len(kinds)](rng)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        shape = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        room = BOX - np.array(shape.shape)
        top, left = room * rng.integers(0, 2, 2) if number % 2 else room // 2
        row, column = number // BOXES_ACROSS * BOX + top, number % BOXES_ACROSS * BOX + left
        labels[row : row + shape.shape[0], column : column + shape.shape[1]][shape] = number + 1
    return labels


def stained(shape: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Colours between glass and black with some structure; a stripe of one colour has no spread at all."""
    rng = np.random.default_rng(seed)
    light = cv2.GaussianBlur(rng.normal(size=(*shape, 3)), (0, 0), 1.5) * 120 + 150
    light[BOX : 2 * BOX] = (180, 140, 90)
    return np.clip(light, 0, 255).astype(np.uint8)


def masks_of(labels: NDArray[np.uint16]) -> list[Mask]:
    """The masks of a label image in the order of the labels."""
    boxes = ndimage.find_objects(labels)
    return [Mask(labels[box] == number, box[1].start, box[0].start) for number, box in enumerate(boxes, start=1)]


def measured_by_imagej(
    folder: Path, labels: NDArray[np.uint16], planes: list[NDArray[np.generic]]
) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Plane, label and ImageJ's columns."""
    tifffile.imwrite(folder / "labels.tif", labels)
    files = [folder / f"plane{number}.tif" for number in range(len(planes))]
    for file, plane in zip(files, planes, strict=True):
        tifffile.imwrite(file, np.ascontiguousarray(plane))
    command = ["java", "-Djava.awt.headless=true", "-cp", IMAGEJ, PROGRAM, str(WORKING_MPP), folder / "labels.tif"]
    done = subprocess.run([*command, *files], check=True, capture_output=True, text=True, timeout=300)
    for line in done.stdout.splitlines():
        plane, label, *columns = line.split(" ")
        pairs = (column.split("=") for column in columns)
        yield int(plane), int(label), {name: float(value) for name, value in pairs}


@pytest.fixture(scope="module")
def labels() -> NDArray[np.uint16]:
    """Shapes of all kinds."""
    return label_image(seed=5)


@pytest.fixture(scope="module")
def masks(labels: NDArray[np.uint16]) -> list[Mask]:
    """Their masks."""
    return masks_of(labels)


@pytest.fixture(scope="module")
def both(
    labels: NDArray[np.uint16], masks: list[Mask], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """For each of our columns its values and ImageJ's, nucleus by nucleus."""
    if not IMAGEJ.is_file() or shutil.which("javac") is None:
        pytest.skip("ImageJ and a Java compiler are not installed (Debian: imagej, default-jdk-headless)")
    rgb = stained(labels.shape, seed=6)
    ours = measure(rgb, STAINS, stacked(masks))[0]
    amounts = stain_amounts(optical_density(rgb, STAINS.background_rgb), STAINS)
    planes = [*np.moveaxis(amounts, -1, 0), *np.moveaxis(rgb, -1, 0)]
    theirs = {name: np.full(len(masks), -1.0) for name in MEASUREMENT_UNITS}
    channels = list(CHANNEL_UNITS)
    for plane, label, row in measured_by_imagej(tmp_path_factory.mktemp("imagej"), labels, planes):
        for name in SHAPE_UNITS:
            theirs[name][label - 1] = row[name]
        for name in STATISTICS:
            theirs[f"{name}_{channels[plane]}"][label - 1] = row[name]
    return {name: (ours[:, column], theirs[name]) for column, name in enumerate(MEASUREMENT_UNITS)}


def spreads_equally(mask: Mask) -> bool:
    """Whether the second moments along x and y are the same."""
    y, x = np.nonzero(mask.pixels)
    first, second = (len(v) * int((v * v).sum()) - int(v.sum()) ** 2 for v in (x, y))
    return first == second


@pytest.mark.parametrize("name", [name for name in MEASUREMENT_UNITS if not name.startswith(LESS_EXACT)])
def test_measurement_is_imagejs(both, name):
    ours, theirs = both[name]
    np.testing.assert_allclose(ours, theirs, rtol=PRECISION, atol=PRECISION)


@pytest.mark.parametrize("name", [name for name in MEASUREMENT_UNITS if name.startswith(("Skew", "Kurt"))])
def test_higher_moments_are_imagejs_and_zero_where_nothing_spreads(both, name):
    ours, theirs = both[name]
    flat = both["Min_" + name.split("_")[1]][0] == both["Max_" + name.split("_")[1]][0]
    assert flat.any()
    assert (ours[flat] == 0).all()
    np.testing.assert_allclose(ours[~flat], theirs[~flat], rtol=SUMS_OF_POWERS, atol=SUMS_OF_POWERS)


@pytest.mark.parametrize("name", ["AR", "Round"])
def test_ellipse_is_imagejs_but_for_its_guard_against_division_by_zero(both, masks, name):
    ours, theirs = both[name]
    guarded = np.array([spreads_equally(mask) for mask in masks])
    np.testing.assert_allclose(ours[~guarded], theirs[~guarded], rtol=PRECISION, atol=PRECISION)
    np.testing.assert_allclose(ours[guarded], theirs[guarded], rtol=GUARDED)
