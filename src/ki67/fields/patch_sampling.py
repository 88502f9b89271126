"""From slides and outlines to labelled patches, split by patient.

A grid of patches is laid over a slide with a drawn offset. A patch takes the class whose regions cover enough of
its core; what no class covers enough, or two do, is left out. At most so many patches per class and slide are kept
(Feng et al. 2020 take 2,000, so that no slide dominates), drawn evenly over the regions.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67.annotations import TUMOUR_LABELS, UNCLASSIFIED, Regions, check_inside, read_regions, tumour_label
from ki67.errors import AnnotationError, DataSetError, PixelSizeError, SlideError
from ki67.fields.patch_folder import SAMPLED_COLUMNS, earlier_files, finish_folder, start_folder, table1
from ki67.fields.patches import FACTS_SCHEMA
from ki67.fields.slide_list import SlideEntry
from ki67.geometry import RectUm, as_multipolygon
from ki67.idc.model import TUMOUR_CLASS, is_core
from ki67.idc.prediction import FINEST_SHARE
from ki67.progress import message, track
from ki67.slides import Slide, TissueMask, open_slide, read_ahead, tissue_mask
from ki67.slides.pixel_size import OVERRIDE

MINIMUM_TISSUE = 0.1
"""A patch with less tissue is left out, as it is when a slide is predicted."""

BAND_PLACES = 100_000
"""Places that are held against the regions at a time; a box and its share take about 600 bytes."""


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
        Distance of neighbouring patches; None takes the core's edge. A shorter one gives more, overlapping patches
        of what is rare.
    per_class
        Most patches per class and slide.
    cover
        Share of a patch that a class must cover, above one half. The rest must, too: in a patch of it lies no more
        tumour than there is rest in a patch of tumour, so that a model's border runs where half a patch is tumour.
    seed
        Of the grid's offset and of the draw.
    core_px
        Edge of the square in the middle of a patch that its class is of; what lies around it is only looked at. None
        takes the whole patch.
    """

    classes: tuple[str, ...] = (TUMOUR_CLASS,)
    rest: str | None = "other"
    patch_px: int = 128
    mpp: float = 2.0
    stride_px: int | None = None
    per_class: int = 2000
    cover: float = 0.75
    seed: int = 2020
    core_px: int | None = None

    def __post_init__(self) -> None:
        names = [name.casefold() for name in self.names]
        if TUMOUR_CLASS not in self.classes or len(names) < 2 or len(set(names)) < len(names):
            msg = f"expected {TUMOUR_CLASS} and at least one other class, each once, found {', '.join(self.names)}"
            raise ValueError(msg)
        if not all(name.strip() and name.isprintable() for name in self.names):
            raise ValueError("a class needs a name that can be shown")
        sizes = (self.patch_px, self.mpp, self.per_class, self.stride_um)
        if not all(0 < size < math.inf for size in sizes) or not 0.5 < self.cover <= 1:
            raise ValueError(
                "patch size, µm/px, stride and patches per class must be numbers above 0, the share in (0.5, 1]"
            )
        if not is_core(self.core, self.patch_px):
            msg = (
                f"a core must be as wide as the patch of {self.patch_px} px or narrower by an even number, "
                f"found {self.core}"
            )
            raise ValueError(msg)

    @property
    def names(self) -> tuple[str, ...]:
        """Every class in the order of its label."""
        return self.classes if self.rest is None else (self.rest, *self.classes)

    @property
    def patch_um(self) -> float:
        """Edge of a patch."""
        return self.patch_px * self.mpp

    @property
    def core(self) -> int:
        """Edge in pixels of what a patch's class is of."""
        return self.patch_px if self.core_px is None else self.core_px

    @property
    def core_um(self) -> float:
        """The same in µm."""
        return self.core * self.mpp

    @property
    def stride_um(self) -> float:
        """Distance of neighbouring patches."""
        return (self.core if self.stride_px is None else self.stride_px) * self.mpp


