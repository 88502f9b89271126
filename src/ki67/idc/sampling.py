"""From slides and outlines to labelled patches, split by patient.

A grid of patches is laid over a slide with a drawn offset. A patch takes the class whose regions cover enough of it;
what no class covers enough, or two do, is left out. At most so many patches per class and slide are kept (Feng et al.
2020 take 2,000, so that no slide dominates), drawn evenly over the regions.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import MultiPolygon, Polygon

from ki67.annotations import Regions, read_regions
from ki67.errors import DataSetError
from ki67.files import write_json, write_text
from ki67.geometry import RectUm
from ki67.idc.dataset import FACTS_FILE, FACTS_SCHEMA, INDEX_FILE
from ki67.idc.model import TUMOUR_CLASS
from ki67.idc.slide_list import SPLITS, SlideEntry
from ki67.progress import message, track
from ki67.slides import Slide, TissueMask, open_slide, read_ahead, tissue_mask

MINIMUM_TISSUE = 0.1
"""A patch with less tissue is left out, as it is when a slide is predicted."""

SAMPLED_COLUMNS = ("patient", "slide", "split", "x", "y", "label", "class", "file")


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """What patches to draw.

    Parameters
    ----------
    classes
        Labels of regions that are classes, in the order of the labels written; one is ``IDC``.
    rest
        Name of a further class, label 0: tissue outside every region of ``classes``. None has no such class.
    patch_px, mpp
        Edge of a patch in pixels (128 in the paper) and µm per pixel (the paper does not say).
    stride_px
        Distance of neighbouring patches; None takes the patch's edge. A shorter one gives more, overlapping patches
        of what is rare.
    per_class
        Most patches per class and slide.
    cover
        Share of a patch that a class must cover, above one half.
    seed
        Of the grid's offset and of the draw.
    """

    classes: tuple[str, ...] = (TUMOUR_CLASS,)
    rest: str | None = "other"
    patch_px: int = 128
    mpp: float = 2.0
    stride_px: int | None = None
    per_class: int = 2000
    cover: float = 0.75
    seed: int = 2020

    def __post_init__(self) -> None:
        names = [name.casefold() for name in self.names]
        if TUMOUR_CLASS not in self.classes or len(names) < 2 or len(set(names)) < len(names):
            msg = f"expected {TUMOUR_CLASS} and at least one other class, each once, found {', '.join(self.names)}"
            raise ValueError(msg)
        sizes = (self.patch_px, self.mpp, self.per_class, self.stride_um)
        if not min(sizes) > 0 or not 0.5 < self.cover <= 1:
            raise ValueError("patch size, µm/px, stride and patches per class must be above 0, the share in (0.5, 1]")

    @property
    def names(self) -> tuple[str, ...]:
        """Every class in the order of its label."""
        return self.classes if self.rest is None else (self.rest, *self.classes)

    @property
    def patch_um(self) -> float:
        """Edge of a patch."""
        return self.patch_px * self.mpp

    @property
    def stride_um(self) -> float:
        """Distance of neighbouring patches."""
        return (self.patch_px if self.stride_px is None else self.stride_px) * self.mpp


@dataclass(frozen=True)
class Places:
    """Patches of one slide: top left corners in µm (N, 2) and labels (N,)."""

    corners_um: NDArray[np.float64]
    labels: NDArray[np.int64]


def sample(slides: Sequence[SlideEntry], out: str | Path, options: SampleOptions) -> dict[str, Any]:
    """Write labelled patches of slides in the layout of the public set, and their index.

    Parameters
    ----------
    slides
        From :func:`ki67.idc.slide_list.read_slide_list`, every one with its split.
    out
        Folder for ``<patient>/<label>/*.png``, ``index.csv``, an index of each split (``index-val.csv``) and
        ``patches.json``.
    options
        What to draw.

    Returns
    -------
    dict
        ``table``: slides and patches per split and class, as in the paper's Table 1; ``patches``, ``index``,
        ``warnings``.

    Raises
    ------
    SlideError, AnnotationError
        Where a slide or its regions cannot be read.
    DataSetError
        Where no patch of a class is found on any slide.
    """
    folder = Path(out)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    lines: list[dict[str, Any]] = []
    warnings: list[str] = []
    for entry in slides:
        with open_slide(entry.slide, entry.mpp) as slide:
            regions = read_regions(entry.regions, slide.mpp)
            places = find_places(slide, regions, tissue_mask(slide), options)
            lines += _write_patches(folder, entry, slide, places, options)
        ignored = [name for name in regions.labels if name.casefold() not in {c.casefold() for c in options.classes}]
        if ignored and options.rest is None:
            warnings.append(f"{entry.regions}: regions of {', '.join(ignored)} are no class here and are left out")
    found = {line["class"] for line in lines}
    missing = [name for name in options.names if name not in found]
    if missing:
        raise DataSetError(
            folder,
            f"no slide gave a patch of {', '.join(missing)}",
            "Check the regions' labels, or take smaller patches or a smaller share (--cover).",
        )
    _write_index(folder, lines)
    facts = {"schema": FACTS_SCHEMA, "classes": list(options.names), "options": asdict(options)}
    write_json(folder / FACTS_FILE, facts | {"patch_px": options.patch_px, "mpp": options.mpp})
    return {
        "table": table1(lines, options.names),
        "patches": len(lines),
        "index": str(folder / INDEX_FILE),
        "warnings": warnings,
    }


def find_places(slide: Slide, regions: Regions, tissue: TissueMask, options: SampleOptions) -> Places:
    """Choose the patches of one slide.

    Parameters
    ----------
    slide
        Gives the extent; patches lie wholly inside.
    regions
        Labelled regions in µm.
    tissue
        Its tissue.
    options
        What to draw.

    Returns
    -------
    Places
        Sorted by label, then from top to bottom.
    """
    generator = np.random.default_rng([options.seed, zlib.crc32(slide.path.name.encode())])
    corners = _grid(slide.bounds_um, options, generator)
    edge = options.patch_um
    boxes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + edge, corners[:, 1] + edge)
    areas = [regions.with_label(name).union() for name in options.classes]
    covers = [_cover(boxes, area, edge) for area in areas]
    if options.rest is not None:
        # The rest is tissue that no class claims; a class that merely touches a patch makes it neither.
        outside = 1.0 - _cover(boxes, shapely.union_all(areas), edge)
        covers.insert(0, outside)
    shares = np.stack(covers, axis=1)
    enough = shares >= options.cover
    labels = np.where(enough.sum(axis=1) == 1, shares.argmax(axis=1), -1)
    near = np.flatnonzero(labels >= 0)
    held = [
        tissue.fraction(RectUm(float(corners[place, 0]), float(corners[place, 1]), edge, edge)) >= MINIMUM_TISSUE
        for place in near
    ]
    near = near[np.array(held, dtype=bool)]
    kept = np.concatenate(
        [
            spread_draw(near[labels[near] == label], corners, options.per_class, generator)
            for label in range(len(options.names))
        ]
    )
    return Places(corners[kept], labels[kept])


def _grid(bounds: RectUm, options: SampleOptions, generator: np.random.Generator) -> NDArray[np.float64]:
    """Corners of patches on a regular grid inside the slide, row by row, moved by a drawn offset, (N, 2)."""
    starts = []
    for length in (bounds.width_um, bounds.height_um):
        spare = length - options.patch_um
        count = int(spare // options.stride_um) + 1 if spare >= 0 else 0
        last = (count - 1) * options.stride_um
        starts.append(generator.uniform(0, max(0.0, spare - last)) + options.stride_um * np.arange(count))
    x, y = np.meshgrid(starts[0], starts[1])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _cover(boxes: NDArray[Any], area: Polygon | MultiPolygon, edge_um: float) -> NDArray[np.float64]:
    """Share of each box that an area covers."""
    shares = np.zeros(len(boxes))
    shapely.prepare(area)
    inside = shapely.contains_properly(area, boxes)
    shares[inside] = 1.0
    astride = shapely.intersects(area, boxes) & ~inside
    shares[astride] = shapely.area(shapely.intersection(boxes[astride], area)) / edge_um**2
    return shares


def spread_draw(
    chosen: NDArray[np.int64], corners: NDArray[np.float64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw places evenly over the area they lie in: every k-th along a curve that visits neighbours together.

    Parameters
    ----------
    chosen
        Numbers of the places to draw from.
    corners
        Corners of all places, (N, 2).
    count
        How many to draw; fewer places are all kept.
    generator
        Source of the start.

    Returns
    -------
    numpy.ndarray
        Sorted numbers.
    """
    if len(chosen) <= count:
        return np.sort(chosen)
    order = chosen[np.argsort(_morton(corners[chosen]), kind="stable")]
    step = len(order) / count
    picked = np.floor(generator.uniform(0, step) + step * np.arange(count)).astype(int)
    return np.sort(order[np.minimum(picked, len(order) - 1)])


def _morton(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place along the Z-order curve: bits of column and row in turn (Morton 1966)."""
    columns = np.unique(corners[:, 0], return_inverse=True)[1].astype(np.int64)
    rows = np.unique(corners[:, 1], return_inverse=True)[1].astype(np.int64)
    code = np.zeros(len(corners), dtype=np.int64)
    for bit in range(20):
        code |= ((columns >> bit) & 1) << (2 * bit)
        code |= ((rows >> bit) & 1) << (2 * bit + 1)
    return code


def _write_patches(
    folder: Path, entry: SlideEntry, slide: Slide, places: Places, options: SampleOptions
) -> list[dict[str, Any]]:
    edge = options.patch_um
    rects = [RectUm(float(x), float(y), edge, edge) for x, y in places.corners_um]
    reads = read_ahead(slide, rects, options.mpp)
    lines = []
    shown = track(zip(places.labels, reads, strict=True), f"Patches of {entry.name}", total=len(rects))
    for label, (rect, pixels) in shown:
        # As published: 1 + the place in pixels of the patches' resolution.
        x_px, y_px = round(rect.x_um / options.mpp) + 1, round(rect.y_um / options.mpp) + 1
        name = f"{entry.patient}/{label}/{entry.name}_x{x_px}_y{y_px}_class{label}.png"
        # Not one by one to the disk: the index, written last, is what makes the set whole.
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        values = (entry.patient, entry.name, entry.split, x_px, y_px, int(label), options.names[label], name)
        lines.append(dict(zip(SAMPLED_COLUMNS, values, strict=True)))
    message(f"{entry.name}: {len(lines)} patches")
    return lines


def _write_index(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write the whole index, and one of each split for ``ki67 evaluate idc --index``."""
    for name, own in [("index", lines)] + [(f"index-{split}", _of(lines, split)) for split in SPLITS]:
        rows = [",".join(SAMPLED_COLUMNS), *(",".join(str(value) for value in line.values()) for line in own)]
        if own:
            write_text(folder / f"{name}.csv", "\n".join(rows) + "\n")


def _of(lines: Sequence[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["split"] == split]


def table1(lines: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Slides and patches per split and class (Table 1 of Feng et al. 2020).

    Parameters
    ----------
    lines
        Rows of the index.
    names
        Classes.

    Returns
    -------
    list of dict
        Per split: ``split``, ``patients``, ``slides``, ``patches`` and the patches of each class under ``classes``.
    """
    table = []
    for split in SPLITS:
        own = _of(lines, split)
        if own:
            table.append(
                {
                    "split": split,
                    "patients": len({line["patient"] for line in own}),
                    "slides": len({(line["patient"], line["slide"]) for line in own}),
                    "patches": len(own),
                    "classes": {name: sum(line["class"] == name for line in own) for name in names},
                }
            )
    return table
