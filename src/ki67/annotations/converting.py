"""Regions of one program's file written for another program, and what was lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ki67.annotations.coordinates import PIXELS_AS_UM
from ki67.annotations.formats import format_of, format_to_write, read_regions, write_regions
from ki67.annotations.regions import check_inside
from ki67.slides import PixelFrame, open_slide
from ki67.vocabulary import RegionFormat


def convert_regions(
    source: Path,
    target: Path,
    *,
    slide: Path | None = None,
    mpp: float | None = None,
    form: RegionFormat | None = None,
) -> dict[str, Any]:
    """Read the regions of a file and write them in another format.

    Parameters
    ----------
    source, target
        The files; the first's content and the end of the second's name say what they are.
    slide
        The slide they belong to. Without, pixels are counted from the top left of level 0 in both formats, which
        holds for every slide that QuPath does not show cropped, and nothing is known of µm.
    mpp
        Pixel size in µm of level 0, where the slide has none.
    form
        Format to write, where the name leaves a choice.

    Returns
    -------
    dict
        ``from``, ``to``: names of the formats; ``regions``, ``labels``: how many, also by label; ``area_mm2`` (None
        without a slide); ``notes``: what was repaired, cut out or left out in reading; ``not_carried``: what the
        format written could not hold.

    Raises
    ------
    AnnotationError
        Where the file cannot be read, or one of the formats needs a slide or another one.
    RegionError
        Where the regions cannot belong to that slide.
    """
    found, wanted = format_of(source), format_to_write(target, form)
    if slide is None:
        frame = PixelFrame(PIXELS_AS_UM if mpp is None else mpp)
        regions = read_regions(source, frame)
        notes = list(regions.notes)
    else:
        with open_slide(slide, mpp=mpp) as opened:
            frame = opened.frame
            regions = read_regions(source, frame)
            notes = check_inside(regions, opened.bounds_um, frame.mpp)[1]
    not_carried = write_regions(target, regions, frame, wanted.key)
    return {
        "file": str(target),
        "from": found.name,
        "to": wanted.name,
        "regions": len(regions),
        "labels": {label: len(regions.with_label(label)) for label in regions.labels},
        "area_mm2": regions.area_mm2 if slide is not None else None,
        "notes": notes,
        "not_carried": list(not_carried),
    }