@dataclass(frozen=True)
class Places:
    """Patches of one slide: top left corners in µm (N, 2) and labels (N,)."""

    corners_um: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _Plan:
    """Patches to cut out of one slide, labels of its regions that are no class, and what the user should know."""

    entry: SlideEntry
    places: Places
    ignored: tuple[str, ...]
    warnings: list[str]


def sample(slides: Sequence[SlideEntry], out: str | Path, options: SampleOptions) -> dict[str, Any]:
    """Write labelled patches of slides in the layout of the public set, and their index.

    All slides and regions are read and all places chosen before a file is written, or one of an earlier sampling
    removed.

    Parameters
    ----------
    slides
        From :func:`ki67.fields.slide_list.read_slide_list`, every one with its split.
    out
        Folder for ``<patient>/<label>/*.png``, ``index.csv``, an index of each split (``index-val.csv``) and
        ``patches.json``. What an earlier sampling left in it is removed.
    options
        What to draw.

    Returns
    -------
    dict
        ``table``: slides and patches per split and class, as in the paper's Table 1; ``patches``, ``index``,
        ``warnings``.

    Raises
    ------
    SlideError, AnnotationError, RegionError
        Where a slide or its regions cannot be read, the patches are finer than a slide, there is no region for a
        slide, or one lies outside it.
    DataSetError
        Where no patch of a class is found on any slide, or the folder holds files of another origin.
    """
    folder = Path(out)
    earlier_files(folder)
    plans = [_plan(entry, options) for entry in track(slides, "Choosing patches")]
    lines_of = [_lines(plan, options) for plan in plans]
    lines = [line for own in lines_of for line in own]
    found = {line["class"] for line in lines}
    missing = [name for name in options.names if name not in found]
    if missing:
        raise DataSetError(
            folder,
            f"no slide gave a patch of {', '.join(missing)}",
            "Check the regions' labels, or take smaller patches or a smaller share (--cover).",
        )
    facts = {"schema": FACTS_SCHEMA, "classes": list(options.names), "options": asdict(options)}
    sizes = {"patch_px": options.patch_px, "core_px": options.core, "mpp": options.mpp}
    start_folder(folder, facts | sizes, lines)
    for plan, own in zip(plans, lines_of, strict=True):
        _write_patches(folder, plan, own, options)
    index = finish_folder(folder, lines)
    return {
        "table": table1(lines, options.names, slides),
        "patches": len(lines),
        "index": str(index),
        "warnings": [*(text for plan in plans for text in plan.warnings), *_on_ignored(plans, options.rest)],
    }


def _open(entry: SlideEntry) -> Slide:
    try:
        return open_slide(entry.slide, entry.mpp, overrides_file=entry.overrides_file)
    except PixelSizeError as error:
        if entry.mpp is None:
            way_out = "Give the size of a pixel in µm in the column mpp of the list of slides."
        else:
            way_out = (
                f"Mend or empty the column mpp of the list of slides; {OVERRIDE} takes it against a file's word."
            )
        raise PixelSizeError(entry.slide, error.found, way_out) from error


def _plan(entry: SlideEntry, options: SampleOptions) -> _Plan:
    with _open(entry) as slide:
        if options.mpp < FINEST_SHARE * slide.mpp:
            found = f"has pixels of {slide.mpp:g} µm, the patches are to have {options.mpp:g} µm"
            raise SlideError(entry.slide, found, f"Take --mpp {slide.mpp:g} or more, or leave the slide out.")
        regions, notes = check_inside(read_regions(entry.regions, slide.frame), slide.shown_um, slide.mpp)
        if not regions:
            way_out = "Outline its tissue (normal tissue, too, where there is no tumour), or leave the slide out."
            raise AnnotationError(entry.regions, "holds no region", way_out)
        chosen = regions_of_classes(regions, options.classes)
        places = find_places(slide, regions, tissue_mask(slide), options)
        of_slide = slide.named_warnings
    taken = {label for own in chosen.values() for label in own.labels}
    ignored = tuple(label for label in regions.labels if label not in taken)
    lacking = [name for number, name in enumerate(options.names) if not (places.labels == number).any()]
    warnings = [*of_slide, *(f"{entry.regions}: {note}" for note in notes)]
    if UNCLASSIFIED in chosen[TUMOUR_CLASS].labels:
        warnings.append(f"{entry.regions}: the regions carry no label; they were taken for {TUMOUR_CLASS}")
    if not taken:
        warnings.append(f"{entry.regions}: no region of {', '.join(options.classes)}")
    if lacking:
        warnings.append(f"{entry.slide}: gave no patch of {', '.join(lacking)}")
    return _Plan(entry, places, ignored, warnings)


