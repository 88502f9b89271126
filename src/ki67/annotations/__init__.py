"""Labelled regions and points: read from and written to the files of other programs, held in micrometres."""

from ki67.annotations.cells import CELL_CLASSES, point_features
from ki67.annotations.choice import NOT_TUMOUR, choose_regions, is_not_tumour
from ki67.annotations.formats import read_cells, read_regions, write_regions
from ki67.annotations.on_tissue import judge_on_tissue, likely_scale, on_tissue, places_in
from ki67.annotations.regions import (
    LABEL_COLORS,
    TUMOUR_LABELS,
    UNCLASSIFIED,
    Region,
    Regions,
    check_inside,
    color_of,
    shown,
    tumour_label,
)

__all__ = [
    "CELL_CLASSES",
    "LABEL_COLORS",
    "NOT_TUMOUR",
    "TUMOUR_LABELS",
    "UNCLASSIFIED",
    "Region",
    "Regions",
    "check_inside",
    "choose_regions",
    "color_of",
    "is_not_tumour",
    "judge_on_tissue",
    "likely_scale",
    "on_tissue",
    "places_in",
    "point_features",
    "read_cells",
    "read_regions",
    "shown",
    "tumour_label",
    "write_regions",
]
