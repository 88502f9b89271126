"""Labelled regions in micrometres."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, overload

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.annotations.on_tissue import file_scales
from ki67.errors import RegionError
from ki67.geometry import RectUm, area_mm2, as_multipolygon, union_of
from ki67.vocabulary import EXCLUSION_KINDS

Rgb = tuple[int, int, int]

UNCLASSIFIED: Final = "Unclassified"
"""Label of a region that its file gives no class; written back without a class, as QuPath does."""

TUMOUR_LABELS: Final = ("IDC", "Tumor", "Tumour", "Invasive", "Invasive carcinoma")
"""Labels taken for invasive carcinoma, the first that occurs; other programs' names for it come after ours."""

LABEL_COLORS: Final[dict[str, Rgb]] = {
    # Feng et al. 2020, Fig 2: invasive carcinoma red, DCIS green, normal breast blue.
    "IDC": (255, 0, 0),
    "DCIS": (0, 255, 0),
    "Normal": (0, 0, 255),
    # The colours QuPath gives its own default classes.
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Immune cells": (160, 90, 160),
    "Lymphocytes": (160, 90, 160),
    "Necrosis": (50, 50, 50),
    **{kind.label: kind.color_rgb for kind in EXCLUSION_KINDS.values()},
    "Piece": (0, 0, 0),
}
"""Colours of the labels that mean something to the program."""

UNKNOWN_LABEL_COLOR: Final[Rgb] = (255, 200, 0)
"""Amber, which no stain has, for labels a user made up."""

MOSTLY_OUTSIDE_SHARE: Final = 0.5
"""A region with more of its area than this outside the slide belongs to another slide or another pixel size."""

STRAY_SHARE: Final = 0.05
"""Regions mostly outside are left out up to this share of the area of all: a slip of the hand, not another slide."""

NEGLIGIBLE_OUTSIDE_SHARE: Final = 1e-6
"""Below this the share outside is rounding of coordinates, not a region that sticks out."""


LONGEST_SHOWN: Final = 60
"""Characters of a name from a file that a message shows."""


def shown(text: str) -> str:
    """Show a name from a file in a message: in one line, without marks that turn the text around, cut where long."""
    plain = "".join(" " if char.isspace() else char for char in text if char.isprintable() or char.isspace())
    line = " ".join(plain.split())
    return line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 1] + "…"


def color_of(label: str) -> Rgb:
    """Colour in which a label is drawn and written; unknown labels share one colour."""
    return LABEL_COLORS.get(label, UNKNOWN_LABEL_COLOR)


@dataclass(frozen=True)
class Region:
    """One labelled area of a slide.

    Parameters
    ----------
    label
        Class of the tissue ("IDC", "DCIS", "Normal", …) or :data:`UNCLASSIFIED`.
    geometry
        Polygon or multipolygon, with holes or without, in µm in the slide's frame.
    region_id
        Identifies the region within its file and in the cell table.
    name
        What the person who drew it called it.
    color
        RGB from the file; None draws it in the colour of its label.
    """

    label: str
    geometry: Polygon | MultiPolygon
    region_id: str
    name: str = ""
    color: Rgb | None = None

    @property
    def area_mm2(self) -> float:
        """Area in mm²."""
        return area_mm2(self.geometry)

    @property
    def display_color(self) -> Rgb:
        """RGB to draw the region in: its own, or else its label's."""
        return self.color if self.color is not None else color_of(self.label)

    def describe(self) -> str:
        """Id, label and name, for messages."""
        named = f" '{shown(self.name)}'" if self.name else ""
        return f"region {shown(self.region_id)} ({shown(self.label)}){named}"


