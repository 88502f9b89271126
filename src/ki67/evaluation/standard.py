"""A gold standard of Ki-67 indices, slide by slide, as a CSV file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError

STANDARD_LAYOUT: Final = (
    "Give a CSV file with the columns slide,index_percent or slide,positive,negative, each slide on one line."
)

_PRINTED_POINTS: Final = 0.01
"""A printed index has two decimals: rounded or cut off, it lies less than this from the counts' own."""


@dataclass(frozen=True)
class Standard:
    """Gold index of one slide in percent, and its counts of positive and negative cells where the file has them."""

    index_percent: float
    counts: tuple[int, int] | None


def standard_interval(gold_percent: float) -> tuple[int, int]:
    """Whole percents below and above an index: the answers that Table 3 calls right."""
    return math.floor(gold_percent), math.ceil(gold_percent)


def read_standard(path: Path) -> tuple[dict[str, Standard], list[str]]:
    """Read the gold standard of each slide, in the file's order, and what does not add up in it.

    Counts go before a printed index.

    Raises
    ------
    DataSetError
        Where the file cannot be read, holds no slide, or a line makes no sense.
    """
    gold: dict[str, Standard] = {}
    warnings: list[str] = []
    for row in read_rows(path, ("slide",), STANDARD_LAYOUT):
        slide = row.text("slide")
        if slide in gold:
            raise row.error(f"names the slide {slide!r} again")
        gold[slide] = _standard(row, slide, warnings)
    if not gold:
        raise DataSetError(path, "holds no slide", STANDARD_LAYOUT)
    return gold, warnings


def _standard(row: Row, slide: str, warnings: list[str]) -> Standard:
    positive, negative = (row.count_or_none(name) for name in ("positive", "negative"))
    printed = row.number_or_none("index_percent", 0, 100)
    if positive is None or negative is None:
        if printed is None:
            raise row.error("has neither an index_percent nor counts of positive and negative cells")
        return Standard(printed, None)
    cells = positive + negative
    if not cells:
        raise row.error("counts 0 cells, which gives no index")
    index = 100.0 * positive / cells
    told = row.count_or_none("cells")
    if told is not None and told != cells:
        warnings.append(f"slide {slide}: {positive:,} + {negative:,} = {cells:,} cells, not {told:,}")
    if printed is not None and abs(printed - index) >= _PRINTED_POINTS:
        warnings.append(f"slide {slide}: the counts give {index:.2f} %, not {printed:g} %; the counts are taken")
    return Standard(index, (positive, negative))
