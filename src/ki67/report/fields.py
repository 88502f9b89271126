"""Fields of the Ki-67 slide that show what was counted: where the index is high, usual and low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ki67.annotations import CELL_CLASSES, Regions
from ki67.geometry import RectUm
from ki67.report.data import SlideLike
from ki67.report.drawing import Frame, Picture, draw_dot, draw_outline, draw_regions, draw_scale_bar
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

CELL_COLUMNS: Final = ("x_um", "y_um", "label", "in_region")
"""What the fields are chosen by, of the whole cell table."""

OUTLINE: Final = "outline_um"
"""What is drawn in addition, of the cells of a field: it is most of the table."""

FIELD_UM: Final = 300.0
"""Side of a field: about the view of a 60x objective, some hundred nuclei, each large enough to judge."""

FIELD_MPP: Final = 0.4
"""Pixel size of a field's picture: a nucleus of 8 µm is 20 px across."""

_ENOUGH_CELLS: Final = 50
"""Tumour cells that a field should hold for its index to mean something."""

_OTHER_RADIUS_PX: Final = 5.0

_BARE_RADIUS_UM: Final = 6.0
"""Radius of the ring around a cell without an outline, such as one added by hand: wider than a nucleus."""

_CIRCLE: Final = np.column_stack([trig(np.linspace(0, 2 * np.pi, 24, endpoint=False)) for trig in (np.cos, np.sin)])

OUTLINE_COLORS: Final = {label: color for label, (_, color) in CELL_CLASSES.items()} | {OTHER.label: (70, 70, 70)}
"""Colours of the outlines; other cells are darker than in region files, for a grey dot drowns in haematoxylin."""


@dataclass(frozen=True)
class Cells:
    """The cells inside the region, as arrays of one length."""

    xy_um: NDArray[np.float64]
    positive: NDArray[np.bool_]
    tumour: NDArray[np.bool_]

    @classmethod
    def from_table(cls, table: pa.Table) -> Cells:
        """Take what is drawn from the cell table."""
        inside = table.filter(table["in_region"])
        xy_um = np.stack([inside["x_um"].to_numpy(), inside["y_um"].to_numpy()], axis=1).astype(np.float64)
        positive, other = (np.asarray(pc.equal(inside["label"], name)) for name in (POSITIVE.label, OTHER.label))
        return cls(xy_um, positive, ~other)

    def within(self, rect_um: RectUm) -> Cells:
        """Cells whose centre lies in a rectangle."""
        x, y = self.xy_um[:, 0], self.xy_um[:, 1]
        inside = (x >= rect_um.x_um) & (x < rect_um.right_um) & (y >= rect_um.y_um) & (y < rect_um.bottom_um)
        return Cells(self.xy_um[inside], self.positive[inside], self.tumour[inside])


@dataclass(frozen=True)
class Field:
    """A field to show, why, and what was counted in it."""

    name: str
    rect_um: RectUm
    positive: int
    negative: int
    other: int

    @property
    def index_percent(self) -> float:
        """Index within the field."""
        return 100 * self.positive / max(1, self.positive + self.negative)


