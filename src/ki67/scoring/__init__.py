"""The Ki-67 index of a cell table, with its interval and the guard on the number of cells."""

from ki67.scoring.intervals import wilson_interval
from ki67.scoring.local import LOCAL_COLUMNS
from ki67.scoring.score import (
    SCORE_COLUMNS,
    RegionScore,
    Score,
    score_cells,
)
from ki67.scoring.section import SectionScores, cut_off_classes, section_scores
from ki67.scoring.spread import SPREAD_COLUMNS, index_spread, widened
from ki67.scoring.surroundings import SURROUNDINGS_COLUMNS, surroundings_checks

__all__ = [
    "LOCAL_COLUMNS",
    "SCORE_COLUMNS",
    "SPREAD_COLUMNS",
    "SURROUNDINGS_COLUMNS",
    "RegionScore",
    "Score",
    "SectionScores",
    "cut_off_classes",
    "index_spread",
    "score_cells",
    "section_scores",
    "surroundings_checks",
    "widened",
    "wilson_interval",
]
