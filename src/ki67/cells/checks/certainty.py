"""How sure the model is of the cells of a case, against patients that it was validated on and had not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ki67.cells.card import CellCard
from ki67.domain import Check, Verdict
from ki67.vocabulary import TUMOUR_CLASSES

CERTAINTY_COLUMNS: Final = ("label", "probability", "in_region")
"""What the check needs of the cell table."""

LEAST_CELLS: Final = 100
"""With fewer tumour cells their mean probability says little of the slide."""

LEAST_PATIENTS: Final = 20
"""Fewer patients do not tell what is usual."""

_RARE_PERCENTILE = 5.0


def mean_certainty(table: pa.Table) -> float | None:
    """Mean probability of the tumour cells counted; None with fewer than :data:`LEAST_CELLS` that have one.

    Parameters
    ----------
    table
        Cell table with :data:`CERTAINTY_COLUMNS`.
    """
    counted = pc.and_(table["in_region"], pc.is_in(table["label"], pa.array(TUMOUR_CLASSES)))
    known = table["probability"].filter(counted).drop_null().to_numpy()
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) >= LEAST_CELLS else None


def least_usual(certainties: Sequence[float | None]) -> float | None:
    """Mean probability below which a patient is rare, from those of patients not seen; None where they are few."""
    known = [value for value in certainties if value is not None]
    return round(float(np.percentile(known, _RARE_PERCENTILE)), 4) if len(known) >= LEAST_PATIENTS else None


def judge_certainty(table: pa.Table, card: CellCard) -> Check:
    """Judge whether the model is as sure of a case's cells as of patients that it had not seen and was validated on.

    Parameters
    ----------
    table
        Cell table with :data:`CERTAINTY_COLUMNS`.
    card
        The model's card.
    """
    name, least = "cell_certainty", card.least_certainty
    usual = (least, None)
    if least is None:
        return Check(name, Verdict.usual, "not judged: it is not known how sure this model usually is", None, usual)
    found = mean_certainty(table)
    if found is None:
        return Check(name, Verdict.usual, "not measured: too few tumour cells", None, usual)
    if found >= least:
        return Check(name, Verdict.usual, "", found, usual)
    text = (
        f"the model is less sure of these cells (mean probability {found:.2f}) than of 95 of 100 patients that it "
        f"was validated on ({least:.2f} and more): nuclei may be missed or called wrongly, and the index may be "
        "further off than its interval says; look at the outlined fields, and count some by hand"
    )
    return Check(name, Verdict.unusual, text, found, usual)
