"""The words that every part of the program shares: classes of cells, what is not counted, limits, choices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class CellClass(IntEnum):
    """What a cell counts as; the number is its place in every model's output."""

    OTHER = 0
    POSITIVE = 1
    NEGATIVE = 2

    @property
    def label(self) -> str:
        """The class in tables and files."""
        return self.name.lower()


OTHER, POSITIVE, NEGATIVE = CellClass

CLASSES: Final = tuple(one.label for one in CellClass)
"""Labels of the classes, by their numbers."""

TUMOUR_CLASSES: Final = (POSITIVE.label, NEGATIVE.label)
"""Labels of what the index is made of."""

MINIMUM_CELLS: Final = 500
"""Fewest tumour cells for an index: "the absolute minimum" of the International Ki67 in Breast Cancer Working Group
(Dowsett et al., J Natl Cancer Inst 2011;103:1656-1664)."""

RECOMMENDED_CELLS: Final = 1000
"""Tumour cells the same group recommends to count (Dowsett et al. 2011)."""


@dataclass(frozen=True, slots=True)
class ExclusionKind:
    """Why a part of the region is not counted.

    Parameters
    ----------
    name
        In tables and in ``score.json``.
    sentence
        Where its cells lie, for the middle of a sentence.
    label
        What such an area is called in region files and in the report.
    color_rgb
        How it is drawn: colours that neither stain nor another region has.
    """

    name: str
    sentence: str
    label: str
    color_rgb: tuple[int, int, int]


PEN: Final = ExclusionKind("pen", "under pen", "Pen", (0, 170, 200))
FOLD: Final = ExclusionKind("fold", "in folds", "Fold", (230, 0, 200))
FOCUS: Final = ExclusionKind("focus", "out of focus", "Out of focus", (240, 140, 0))
UNREGISTERED: Final = ExclusionKind("unregistered", "not registered (on the H&E)", "Not registered", (130, 160, 0))
BY_HAND: Final = ExclusionKind("hand", "left out by hand", "Left out", (90, 90, 230))

EXCLUSION_KINDS: Final = {kind.name: kind for kind in (PEN, FOLD, FOCUS, UNREGISTERED, BY_HAND)}
"""All of them by their names."""


class EngineName(StrEnum):
    """What finds the cells: the network, or the paper's random forest."""

    network = "network"
    forest = "forest"


class Device(StrEnum):
    """Where models run: the processor, a graphics card, or a card where ONNX Runtime sees one."""

    cpu = "cpu"
    auto = "auto"
    cuda = "cuda"


class RegistrationMode(StrEnum):
    """How far the registration may bend a section; ``rigid`` is the paper's."""

    rigid = "rigid"
    affine = "affine"
    deformable = "deformable"


class IdcArchitecture(StrEnum):
    """Networks that tell carcinoma on H&E patches."""

    inception_v1 = "inception_v1"
    efficientnet_lite0 = "efficientnet_lite0"


class AdaptMethod(StrEnum):
    """Ways to adapt a model to another laboratory's slides."""

    adabn = "adabn"
    dann = "dann"


class Language(StrEnum):
    """Languages of the report; their wording is in ``ki67/report/wording``."""

    en = "en"
    de = "de"


class Layer(StrEnum):
    """Maps of a case: the index in hexagons on the Ki-67 slide, the probability of carcinoma on the H&E slide."""

    INDEX = "index"
    HEATMAP = "heatmap"


class RegionFormat(StrEnum):
    """Formats of labelled regions, by the programs that draw them."""

    qupath = "qupath"
    dsa = "dsa"
    asap = "asap"
    imagescope = "imagescope"
    halo = "halo"
    ndpa = "ndpa"


class Layout(StrEnum):
    """How labelled cells are stored.

    ``bcdata``: ``DIR/images/N.png`` with ``DIR/annotations/{positive,negative}/N.h5``, dataset ``coordinates``: x, y.
    ``shidc``: ``NAME.jpg`` with ``NAME.json``, a list of ``{x, y, label_id}``; 1 positive, 2 negative, 3 lymphocyte.
    ``points``: an image with a CSV of the same name beside it, columns ``x,y,label``.
    With any of them ``NAME_labelled.png`` beside the picture, white where labelling is complete, or outlines of that
    in ``NAME_labelled.geojson``, keep the rest of the picture out of training and figures.
    ``qupath``: an image with a GeoJSON of the same name beside it: detections, cells, points, or nuclei outlined by
    hand (:func:`ki67.annotations.read_cells`) with the classes of :mod:`ki67.fields.qupath_classes`.
    ``simulated``: ``DIR/NAME/`` as ``ki67 simulate`` writes it: its Ki-67 section and all its cells.
    ``deepliif``: ``NAME_ihc.png`` with ``NAME_mask.png``, nuclei filled red (positive) or blue (negative), edges
    green. ``glioma``: pictures with one ``polygons.json`` beside them: picture, class, list of polygons. These two
    label nuclei of every kind, and not all pale ones: what is negative need not be a tumour cell.
    """

    bcdata = "bcdata"
    shidc = "shidc"
    points = "points"
    qupath = "qupath"
    simulated = "simulated"
    deepliif = "deepliif"
    glioma = "glioma"
