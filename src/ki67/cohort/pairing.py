"""Which H&E belongs to which Ki-67 slide of a folder: a proposal for a person to check, with reasons.

Three things speak for a pair: names that are the same but for the stain, tissue of the same shape, and that the two
look like the stains they should have. The stain is told from the pixels; a name only where pixels do not tell. Pairs
are chosen so that all of them together fit best.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ki67 import cells
from ki67.case.manifest import MANIFEST
from ki67.errors import DataSetError, Ki67Error, PixelSizeError
from ki67.files import printable, write_text
from ki67.progress import track
from ki67.slides import open_slide
from ki67.slides.pixel_size import LARGEST_PICTURE_MPP

Stain = Literal["he", "ki67"]
Mask = NDArray[np.bool_]

COLUMNS: Final = ("case", "he", "ki67", "confidence", "reason")
SLIDE_SUFFIXES: Final = frozenset(
    {
        ".svs",
        ".ndpi",
        ".mrxs",
        ".scn",
        ".bif",
        ".dcm",
        ".tif",
        ".tiff",
        ".btf",
        ".vms",
        ".vmu",
        ".svslide",
        ".png",
        ".jpg",
        ".jpeg",
    }
)
GRID: Final = 48
"""Edge of the square in which shapes are laid over one another."""

TURNS: Final = 24
"""Sections are tried turned by 15° each, and mirrored: they lie on the glass as they fell."""

_NAME_SHARE: Final = 0.5
_SHAPE_ALONE: Final = 0.8
"""Where names say nothing the shape decides, but weighs less than both together."""

_LEAST_FIT: Final = 0.45
"""Half the tissue covered at best, and names that do not agree: no pair."""

_SURE_FIT: Final = 0.85
_SURE_LEAD: Final = 0.15
_LIKELY_LEAD: Final = 0.05

_STAIN_IN_NAME: Final[dict[Stain, re.Pattern[str]]] = {
    "he": re.compile(r"(?<![a-z0-9])(h[ _\-&+.]?e|hes|hande|haematoxylin|hematoxylin)(?![a-z0-9])", re.IGNORECASE),
    "ki67": re.compile(r"(?<![a-z0-9])(ki[ _\-]?67|mib[ _\-]?1|sp6|30[ _\-]?9)(?![a-z0-9])", re.IGNORECASE),
}
_SIGNS: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class SeenSlide:
    """A slide as far as pairing needs it.

    Parameters
    ----------
    path
        The file.
    stain
        What it is; None where neither pixels nor name tell.
    by
        ``pixels`` or ``name``: what told the stain.
    mask
        Tissue.
    area_mm2
        Of the tissue; None where the pixel size is not known.
    fault
        Why it cannot be used; empty for nothing.
    """

    path: Path
    stain: Stain | None
    by: str = ""
    mask: Mask | None = None
    area_mm2: float | None = None
    fault: str = ""

    @cached_property
    def shape(self) -> NDArray[np.float32]:
        """The tissue laid into a square, float32 (GRID, GRID)."""
        assert self.mask is not None
        return _centred(self.mask)

    @cached_property
    def poses(self) -> list[NDArray[np.float32]]:
        """:attr:`shape` in every pose that is tried."""
        middle = (GRID / 2 - 0.5, GRID / 2 - 0.5)
        turns = [cv2.getRotationMatrix2D(middle, 360 * turn / TURNS, 1.0) for turn in range(TURNS)]
        sides = self.shape, np.ascontiguousarray(self.shape[:, ::-1])
        return [cv2.warpAffine(side, turn, (GRID, GRID), flags=cv2.INTER_LINEAR) for side in sides for turn in turns]


def pair_slides(folder: Path, out: Path | None = None) -> dict[str, Any]:
    """Propose pairs among the slides of a folder and those below it.

    Parameters
    ----------
    folder
        Where the slides are.
    out
        CSV to write, which ``ki67 cohort`` takes once a person has checked it: its files are relative to it; slides
        without a partner stand in it with an empty place. None writes none.

    Returns
    -------
    dict
        ``pairs`` (:data:`COLUMNS`), ``alone`` (``file``, ``stain``, ``reason``), ``slides``, ``table``.

    Raises
    ------
    DataSetError
        Where there is no slide.
    WriteError
        Where the table cannot be written.
    """
    files = find_slides(folder)
    if not files:
        raise DataSetError(
            folder, "holds no slide", f"Slides are known by their suffix: {' '.join(sorted(SLIDE_SUFFIXES))}."
        )
    seen = [look_at(path) for path in track(files, "slides looked at")]
    pairs = list(propose(seen))
    paired = {path for pair in pairs for path in (pair["he"], pair["ki67"])}
    alone = [
        {"file": one.path, "stain": one.stain, "reason": one.fault or _why_alone(one)}
        for one in seen
        if one.path not in paired
    ]
    if out is not None:
        _write(out, pairs, alone)
    return {
        "slides": len(seen),
        "pairs": [{**pair, "he": str(pair["he"]), "ki67": str(pair["ki67"])} for pair in pairs],
        "alone": [{**one, "file": str(one["file"])} for one in alone],
        "table": None if out is None else str(out),
    }


def find_slides(folder: Path) -> list[Path]:
    """Files that look like slides by their suffix, by name.

    Folders that a MIRAX slide is made of and folders of cases, whose maps are TIFFs too, are passed over.

    Raises
    ------
    DataSetError
        Where it is no folder that can be read.
    """
    if not folder.is_dir():
        raise DataSetError(folder, "is no folder", "Name the folder of the slides.")
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        if MANIFEST in names:
            folders.clear()
            continue
        mirax = {Path(name).stem for name in names if name.lower().endswith(".mrxs")}
        folders[:] = sorted(name for name in folders if name not in mirax and not name.startswith("."))
        found += [
            Path(place) / name for name in names if Path(name).suffix.lower() in SLIDE_SUFFIXES and name[0] != "."
        ]
    return sorted(found)


def look_at(path: Path) -> SeenSlide:
    """Look at a slide: its stain and its tissue."""
    named = stain_in_name(path.name)
    measured = True
    try:
        try:
            slide = open_slide(path)
        except PixelSizeError:
            # Shapes are compared by themselves where sizes are not known.
            slide, measured = open_slide(path, LARGEST_PICTURE_MPP, overrides_file=True), False
        with slide:
            tissue = slide.tissue
            seen = _by_pixels(cells.appearance(slide, tissue)) if measured else None
    except Ki67Error as error:
        return SeenSlide(path, named, "name" if named else "", fault=" ".join(str(error).split()))
    by = "pixels" if seen else "name" if named else ""
    return SeenSlide(path, seen or named, by, tissue.mask, tissue.area_mm2 if measured else None)


def _by_pixels(looks: cells.Appearance) -> Stain | None:
    return "he" if looks.is_he else "ki67" if looks.stain.startswith("DAB") else None


def stain_in_name(name: str) -> Stain | None:
    """Stain that a file's name tells; None for none, or for both."""
    found = [stain for stain, pattern in _STAIN_IN_NAME.items() if pattern.search(_parted(Path(name).stem))]
    return found[0] if len(found) == 1 else None


