"""What a user can choose in a comparison with people; apart, so that the command line starts without the rest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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


OURS: Final = "chosen by the authors of ki67, no published source"


@dataclass(frozen=True)
class ValidationLimits:
    """What a laboratory's validation must keep to."""

    icc_low: float = 0.8
    """Least lower end of the 95 % interval of ICC(A,1); see :data:`ICC_SOURCE`."""
    bias_points: float = 3.0
    """Largest mean difference, program − manual, either way; ours."""
    group_bias_points: float = 5.0
    """The same for the cases of one scanner or antibody clone; ours."""
    discordant_percent: float = 10.0
    """Largest share of cases in another class at a cut-off; ours."""
    without_index_percent: float = 10.0
    """Largest share of cases for which the program gave no index; ours."""


ICC_SOURCE: Final = (
    "Leung et al., npj Breast Cancer 2016 (International Ki67 in Breast Cancer Working Group, phase 3): of the lower "
    "ends of 95 % intervals, 0.81 met the criterion set beforehand and 0.7999 failed; theirs was between laboratories"
)
