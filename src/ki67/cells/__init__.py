"""Cells: every nucleus of a Ki-67 slide, and whether it is a positive or a negative tumour cell."""

from ki67.cells.detect import CellDetection, detect_cells
from ki67.cells.forest import ForestModel, load_model
from ki67.cells.stains import Stains
from ki67.cells.table import cell_schema

__all__ = ["CellDetection", "ForestModel", "Stains", "cell_schema", "detect_cells", "load_model"]