def choose_fields(cells: Cells, bounds_um: RectUm) -> list[Field]:
    """Choose fields with the highest, the median and the lowest index, and the one with most cells.

    Candidates are squares of :data:`FIELD_UM` that overlap by half and hold enough tumour cells: 50, or half of what
    the fullest one holds where even that has fewer than 100. Chosen by index, then by number of cells, then by place,
    so that equal tables give equal fields.
    """
    if not cells.tumour.any():
        return []
    corners, tumour, positive = _candidates(cells, bounds_um)
    enough = np.flatnonzero(tumour >= min(_ENOUGH_CELLS, max(1, tumour.max() // 2)))
    index = positive[enough] / tumour[enough]
    order = enough[np.lexsort((enough, -tumour[enough], index))]
    picks = {
        "Highest index": order[-1],
        "Median index": order[(len(order) - 1) // 2],
        "Lowest index": order[0],
        "Most tumour cells": enough[np.argmax(tumour[enough])],
    }
    fields: list[Field] = []
    for name, pick in picks.items():
        rect = RectUm(float(corners[pick, 0]), float(corners[pick, 1]), *_size(bounds_um))
        if any(rect == field.rect_um for field in fields):
            continue
        held = cells.within(rect)
        positives, all_tumour = int(held.positive.sum()), int(held.tumour.sum())
        fields.append(Field(name, rect, positives, all_tumour - positives, len(held.tumour) - all_tumour))
    return fields


def field_pictures(
    slide: SlideLike, field: Field, table: pa.Table, regions: Regions | None
) -> tuple[Picture, Picture]:
    """The field as it is, and with its cells outlined, the region's border drawn; both with a scale bar.

    ``table`` holds :data:`CELL_COLUMNS` and :data:`OUTLINE` of the field's cells, and perhaps of others.
    """
    frame = Frame(field.rect_um, FIELD_MPP)
    plain = slide.read(frame.rect_um, max(FIELD_MPP, slide.mpp))
    if slide.mpp > FIELD_MPP:
        # Outlines need pixels to be drawn in, even where the scan has none between.
        size = round(frame.rect_um.width_um / frame.mpp), round(frame.rect_um.height_um / frame.mpp)
        plain = cv2.resize(plain, size, interpolation=cv2.INTER_CUBIC)
    outlined = plain.copy()
    if regions is not None:
        draw_regions(outlined, frame, regions, width_px=2)
    shown = table.filter(table["in_region"])
    held = Cells.from_table(shown)
    for xy_px, positive, tumour, outline_um in zip(
        frame.to_px(held.xy_um), held.positive, held.tumour, shown[OUTLINE].to_pylist(), strict=True
    ):
        if tumour:
            corners_px = xy_px + _BARE_RADIUS_UM / frame.mpp * _CIRCLE
            if outline_um:
                corners_px = frame.to_px(np.reshape(np.asarray(outline_um, np.float64), (-1, 2)))
            color = OUTLINE_COLORS[POSITIVE.label if positive else NEGATIVE.label]
            draw_outline(outlined, corners_px, color, dashed=not positive)
        else:
            draw_dot(outlined, (float(xy_px[0]), float(xy_px[1])), _OTHER_RADIUS_PX, OUTLINE_COLORS[OTHER.label])
    return draw_scale_bar(plain, frame.mpp), draw_scale_bar(outlined, frame.mpp)


def _size(bounds_um: RectUm) -> tuple[float, float]:
    return min(FIELD_UM, bounds_um.width_um), min(FIELD_UM, bounds_um.height_um)


def _candidates(cells: Cells, bounds_um: RectUm) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Corners (N, 2) in µm of all candidate fields that hold a tumour cell, with their tumour and positive cells."""
    width, height = _size(bounds_um)
    xy_um = cells.xy_um[cells.tumour]
    positive = cells.positive[cells.tumour]
    half = np.array([width, height]) / 2
    corner = np.array([bounds_um.x_um, bounds_um.y_um])
    last = np.maximum(np.ceil((np.array([bounds_um.width_um, bounds_um.height_um]) - 2 * half) / half), 0).astype(int)
    tile = np.clip(np.floor((xy_um - corner) / half).astype(int), 0, last + 1)
    # A cell in half-tile t lies in the fields that begin at t and at t - 1.
    steps = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
    found = np.clip(_distinct(tile)[:, None] - steps, 0, last)
    places = _distinct(found.reshape(-1, 2))
    limit = corner + np.array([bounds_um.width_um, bounds_um.height_um]) - 2 * half
    corners = np.minimum(corner + places * half, limit)
    tumour_count, positive_count = _count_within(xy_um, positive, corners, 2 * half)
    return corners, tumour_count, positive_count


def _distinct(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Different ones of some places (N, 2), none below 0, sorted; as whole numbers that goes ten times as fast."""
    base = places[:, 1].max() + 1
    return np.column_stack(np.divmod(np.unique(places[:, 0] * base + places[:, 1]), base))


def _count_within(
    xy_um: NDArray[np.float64], positive: NDArray[np.bool_], corners: NDArray[np.float64], size: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells, and positive cells, in each field; sorted along x, so that a field looks at its own strip only."""
    order = np.argsort(xy_um[:, 0], kind="stable")
    x, y, is_positive = xy_um[order, 0], xy_um[order, 1], positive[order]
    starts = np.searchsorted(x, corners[:, 0])
    ends = np.searchsorted(x, corners[:, 0] + size[0])
    counts = np.zeros((len(corners), 2), dtype=np.int64)
    for number, (start, end, top) in enumerate(zip(starts, ends, corners[:, 1], strict=True)):
        inside = (y[start:end] >= top) & (y[start:end] < top + size[1])
        counts[number] = inside.sum(), is_positive[start:end][inside].sum()
    return counts[:, 0], counts[:, 1]
