"""What the program says of honest and of spoilt colours: a table of confusion over all labelled pictures at hand.

    stain_verdicts.py DATA [--he SLIDE…] [--ki67 SLIDE…]

DATA holds ``ki67_cells``, ``idc_patches``, ``slides`` and ``registration``. Every Ki-67 field and every patient's H&E
patches (a mosaic of up to 49) are judged as they are, in the place of the other stain, and with each mistake made to
them. Prints how many are usual, unusual and unusable, and what is said most.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ki67.cells.checks.staining import judge_he_sample, judge_ki67_sample
from ki67.cells.sampling import Sample
from ki67.domain import Check, Verdict, doubts, worst
from ki67.geometry import RectUm
from ki67.slides import open_slide

Picture = NDArray[np.uint8]
FIELDS = {
    "bcdata/images": ("**/*.png", 0.25),
    "shidc": ("*.jpg", 0.25),
    "deepliif": ("*_ihc.png", 0.25),
    "glioma": ("*.jpg", 0.1),
    "wroclaw": ("*[!d].png", 0.5),
    "nznmol": ("[0-9].png", 0.5),
}
HE_FILES = {
    "slides/cmu-1-small-region.svs": None,
    "slides/os1_he.ome.tif": None,
    "slides/camelyon_overview_jpeg2000.dcm": None,
    "registration/case001/Case001_HE.jpg": 7.5,
    "registration/les1/He-les1.jpg": 3.5,
    "registration/les1_10pc/He-les1.jpg": 1.7,
    "registration/rat_kidney/Rat-Kidney_HE.jpg": 3.5,
}
MPP = 0.5
SIDE_PX = 400
PATCHES = 49
PATCH_PX, PATCH_MPP = 50, 4.0


def grey(picture: Picture) -> Picture:
    """The picture without its colour."""
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def ycbcr_as_rgb(picture: Picture) -> Picture:
    """The picture's YCbCr, shown as if it were RGB."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]], np.uint8)


def rgb_as_ycbcr(picture: Picture) -> Picture:
    """The picture's RGB, decoded as if it were YCbCr."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB), np.uint8)


MISTAKES: dict[str, Callable[[Picture], Picture]] = {
    "honest": lambda picture: picture,
    "grey": grey,
    "tinted grey": lambda picture: (grey(picture) * np.array([1.0, 0.95, 0.85])).astype(np.uint8),
    "red and blue swapped": lambda picture: picture[..., ::-1],
    "red and green swapped": lambda picture: picture[..., [1, 0, 2]],
    "green and blue swapped": lambda picture: picture[..., [0, 2, 1]],
    "inverted": lambda picture: 255 - picture,
    "YCbCr as RGB": ycbcr_as_rgb,
    "RGB as YCbCr": rgb_as_ycbcr,
}


def middle(path: Path, mpp: float | None) -> tuple[Picture, float]:
    """The middle of a picture, at the working resolution or its own where that is coarser."""
    with open_slide(path, mpp) as slide:
        bounds, read_mpp = slide.bounds_um, max(MPP, slide.mpp)
        width, height = (min(side, SIDE_PX * read_mpp) for side in (bounds.width_um, bounds.height_um))
        left, top = (bounds.width_um - width) / 2, (bounds.height_um - height) / 2
        return slide.read(RectUm(left, top, width, height), read_mpp), read_mpp


def ki67_pictures(data: Path, others: list[Path]) -> Iterator[tuple[Picture, float]]:
    """Every labelled field, the NanoZoomer field, and others."""
    for folder, (pattern, mpp) in FIELDS.items():
        for path in sorted((data / "ki67_cells" / folder).glob(pattern)):
            yield middle(path, mpp)
    for path in (data / "slides/os2_ki67_nanozoomer.ome.tif", *others):
        yield middle(path, None)


def he_pictures(data: Path, others: list[Path]) -> Iterator[tuple[Picture, float]]:
    """A mosaic of each patient's patches, the H&E files, and others."""
    files: dict[str, list[str]] = defaultdict(list)
    with (data / "idc_patches/index.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            files[row["patient"]].append(row["file"])
    draw = random.Random(0)  # noqa: S311
    for names in files.values():
        chosen = draw.sample(names, min(PATCHES, len(names)))
        patches = [np.asarray(Image.open(data / "idc_patches" / name).convert("RGB")) for name in chosen]
        patches = [patch for patch in patches if patch.shape[:2] == (PATCH_PX, PATCH_PX)]
        side = int(len(patches) ** 0.5)
        if side >= 2:
            rows = [np.hstack(patches[row * side : (row + 1) * side]) for row in range(side)]
            yield np.vstack(rows), PATCH_MPP
    for name, mpp in HE_FILES.items():
        yield middle(data / name, mpp)
    for path in others:
        yield middle(path, None)


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--he", type=Path, nargs="*", default=[])
    parser.add_argument("--ki67", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()

    def as_ki67(picture: Picture, _: float) -> tuple[Check, ...]:
        return judge_ki67_sample(Sample((picture,)))

    def as_he(picture: Picture, mpp: float) -> tuple[Check, ...]:
        return judge_he_sample(Sample((picture,)), mpp)

    pictures = {
        "Ki-67": list(ki67_pictures(arguments.data, arguments.ki67)),
        "H&E": list(he_pictures(arguments.data, arguments.he)),
    }
    judges = {"Ki-67": as_ki67, "H&E": as_he}
    print("given as  is     colours                  pictures usual unusual unusable  said most")
    for place, judge in judges.items():
        for stain, found in pictures.items():
            for name, mistake in MISTAKES.items():
                if place != stain and name != "honest":
                    continue
                verdicts: Counter[Verdict] = Counter()
                said: Counter[str] = Counter()
                for picture, mpp in found:
                    checks = judge(np.ascontiguousarray(mistake(picture)), mpp)
                    verdict = worst(checks)
                    verdicts[verdict] += 1
                    if verdict is Verdict.unusable:
                        said[doubts(checks)[0].split(": ", 1)[-1][:60]] += 1
                counts = " ".join(f"{verdicts[verdict]:7}" for verdict in Verdict)
                most = "; ".join(f"{text} ({count})" for text, count in said.most_common(2))
                print(f"{place:9} {stain:6} {name:24} {len(found):8} {counts}  {most}", flush=True)


if __name__ == "__main__":
    main()
