"""Cells: every nucleus of a Ki-67 slide, and whether it is a positive or a negative tumour cell."""

from ki67.cells.channels import check_resolution
from ki67.cells.checks.agreement import AGREEMENT_COLUMNS, judge_agreement, least_between
from ki67.cells.checks.region_density import DENSITY_COLUMNS, judge_density
from ki67.cells.checks.staining import Appearance, appearance, judge_he, judge_ki67, wrong_order
from ki67.cells.detect import MARGIN_UM, CellDetection, detect_cells
from ki67.cells.engine import DEFAULT_ENGINE, Engine, load_engine
from ki67.cells.nests import NEST_COLUMNS, keep_within, tumour_nests
from ki67.cells.sampling import is_field
from ki67.cells.stains import Stains
from ki67.cells.table import cell_ids, cell_schema

__all__ = [
    "AGREEMENT_COLUMNS",
    "DEFAULT_ENGINE",
    "DENSITY_COLUMNS",
    "MARGIN_UM",
    "NEST_COLUMNS",
    "Appearance",
    "CellDetection",
    "Engine",
    "Stains",
    "appearance",
    "cell_ids",
    "cell_schema",
    "check_resolution",
    "detect_cells",
    "is_field",
    "judge_agreement",
    "judge_density",
    "judge_he",
    "judge_ki67",
    "keep_within",
    "least_between",
    "load_engine",
    "tumour_nests",
    "wrong_order",
]