class Regions(Sequence[Region]):
    """An immutable sequence of regions of one slide.

    Parameters
    ----------
    regions
        The regions, in the order of their file.
    notes
        What was repaired, left out or clipped on the way here, one sentence each, to be shown to the user.
    source
        The file the regions came from, for messages.
    """

    def __init__(
        self, regions: Iterable[Region] = (), *, notes: Iterable[str] = (), source: str | Path | None = None
    ) -> None:
        self._regions = tuple(regions)
        self.notes: tuple[str, ...] = tuple(notes)
        self.source: Path | None = None if source is None else Path(source)
        self._union: MultiPolygon | None = None

    def __len__(self) -> int:
        return len(self._regions)

    @overload
    def __getitem__(self, index: int) -> Region: ...
    @overload
    def __getitem__(self, index: slice) -> Regions: ...
    def __getitem__(self, index: int | slice) -> Region | Regions:
        if isinstance(index, slice):
            return self._like(self._regions[index])
        return self._regions[index]

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def __eq__(self, other: object) -> bool:
        """Regions are equal when their regions are; notes and source do not count."""
        return isinstance(other, Regions) and self._regions == other._regions

    def __hash__(self) -> int:
        return hash(self._regions)

    def __repr__(self) -> str:
        return f"Regions({len(self)}: {', '.join(self.labels)})"

    def _like(self, regions: Iterable[Region]) -> Regions:
        return Regions(regions, notes=self.notes, source=self.source)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, each once, in the order of their first region."""
        return tuple(dict.fromkeys(region.label for region in self._regions))

    def with_label(self, label: str) -> Regions:
        """Return the regions of one label; upper and lower case do not matter (users type "idc")."""
        return self._like(region for region in self._regions if region.label.casefold() == label.casefold())

    def map_geometry(self, function: Callable[[BaseGeometry], BaseGeometry]) -> Regions:
        """Return the regions with their geometry mapped, as by a registration; labels, ids and names stay.

        Raises
        ------
        RegionError
            Where nothing with an area is left of a region.
        """
        mapped = []
        for region in self._regions:
            areas = as_multipolygon(shapely.make_valid(function(region.geometry)))
            if areas.is_empty:
                msg = f"{region.describe()} has no area left after it was mapped to the other slide"
                raise RegionError(msg)
            mapped.append(replace(region, geometry=areas.geoms[0] if len(areas.geoms) == 1 else areas))
        return self._like(mapped)

    def union(self) -> MultiPolygon:
        """Return all regions as one valid multipolygon in µm; what overlaps counts once."""
        if self._union is None:
            self._union = union_of(region.geometry for region in self._regions)
        return self._union

    @property
    def area_mm2(self) -> float:
        """Area covered by the regions, overlaps once, in mm²."""
        return area_mm2(self.union())

    @property
    def bounds_um(self) -> RectUm:
        """The smallest rectangle that holds all regions.

        Raises
        ------
        RegionError
            Where there is no region.
        """
        if not self._regions:
            of = f" of {self.source}" if self.source else ""
            msg = f"there is no region{of} to take the bounds of"
            raise RegionError(msg)
        bounds = shapely.total_bounds([region.geometry for region in self._regions])
        return RectUm.from_bounds(*(float(edge) for edge in bounds))


def tumour_label(regions: Regions) -> str | None:
    """Label that stands for invasive carcinoma: the first of :data:`TUMOUR_LABELS` that occurs.

    Where no region has a label, :data:`UNCLASSIFIED`; None where there are other labels only.
    """
    for name in TUMOUR_LABELS:
        if regions.with_label(name):
            return name
    return UNCLASSIFIED if set(regions.labels) == {UNCLASSIFIED} else None


def check_inside(regions: Regions, slide_bounds: RectUm, file_mpp: float | None = None) -> tuple[Regions, list[str]]:
    """Clip regions to the slide and refuse those that cannot belong to it.

    Parameters
    ----------
    regions
        Regions in µm.
    slide_bounds
        The slide's extent in µm (``Slide.bounds_um``).
    file_mpp
        µm per pixel by which coordinates of a file were read, for a word on how they would fit; None for regions that
        come from elsewhere.

    Returns
    -------
    regions, notes
        The same regions, those that stick out clipped; and all notes on them: those they came with, then one per
        clipped region that states the share of its area left out.

    Raises
    ------
    RegionError
        Where more than half of a region (:data:`MOSTLY_OUTSIDE_SHARE`) lies outside the slide: that is another
        slide's file or another pixel size, and a clipped remainder would be scored in the wrong place. Where all
        that lies so is a small share of the whole (:data:`STRAY_SHARE`), it is left out, and said.
    """
    frame = slide_bounds.polygon
    whole, astray = sum(float(region.geometry.area) for region in regions), 0.0
    kept: list[Region] = []
    notes = list(regions.notes)
    for region in regions:
        inside = as_multipolygon(shapely.intersection(region.geometry, frame))
        share_outside = 1.0 - float(inside.area) / float(region.geometry.area)
        if share_outside > MOSTLY_OUTSIDE_SHARE:
            astray += float(region.geometry.area)
            if astray > STRAY_SHARE * whole:
                hint = _scale_hint(regions, slide_bounds, file_mpp) if file_mpp else ""
                raise RegionError(_outside_message(region, share_outside, slide_bounds, regions.source) + hint)
            notes.append(f"{region.describe()}: {100 * share_outside:.0f} % of it lies outside the slide; left out")
            continue
        if share_outside <= NEGLIGIBLE_OUTSIDE_SHARE:
            kept.append(region)
            continue
        geometry = inside.geoms[0] if len(inside.geoms) == 1 else inside
        kept.append(replace(region, geometry=geometry))
        share = f"{100 * share_outside:.1f} %" if share_outside >= 0.0005 else "less than 0.1 %"
        notes.append(f"{region.describe()}: {share} of its area lies outside the slide and is left out")
    return Regions(kept, notes=notes, source=regions.source), notes


def _outside_message(region: Region, share_outside: float, slide: RectUm, source: Path | None) -> str:
    left, top, right, bottom = region.geometry.bounds
    prefix = f"{source}: " if source else ""
    return (
        f"{prefix}{region.describe()} lies outside the slide ({100 * share_outside:.0f} % of its area): it spans "
        f"x {left:.0f} to {right:.0f} µm and y {top:.0f} to {bottom:.0f} µm, the slide x {slide.x_um:.0f} to "
        f"{slide.right_um:.0f} µm and y {slide.y_um:.0f} to {slide.bottom_um:.0f} µm. Coordinates in the file must "
        "be pixels of the slide's level 0 as QuPath counts them, not µm and not pixels of a smaller level; check "
        "that the file belongs to this slide and that the pixel size is right"
    )


def _scale_hint(regions: Regions, slide: RectUm, file_mpp: float) -> str:
    """The largest scale at which all regions would lie on the slide; empty where they do at none."""
    left, top, right, bottom = regions.bounds_um.bounds_um
    if left < slide.x_um or top < slide.y_um:
        return ""
    reach = max((right - slide.x_um) / slide.width_um, (bottom - slide.y_um) / slide.height_um)
    fitting = {scale: what for scale, what in file_scales(file_mpp).items() if scale < 1 and scale * reach <= 1}
    if not fitting:
        return ""
    scale = max(fitting)
    return f" (at {scale:.3g} times the size all would lie on the slide: the numbers look like {fitting[scale]})"
