"""What a report is made of. Stages hand it over as data; this room knows only the shapes below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ki67.annotations import Regions
from ki67.case.corrections import Correction
from ki67.case.details import CaseDetails
from ki67.geometry import RectUm
from ki67.scoring import Score
from ki67.vocabulary import Language


class SlideLike(Protocol):
    """The part of a slide that a report reads."""

    @property
    def path(self) -> Path:
        """The slide's file."""

    @property
    def mpp(self) -> float:
        """Level-0 pixel size in µm."""

    @property
    def bounds_um(self) -> RectUm:
        """The slide's extent."""

    def read(self, region_um: RectUm, mpp: float) -> NDArray[np.uint8]:
        """Pixels of a rectangle, (H, W, 3), white outside the slide."""


class HeatMapLike(Protocol):
    """Probability of invasive carcinoma over a slide, from its origin on."""

    @property
    def probability(self) -> NDArray[np.float32]:
        """(H, W), 0 to 1, NaN outside the tissue."""

    @property
    def mpp(self) -> float:
        """Pixel size of the map in µm."""


class TransformLike(Protocol):
    """A registration, from the H&E to the Ki-67 slide."""

    def inverse_points(self, points_um: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Map (N, 2) µm on the Ki-67 slide to µm on the H&E slide."""


class CorrectedLike(Protocol):
    """What people corrected in a case."""

    @property
    def automatic(self) -> Score:
        """The score as it was counted."""

    @property
    def score(self) -> Score:
        """The score with the corrections that hold."""

    @property
    def log(self) -> tuple[Correction, ...]:
        """All entries."""

    @property
    def holding(self) -> tuple[Correction, ...]:
        """Those that hold."""

    @property
    def unattached(self) -> tuple[Correction, ...]:
        """Those of them whose cell a recount did not find again."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; what a command does not make stays None and its section is left out.

    Parameters
    ----------
    title
        Heading of the report, such as the slides' names.
    run
        The case's manifest: ``inputs``, ``models``, ``versions``, ``stages`` (see the case folder's ``run.json``).
    he, ki67
        The open slides.
    regions_he, regions_ki67
        The region as found or drawn on the H&E, and as counted on the Ki-67 slide.
    excluded
        Parts of the Ki-67 slide's region in which nothing was counted: pen, folds, out of focus.
    unregistered
        Parts of the H&E slide's region that have no believable place on the Ki-67 slide.
    heatmap
        Heat map of the H&E slide.
    transform, quality
        The registration and its quality as a JSON object.
    cells
        The cell table, at least :data:`ki67.report.CELL_COLUMNS` of it.
    cells_within
        Reads the cells centred in a rectangle in µm, with :data:`ki67.report.OUTLINE` besides.
    score
        The content of ``score.json``.
    model_cards
        Card of each model by the name it has in the manifest.
    corrected
        What people corrected, and the score without and with it; ``score``, ``cells`` and regions are then those with
        it. None where nothing was corrected.
    details
        What the laboratory tells of the case.
    language
        Language of the report.
    """

    title: str
    run: Mapping[str, Any] = field(default_factory=dict)
    he: SlideLike | None = None
    ki67: SlideLike | None = None
    regions_he: Regions | None = None
    regions_ki67: Regions | None = None
    excluded: Regions | None = None
    unregistered: Regions | None = None
    heatmap: HeatMapLike | None = None
    transform: TransformLike | None = None
    quality: Mapping[str, Any] | None = None
    cells: pa.Table | None = None
    cells_within: Callable[[RectUm], pa.Table] | None = None
    score: Mapping[str, Any] | None = None
    model_cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    corrected: CorrectedLike | None = None
    details: CaseDetails = field(default_factory=CaseDetails)
    language: Language = Language.en
