"""What a cell's class in QuPath says: positive or negative tumour cell, another cell, or nothing.

QuPath's own names (``PathClass.StandardPathClasses`` and ``PathClass.NAME_POSITIVE`` and so on, QuPath 0.6) are
understood, and any other name that leaves no doubt.
"""

from __future__ import annotations

import re
from pathlib import Path

from ki67.annotations import UNCLASSIFIED
from ki67.errors import DataSetError
from ki67.vocabulary import CLASSES, NEGATIVE, OTHER, POSITIVE

_STAINED = {POSITIVE.label: POSITIVE, NEGATIVE.label: NEGATIVE, "1+": POSITIVE, "2+": POSITIVE, "3+": POSITIVE}
_TUMOUR = ("", "tumor", "tumour")
# Says something of tumour or staining, in words that are not on the list: a misspelling, a negation, a marker.
_DOUBTFUL = re.compile(
    r"\bpos|\bneg|positiv|negativ|\b\d\+|\btumou?r|carcinoma|cancer|neoplas|\bidc\b|\binvasive|malignan|\bki[- ]?67"
)
_EXPECTED = (
    "Name tumour cells Positive, Negative, 1+, 2+ or 3+, alone or under Tumor as in 'Tumor: Positive', other cells "
    "for what they are (Stroma, Immune cells, Other), and what is to be passed over Ignore*."
)


def cell_class(path: str | Path, name: str) -> str | None:
    """Class, one of :data:`ki67.vocabulary.CLASSES`, that a QuPath class stands for.

    Parameters
    ----------
    path
        The label file, for the message.
    name
        The class as QuPath writes it ("Tumor: Positive"); upper and lower case do not matter. Under a base other
        than Tumor ("Stroma: Positive") it is no tumour cell.

    Returns
    -------
    str or None
        None for classes that QuPath ignores: those with a star at the end.

    Raises
    ------
    DataSetError
        Where the cell has no class, or one that may mean this or that.
    """
    if name == UNCLASSIFIED:
        raise DataSetError(path, "has a cell without a class", "Classify every point and detection in QuPath.")
    lower = name.strip().lower()
    if lower.startswith("ignore") or lower.endswith("*"):
        return None
    base, _, last = (part.strip() for part in lower.rpartition(":"))
    if base in _TUMOUR and last in _STAINED:
        return CLASSES[_STAINED[last]]
    if _DOUBTFUL.search(base or last):
        raise DataSetError(path, f"has cells of the class '{name}', which is not understood", _EXPECTED)
    return CLASSES[OTHER]
