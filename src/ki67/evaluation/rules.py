"""What a user can choose in a comparison with people; apart, so that the command line starts without the rest."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """How an answer is scored, 0 to 100; ``a`` is the answer, ``g`` the gold index, both in percent.

    The paper asks for answers "accurate to 1 %", prints scores and gives no formula.
    """

    interval = "interval"
    """``max(0, 100 − d)``, d the distance from a to [⌊g⌋, ⌈g⌉], the "standard score" of the paper's Table 3."""
    points = "points"
    """``max(0, 100 − |a − g|)``."""
    relative = "relative"
    """``max(0, 100 − 100 |a − g| / g)``; for g = 0 it is 100 for the answer 0 and else 0."""


class SlideOf(StrEnum):
    """Which slide a labelled region of interest (ROI) belongs to, where no CSV says it."""

    name = "name"
    """Its name up to the last underscore: ``S17_3`` is of ``S17``; without an underscore, all of its name."""
    folder = "folder"
    """The subfolder of the data set that it lies in."""
