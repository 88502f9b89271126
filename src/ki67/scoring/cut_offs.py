"""Published cut-offs of the Ki-67 index, as data: a value never stands without its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CutOff:
    """One published set of classes.

    Parameters
    ----------
    id
        Short name.
    values_percent
        Limits between the classes, ascending.
    upper_includes
        For each limit, whether an index equal to it belongs to the class above.
    classes
        Names of the classes, from low to high.
    source, year, population
        Where it comes from and whom it was made for; no year where it is nobody's but the user's.
    """

    id: str
    values_percent: tuple[float, ...]
    upper_includes: tuple[bool, ...]
    classes: tuple[str, ...]
    source: str
    year: int | None
    population: str

    def classify(self, index_percent: NDArray[np.float64]) -> NDArray[np.int64]:
        """Class of each index, as a number into :attr:`classes`."""
        above = [
            index_percent >= limit if includes else index_percent > limit
            for limit, includes in zip(self.values_percent, self.upper_includes, strict=True)
        ]
        return np.asarray(np.sum(above, axis=0), np.int64)


CUT_OFFS: Final = (
    CutOff(
        "ikwg-2021",
        (5.0, 30.0),
        (False, True),
        ("low", "between", "high"),
        "Nielsen et al., J Natl Cancer Inst 2021;113:808-819 (International Ki67 in Breast Cancer Working Group)",
        2021,
        "ER-positive, HER2-negative, T1-2, N0-1",
    ),
    CutOff(
        "st-gallen-2011",
        (14.0,),
        (True,),
        ("low", "high"),
        "St Gallen consensus 2011, as tabled in PMC6797629",
        2011,
        "luminal, HER2-negative",
    ),
    CutOff(
        "st-gallen-2013",
        (20.0,),
        (True,),
        ("low", "high"),
        "St Gallen consensus 2013, as tabled in PMC6797629",
        2013,
        "luminal, HER2-negative",
    ),
    CutOff(
        "abemaciclib-2021",
        (20.0,),
        (True,),
        ("below", "at or above"),
        "Canadian task force, Curr Oncol 2023;30:3079 (FDA and Health Canada label of 2021)",
        2021,
        "HR-positive, HER2-negative, node-positive, high risk",
    ),
    CutOff(
        "hl7-draft-2018",
        (10.0, 20.0),
        (True, False),
        ("low", "borderline", "high"),
        "HL7 FHIR breast cancer draft profile, September 2018",
        2018,
        "not stated",
    ),
)
"""Cut-offs in use. They compete: a report names each with its source, and none as the only one."""


def own_cut_off(percent: float) -> CutOff:
    """Cut-off of a laboratory's own, above 0 and below 100 %; an index equal to it belongs to the class above."""
    return CutOff(
        f"{percent:g}", (percent,), (True,), ("below", "at or above"), "the laboratory's own", None, "not stated"
    )
