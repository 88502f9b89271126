"""Squares of a slide in which cells are counted, drawn by a seed where there is tissue."""

from __future__ import annotations

from typing import Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import RefusedError, TissueError
from ki67.evaluation.gold import ROIS_A_SLIDE
from ki67.geometry import RectUm
from ki67.labelling.journal import note
from ki67.labelling.people import require_administrator
from ki67.labelling.project import the_project
from ki67.labelling.tables import Person, Slide
from ki67.labelling.words import LabelKind
from ki67.slides import Slide as OpenSlide
from ki67.slides import open_slide

SIDE_UM: Final = 250.0
"""Carcinoma has some 3,400 nuclei per mm², so such a square holds about 200: Feng et al. 2020 want 100 in each."""

LEAST_TISSUE: Final = 0.8
"""Of a square. Our own choice."""

MOST_TRIES: Final = 4000


def draw_rois(session: Session, by: Person, *, seed: int) -> list[Slide]:
    """Draw ten squares on every slide that has none; each slide by the seed and its own number.

    Raises
    ------
    RefusedError
        Where the project labels no cells, or the person is no administrator.
    SlideError
        Where a slide cannot be read.
    """
    require_administrator(by)
    if the_project(session).kind != LabelKind.cells:
        raise RefusedError("squares to count in are for projects of cells")
    slides = [slide for slide in session.scalars(sa.select(Slide).order_by(Slide.id)) if slide.rois is None]
    for slide in slides:
        with open_slide(slide.path, slide.mpp) as opened:
            slide.rois = places(opened, seed=seed + slide.id)
    numbers = {slide.id: len(slide.rois or []) for slide in slides}
    note(session, by.id, "draw_rois", detail={"seed": seed, "side_um": SIDE_UM, "slides": numbers})
    return slides


def places(slide: OpenSlide, *, seed: int, side_um: float = SIDE_UM, most: int = ROIS_A_SLIDE) -> list[list[float]]:
    """Squares that hold tissue and do not overlap, drawn at random; fewer where there is no room for more.

    None on a slide on which no tissue is found.

    Returns
    -------
    list of list of float
        x, y (corner) and side of each in µm, from left to right.
    """
    width, height = slide.bounds_um.width_um, slide.bounds_um.height_um
    side_um = min(side_um, width, height)
    try:
        tissue = slide.tissue
    except TissueError:
        return []
    random = np.random.default_rng(seed)
    found: list[list[float]] = []
    for x, y in random.uniform(0, 1, (MOST_TRIES, 2)) * [width - side_um, height - side_um]:
        if any(abs(x - a) < side_um and abs(y - b) < side_um for a, b, _ in found):
            continue
        if tissue.fraction(RectUm(float(x), float(y), side_um, side_um)) < LEAST_TISSUE:
            continue
        found.append([round(float(x), 1), round(float(y), 1), side_um])
        if len(found) == most:
            break
    return sorted(found)