def without_stain(name: str) -> str:
    """A file's name without its suffix and its stain, in small letters and digits with a blank between words."""
    text = _parted(Path(name).stem)
    for pattern in _STAIN_IN_NAME.values():
        text = pattern.sub(" ", text)
    return _SIGNS.sub(" ", text.lower()).strip()


def _parted(text: str) -> str:
    return text.replace("_", " ")


def likeness_of_names(one: Path, other: Path) -> float:
    """Say how alike two names are without their stains, 0 to 1; 1 only where they are the same and say something."""
    first, second = without_stain(one.name), without_stain(other.name)
    if not first and not second:
        # 'he.tif' and 'ki67.tif' say nothing: their folder is their name.
        return 1.0 if one.parent == other.parent else 0.0
    if first == second:
        return 1.0 if one.parent == other.parent or first else 0.9
    numbers = [re.findall(r"\d+", text) for text in (first, second)]
    alike = difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()
    return alike * 0.5 if numbers[0] != numbers[1] else alike * 0.9


def likeness_of_shapes(one: SeenSlide, other: SeenSlide) -> float:
    """Say how well two tissues cover one another, turned and mirrored as fits best: intersection over union, 0 to 1.

    Sizes count too where both are known: the smaller area over the larger.
    """
    if one.mask is None or other.mask is None:
        return 0.0
    best = 0.0
    for turned in other.poses:
        union = float(np.maximum(turned, one.shape).sum())
        best = max(best, float(np.minimum(turned, one.shape).sum()) / union if union else 0.0)
    if one.area_mm2 and other.area_mm2:
        best *= float(np.sqrt(min(one.area_mm2, other.area_mm2) / max(one.area_mm2, other.area_mm2)))
    return best