def regions_of_classes(regions: Regions, classes: Sequence[str]) -> dict[str, Regions]:
    """Regions of each class; where none is labelled ``IDC``, those that :func:`tumour_label` takes for it.

    Parameters
    ----------
    regions
        All regions of a slide.
    classes
        Labels that are classes.
    """
    chosen = {name: regions.with_label(name) for name in classes}
    label = tumour_label(regions)
    if label is not None and label.casefold() not in {name.casefold() for name in classes}:
        chosen[TUMOUR_CLASS] = regions.with_label(label)
    return chosen


def _on_ignored(plans: Sequence[_Plan], rest: str | None) -> list[str]:
    """Warn of labels that are no class, once for all slides."""
    slides = Counter(label for plan in plans for label in plan.ignored)
    fates: dict[str, list[str]] = {}
    for label, count in slides.items():
        fate = "are left out" if rest is None or _is_tumour(label) else f"count as '{rest}'"
        fates.setdefault(fate, []).append(f"{label} ({count})")
    return [
        f"regions of these labels (on so many slides) are no class and {fate}: {', '.join(own)}"
        for fate, own in fates.items()
    ]


def _is_tumour(label: str) -> bool:
    return label.casefold() in {name.casefold() for name in TUMOUR_LABELS}


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
    x_um, y_um = _grid(slide.bounds_um, options, generator)
    areas = _areas(regions, options)
    labels = np.full((len(y_um), len(x_um)), -1, dtype=np.int16)
    rows = max(1, BAND_PLACES // max(1, len(x_um)))
    for top in range(0, len(y_um) if len(x_um) else 0, rows):
        labels[top : top + rows] = _labels(x_um, y_um[top : top + rows], areas, tissue, options)
    drawn = [
        spread_draw(np.flatnonzero(labels == label), len(x_um), options.per_class, generator)
        for label in range(len(options.names))
    ]
    kept = np.concatenate(drawn)
    row, column = np.divmod(kept, max(1, len(x_um)))
    return Places(np.stack([x_um[column], y_um[row]], axis=1), labels.ravel()[kept].astype(np.int64))


def _grid(
    bounds: RectUm, options: SampleOptions, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Left and upper edges of patches on a regular grid inside the slide, moved by a drawn offset."""
    starts = []
    for length in (bounds.width_um, bounds.height_um):
        spare = length - options.patch_um
        count = int(spare // options.stride_um) + 1 if spare >= 0 else 0
        last = (count - 1) * options.stride_um
        offset = generator.uniform(0, max(0.0, spare - last))
        starts.append(np.asarray(offset + options.stride_um * np.arange(count), dtype=np.float64))
    return starts[0], starts[1]


def _areas(regions: Regions, options: SampleOptions) -> list[MultiPolygon]:
    """Area of each class, in the order of the labels written; of the rest what it must stay out of."""
    chosen = regions_of_classes(regions, options.classes)
    areas = [own.union() for own in chosen.values()]
    if options.rest is not None:
        # Tumour under a second name (IDC and Tumor in one file) is no class, but no rest either.
        tumour = [region.geometry for region in regions if _is_tumour(region.label)]
        areas.insert(0, as_multipolygon(shapely.union_all([*areas, *tumour])))
    return areas


def _labels(
    x_um: NDArray[np.float64],
    y_um: NDArray[np.float64],
    areas: Sequence[MultiPolygon],
    tissue: TissueMask,
    options: SampleOptions,
) -> NDArray[np.int16]:
    """Label of each place of some rows of the grid, -1 where there is none or too little tissue, (rows, columns).

    Looked at is the core of each patch.
    """
    edge = options.core_um
    margin = (options.patch_um - edge) / 2
    x_um, y_um = x_um + margin, y_um + margin
    labels = np.full((len(y_um), len(x_um)), -1, dtype=np.int16)
    held = tissue.fractions(x_um, y_um, edge) >= MINIMUM_TISSUE
    row, column = np.nonzero(held)
    if not len(row):
        return labels
    boxes = shapely.box(x_um[column], y_um[row], x_um[column] + edge, y_um[row] + edge)
    # What lies far from these rows has no say and would slow each cut; the margin keeps boxes off the new border.
    band = shapely.box(x_um[0] - edge, y_um[0] - edge, x_um[-1] + 2 * edge, y_um[-1] + 2 * edge)
    shares = np.stack([_cover(boxes, shapely.intersection(area, band), edge) for area in areas], axis=1)
    if options.rest is not None:
        shares[:, 0] = 1.0 - shares[:, 0]
    enough = shares >= options.cover
    labels[held] = np.where(enough.sum(axis=1) == 1, shares.argmax(axis=1), -1)
    return labels


def _cover(boxes: NDArray[Any], area: BaseGeometry, edge_um: float) -> NDArray[np.float64]:
    """Share of each box that an area covers."""
    shares = np.zeros(len(boxes))
    shapely.prepare(area)
    inside = shapely.contains_properly(area, boxes)
    shares[inside] = 1.0
    astride = shapely.intersects(area, boxes) & ~inside
    shares[astride] = shapely.area(shapely.intersection(boxes[astride], area)) / edge_um**2
    return shares


def spread_draw(
    chosen: NDArray[np.int64], columns: int, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw places evenly over the area they lie in: every k-th along a curve that visits neighbours together.

    Parameters
    ----------
    chosen
        Numbers of the places to draw from, counted row by row over the grid.
    columns
        Columns of the grid.
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
    order = chosen[np.argsort(_morton(*np.divmod(chosen, columns)), kind="stable")]
    step = len(order) / count
    picked = np.floor(generator.uniform(0, step) + step * np.arange(count)).astype(int)
    return np.sort(order[np.minimum(picked, len(order) - 1)])


def _morton(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place along the Z-order curve: bits of column and row in turn (Morton 1966); empty ones are left out."""
    code = np.zeros(len(rows), dtype=np.int64)
    for shift, numbers in enumerate((columns, rows)):
        place = (np.cumsum(np.bincount(numbers) > 0) - 1)[numbers]
        for bit in range(20):
            code |= ((place >> bit) & 1) << (2 * bit + shift)
    return code


def _lines(plan: _Plan, options: SampleOptions) -> list[dict[str, Any]]:
    """Rows of the index for one slide's patches."""
    entry, lines = plan.entry, []
    for (x_um, y_um), label in zip(plan.places.corners_um, plan.places.labels, strict=True):
        # As published: 1 + the place in pixels of the patches' resolution.
        x_px, y_px = round(x_um / options.mpp) + 1, round(y_um / options.mpp) + 1
        name = f"{entry.patient}/{label}/{entry.name}_x{x_px}_y{y_px}_class{label}.png"
        values = (entry.patient, entry.name, entry.split, x_px, y_px, int(label), options.names[label], name)
        lines.append(dict(zip(SAMPLED_COLUMNS, values, strict=True)))
    return lines


def _write_patches(folder: Path, plan: _Plan, lines: Sequence[dict[str, Any]], options: SampleOptions) -> None:
    entry, edge = plan.entry, options.patch_um
    names = [folder / line["file"] for line in lines]
    rects = [RectUm(float(x), float(y), edge, edge) for x, y in plan.places.corners_um]
    with _open(entry) as slide:
        reads = zip(names, read_ahead(slide, rects, options.mpp), strict=True)
        for path, (_, pixels) in track(reads, f"Patches of {entry.name}", total=len(rects)):
            # Not one by one to the disk: the index, complete at the end, is what makes the set whole.
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    message(f"{entry.name}: {len(rects)} patches")
