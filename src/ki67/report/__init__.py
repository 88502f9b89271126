"""The report of a case: one self-contained HTML file, and a PDF."""

from ki67.report.data import HeatMapLike, ReportData, SlideLike, TransformLike
from ki67.report.fields import CELL_COLUMNS, OUTLINE
from ki67.report.page import render_report, write_reports

__all__ = [
    "CELL_COLUMNS",
    "OUTLINE",
    "HeatMapLike",
    "ReportData",
    "SlideLike",
    "TransformLike",
    "render_report",
    "write_reports",
]
