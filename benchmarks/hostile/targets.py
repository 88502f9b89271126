"""What is done with a hostile file: the program's own way through it, until every byte that matters is used.

Each target takes the folder that the file lies in and its path, and raises whatever the program raises.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from hostile import sound
from ki67.errors import Ki67Error, PixelSizeError

Target = Callable[[Path, Path], None]
FIELD: Final = "field.png"
CASE: Final = "case"


def slide(_folder: Path, path: Path) -> None:
    """Open it, find its tissue, read a level each and a place beyond the edge, take its fingerprint."""
    from ki67.geometry import RectUm
    from ki67.slides import open_slide, tissue_mask

    try:
        opened = open_slide(path)
    except PixelSizeError:
        opened = open_slide(path, sound.MPP)
    with opened:
        assert min(opened.size_px) > 0
        assert 0.05 <= opened.mpp <= 50
        opened.fingerprint()
        with contextlib.suppress(Ki67Error):
            tissue_mask(opened)
        for level in opened.levels[:4]:
            side = 100 * level.mpp
            pixels = opened.read(RectUm(-10 * level.mpp, -10 * level.mpp, side, side), level.mpp)
            assert pixels.shape == (100, 100, 3)
            assert pixels.dtype == np.uint8


def counted(folder: Path, path: Path) -> None:
    """Count it, as ``ki67 count`` does."""
    from ki67.pipeline import run_count

    try:
        run_count(path, folder / CASE)
    except PixelSizeError:
        run_count(path, folder / CASE, mpp=sound.MPP)


def regions(folder: Path, path: Path) -> None:
    """Read, choose, clip, count in, write and read again."""
    from ki67.annotations import check_inside, choose_regions, read_regions, write_regions
    from ki67.cells.counted_region import counted_region
    from ki67.geometry import RectUm
    from ki67.slides import PixelFrame

    frame = PixelFrame(sound.MPP)
    bounds = RectUm(0, 0, sound.SIZE[1] * sound.MPP, sound.SIZE[0] * sound.MPP)
    found = read_regions(path, frame)
    chosen, _ = choose_regions(found, None, path)
    inside, _ = check_inside(chosen, bounds)
    write_regions(folder / "again.geojson", inside, frame)
    again = read_regions(folder / "again.geojson", frame)
    assert abs(again.area_mm2 - inside.area_mm2) <= 0.01 * inside.area_mm2 + 1e-7
    within = counted_region(again, bounds, 10.0)
    x, y = np.meshgrid(np.linspace(0, bounds.width_um, 20), np.linspace(0, bounds.height_um, 20))
    within.locate(x.ravel(), y.ravel())
    within.keeps(x.ravel(), y.ravel())
    assert np.isfinite(within.area_mm2)


def _labels(layout: str) -> Target:
    def read(folder: Path, path: Path) -> None:
        from ki67.fields.labelled_fields import read_fields

        place = folder
        if layout == "bcdata":
            for name in ("images", "annotations/positive", "annotations/negative"):
                (folder / "set" / name).mkdir(parents=True)
            shutil.copy(folder / FIELD, folder / "set/images/field.png")
            shutil.move(path, folder / "set/annotations/positive/field.h5")
            place = folder / "set"
        elif layout == "qupath":
            path.rename(folder / "field.geojson")
        for field in read_fields(place, layout, sound.MPP):
            assert all(np.isfinite(values).all() for values in field.points.values())

    return read


def landmark_pairs(_folder: Path, path: Path) -> None:
    """Read pairs of places and fit both kinds of map."""
    from ki67.registration.by_hand import fit_landmarks, read_landmark_pairs
    from ki67.slides import PixelFrame

    frame = PixelFrame(sound.MPP)
    pairs = read_landmark_pairs(path, frame, frame, (128.0, 96.0), (128.0, 96.0))
    for rigid in (False, True):
        assert np.isfinite(fit_landmarks(pairs, rigid=rigid)).all()


def landmarks(_folder: Path, path: Path) -> None:
    """Read landmarks of one image."""
    from ki67.evaluation.registration import read_landmarks

    assert np.isfinite(read_landmarks(path)).all()


def slide_list(_folder: Path, path: Path) -> None:
    """Read a list of slides and split it."""
    from ki67.fields.slide_list import read_slide_list, split_by_patient

    entries = read_slide_list(path)
    if len({entry.patient for entry in entries}) > 1:
        split_by_patient(entries)


def index(folder: Path, path: Path) -> None:
    """Compare indices with a sound file."""
    from ki67.evaluation.index import evaluate_index

    gold = folder / "gold.csv"
    gold.write_bytes(next(one.data for one in sound.tables() if one.target == "index"))
    json.dumps(evaluate_index(gold, path), allow_nan=False)


def patches(folder: Path, path: Path) -> None:
    """Read a folder of patches by its index."""
    from PIL import Image

    from ki67.fields.patches import load_pixels, read_patches

    Image.new("RGB", (50, 50), (200, 120, 180)).save(folder / "p.png")
    load_pixels(read_patches(folder, path)[:4], 50)


def _model(kind: str, *, graph: bool) -> Target:
    def use(folder: Path, path: Path) -> None:
        if graph:
            model = path
            path.with_suffix(".json").write_bytes(sound.card_of(kind, path.read_bytes()))
        else:
            model = path.with_suffix(".onnx")
            model.write_bytes(sound.GRAPHS[kind]())
        if kind == "idc":
            _classify(model)
        else:
            _count_with(folder, model, kind)

    return use


def _classify(model: Path) -> None:
    from ki67.idc import load_model

    loaded = load_model(model)
    px = loaded.card.patch_px
    if px > 2000:
        raise AssertionError(f"a card's patches of {px} px pass")
    found = loaded.probabilities(np.full((3, px, px, 3), 200, np.uint8))
    assert found.shape == (3,)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1.0001)).all()


def _count_with(folder: Path, model: Path, engine: str) -> None:
    from ki67.options import Options
    from ki67.pipeline import run_count

    result = run_count(folder / FIELD, folder / CASE, Options(engine=engine, cell_model=model), mpp=sound.MPP)  # type: ignore[arg-type]
    json.dumps(result, allow_nan=False)


def manifest(folder: Path, path: Path) -> None:
    """Go on with a case whose manifest was changed, and export it."""
    from ki67.export import export_case
    from ki67.pipeline import run_count

    shutil.copytree(folder.parent / "sound-case", folder / CASE)
    shutil.copy(path, folder / CASE / "run.json")
    with contextlib.suppress(Ki67Error):
        export_case(folder / CASE, folder / "cells.csv")
    run_count(folder / FIELD, folder / CASE, mpp=sound.MPP)


TARGETS: Final[dict[str, Target]] = {
    "slide": slide,
    "count": counted,
    "regions": regions,
    "landmark-pairs": landmark_pairs,
    "landmarks": landmarks,
    "slide-list": slide_list,
    "index": index,
    "patches": patches,
    "manifest": manifest,
    **{f"labels-{layout}": _labels(layout) for layout in ("qupath", "points", "shidc", "glioma", "bcdata")},
    **{f"graph-{kind}": _model(kind, graph=True) for kind in sound.GRAPHS},
    **{f"card-{kind}": _model(kind, graph=False) for kind in sound.GRAPHS},
}