def _centred(mask: Mask) -> NDArray[np.float32]:
    """Lay the tissue about its centre of mass into a square, scaled so that its spread is the same for all."""
    rows, columns = np.nonzero(mask)
    centre = columns.mean(), rows.mean()
    spread = float(np.sqrt(columns.var() + rows.var())) or 1.0
    scale = GRID / 5 / spread
    matrix = np.array(
        [[scale, 0, GRID / 2 - 0.5 - scale * centre[0]], [0, scale, GRID / 2 - 0.5 - scale * centre[1]]], np.float64
    )
    laid: NDArray[np.float32] = cv2.warpAffine(mask.astype(np.float32), matrix, (GRID, GRID), flags=cv2.INTER_LINEAR)
    return laid


def propose(slides: Sequence[SeenSlide]) -> Iterator[dict[str, Any]]:
    """Yield the pairs that fit best together, in the order of the H&E slides' names."""
    he = [one for one in slides if one.stain == "he" and not one.fault]
    ki67 = [one for one in slides if one.stain == "ki67" and not one.fault]
    if not he or not ki67:
        return
    names = np.array([[likeness_of_names(one.path, other.path) for other in ki67] for one in he])
    shapes = np.array([[likeness_of_shapes(one, other) for other in ki67] for one in he])
    fits = np.maximum(_NAME_SHARE * names + (1 - _NAME_SHARE) * shapes, _SHAPE_ALONE * shapes)
    taken: set[str] = set()
    for row, column in zip(*linear_sum_assignment(-fits), strict=True):
        if fits[row, column] < _LEAST_FIT:
            continue
        others = np.append(np.delete(fits[row], column), np.delete(fits[:, column], row))
        lead = float(fits[row, column] - others.max(initial=0.0))
        name = _case_name(he[row].path, ki67[column].path, taken)
        yield {
            "case": name,
            "he": he[row].path,
            "ki67": ki67[column].path,
            "confidence": _confidence(float(fits[row, column]), lead, names[row, column]),
            "reason": _reason(he[row], ki67[column], float(names[row, column]), float(shapes[row, column]), lead),
        }


def _confidence(fit: float, lead: float, names: float) -> str:
    if fit >= _SURE_FIT and lead >= _SURE_LEAD and names == 1.0:
        return "high"
    return "medium" if lead >= _LIKELY_LEAD else "low"


def _reason(he: SeenSlide, ki67: SeenSlide, names: float, shapes: float, lead: float) -> str:
    told = "names the same but for the stain" if names == 1.0 else f"names alike by {names:.0%}"
    stains = "stains seen in the pixels" if he.by == ki67.by == "pixels" else "a stain known from the name only"
    return f"{told}; tissue covers the other's by {shapes:.0%}; {stains}; ahead of the next best by {lead:.2f}"


def _case_name(he: Path, ki67: Path, taken: set[str]) -> str:
    """What the names have in common, or the folder's name; a number after it where that is taken."""
    base = without_stain(he.name) or without_stain(ki67.name) or he.resolve().parent.name
    base = _SIGNS.sub("-", printable(base).lower()).strip("-") or "case"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name


def _why_alone(one: SeenSlide) -> str:
    if one.stain is None:
        return "neither pixels nor name tell whether it is H&E or Ki-67"
    return f"no {'Ki-67' if one.stain == 'he' else 'H&E'} slide fits it"


def _write(out: Path, pairs: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for pair in pairs:
        table.writerow(pair | {role: _relative(pair[role], out) for role in ("he", "ki67")})
    for one in alone:
        column = "he" if one["stain"] == "he" else "ki67"
        table.writerow(
            {column: _relative(one["file"], out), "confidence": "none", "reason": " ".join(one["reason"].split())}
        )
    write_text(out, text.getvalue())


def _relative(path: Path, table: Path) -> str:
    """A file's place seen from the table's folder; the whole place where they share no drive."""
    try:
        return os.path.relpath(path, table.parent)
    except ValueError:
        return str(path.absolute())
