"""The Ki-67 index of a cell table, with its interval and the guard on the number of cells."""

from ki67.scoring.intervals import ModelDeviation, wilson_interval
from ki67.scoring.own_laboratory import read_laboratory
from ki67.scoring.result import TABLE_COLUMNS, CarriedOver, Score, score_section
from ki67.scoring.score import (
    RegionScore,
    score_cells,
)
from ki67.scoring.spread import index_spread, outline_spread

__all__ = [
    "TABLE_COLUMNS",
    "CarriedOver",
    "ModelDeviation",
    "RegionScore",
    "Score",
    "index_spread",
    "outline_spread",
    "read_laboratory",
    "score_cells",
    "score_section",
    "wilson_interval",
]
