"""What cells' classes are called in QuPath, and their colours there."""

from __future__ import annotations

from typing import Final

from ki67.annotations.regions import Rgb
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

CELL_CLASSES: Final[dict[str, tuple[str, Rgb]]] = {
    # QuPath counts "Tumor: Positive" and "Tumor: Negative" into its "Positive %" by these very names;
    # red and green are Feng et al. 2020, Fig 5.
    POSITIVE.label: ("Tumor: Positive", (255, 0, 0)),
    NEGATIVE.label: ("Tumor: Negative", (0, 170, 0)),
    OTHER.label: ("Other", (150, 150, 150)),
}
"""QuPath class name and colour of each label of the cell table."""
