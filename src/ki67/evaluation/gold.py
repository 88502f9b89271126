"""A gold standard from labelled cells: counts and index of each slide (the paper's Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from ki67.csv_rows import csv_text
from ki67.errors import DataSetError
from ki67.evaluation.labellers import compare_labellers
from ki67.evaluation.matches import percent
from ki67.evaluation.rois import Roi, by_slide, read_rois, read_whole_slides
from ki67.evaluation.rules import SlideOf
from ki67.evaluation.standard import read_standard, standard_interval
from ki67.fields.labelled_fields import ALL_NUCLEI, DEFAULT_RADIUS_UM
from ki67.files import write_text
from ki67.vocabulary import MINIMUM_CELLS, Layout

ROIS_A_SLIDE: Final = 10
ROI_CELLS: Final = 100
"""Ten ROIs on each slide with at least 100 cells each (Feng et al., Diagn Pathol 2020;15:65, "Counting")."""

GOLD_COLUMNS: Final = ("slide", "positive", "negative", "cells", "index_percent")
"""Columns of the file, which ``ki67 compete`` and ``ki67 evaluate index`` read."""

_NAMES_SHOWN: Final = 5

Counts = Mapping[str, tuple[int, int]]
"""Numbers of positive and negative tumour cells by slide."""


def make_gold(
    source: str | Path,
    out: str | Path | None = None,
    *,
    layout: str | None = None,
    whole_slides: bool = False,
    slide_of: SlideOf | Path = SlideOf.name,
    mpp: float | None = None,
    mpp_overrides_file: bool = False,
    second: str | Path | None = None,
    radius_um: float | None = None,
) -> dict[str, Any]:
    """Make a gold standard of Ki-67 indices from what people labelled or counted.

    Parameters
    ----------
    source
        A CSV file with the columns ``slide``, ``positive``, ``negative`` (perhaps ``cells`` and ``index_percent``,
        which are checked), or a folder of labels.
    out
        CSV file to write (:data:`GOLD_COLUMNS`); None writes nothing.
    layout
        How the labelled regions of interest (ROIs) in the folder are stored (:class:`ki67.vocabulary.Layout`).
    whole_slides
        The folder holds label files of whole slides instead (:func:`ki67.evaluation.rois.read_whole_slides`).
    slide_of
        Which slide a ROI belongs to (:func:`ki67.evaluation.rois.read_rois`).
    mpp, mpp_overrides_file
        Pixel size, as for :func:`ki67.fields.labelled_fields.read_fields`; whole slides need it.
    second
        Folder of another labeller's labels of the same ROIs or slides, stored alike. The standard is the first's.
    radius_um
        How far apart two labels of one nucleus may be; the layout's own
        (:data:`ki67.fields.labelled_fields.DEFAULT_RADIUS_UM`) where None.

    Returns
    -------
    dict
        ``slides``: list of ``slide``, ``rois`` (number; None where there are none), ``positive``, ``negative``,
        ``cells``, ``index_percent``, ``standard`` (the two whole percents around it); ``sum`` and ``average`` of the
        counts; ``pooled_percent``, index of all cells together; ``mean_of_slides_percent``, mean of the slides'
        indices; ``file``; ``agreement`` (:func:`ki67.evaluation.labellers.compare_labellers`) or None; ``warnings``.

    Raises
    ------
    DataSetError, AnnotationError, PixelSizeError
        Where the labels or counts are not as described, or contradict one another.
    WriteError
        Where the file cannot be written.
    """
    path = Path(source)
    rois: list[Roi] | None = None
    if layout is None and not whole_slides:
        counts, warnings = _read_counts(path)
        if second is not None:
            raise DataSetError(
                path, "holds counts, which two labellers cannot be compared by", "Use `ki67 evaluate index` for them."
            )
    else:

        def read(folder: Path) -> list[Roi]:
            if layout is None:
                return read_whole_slides(folder, mpp)
            return read_rois(folder, layout, slide_of, mpp, mpp_overrides_file=mpp_overrides_file)

        rois = read(path)
        counts = {slide: _sum(own) for slide, own in by_slide(rois).items()}
        warnings = _roi_warnings(rois, layout)
    for slide, (positive, negative) in counts.items():
        if not positive + negative:
            raise DataSetError(path, f"has no tumour cell on the slide {slide!r}", "Label it, or take it away.")
    few = {slide: sum(own) for slide, own in counts.items() if sum(own) < MINIMUM_CELLS}
    warnings += _too_few(few, f"slides with fewer than {MINIMUM_CELLS} tumour cells, so no reliable index")
    agreement = None
    if second is not None and rois is not None:
        radius = DEFAULT_RADIUS_UM[layout or Layout.points] if radius_um is None else radius_um
        agreement = compare_labellers(path, rois, Path(second), read(Path(second)), radius)
    if out is not None:
        write_gold(Path(out), counts)
    number_of_rois = None if rois is None or whole_slides else {s: len(own) for s, own in by_slide(rois).items()}
    return {
        **table_3(counts, number_of_rois),
        "file": None if out is None else str(out),
        "agreement": agreement,
        "warnings": warnings,
    }


def table_3(counts: Counts, rois: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Table 3 of the paper from the counts of each slide, at least one cell each; see :func:`make_gold`."""
    indices = {slide: 100.0 * positive / (positive + negative) for slide, (positive, negative) in counts.items()}
    positive, negative = (sum(own) for own in zip(*counts.values(), strict=True))
    total = {"positive": positive, "negative": negative, "cells": positive + negative}
    return {
        "slides": [
            {
                "slide": slide,
                "rois": None if rois is None else rois[slide],
                "positive": own[0],
                "negative": own[1],
                "cells": sum(own),
                "index_percent": indices[slide],
                "standard": standard_interval(indices[slide]),
            }
            for slide, own in counts.items()
        ],
        "sum": total,
        "average": {name: value / len(counts) for name, value in total.items()},
        "pooled_percent": percent(positive, negative),
        "mean_of_slides_percent": fmean(indices.values()),
    }


def write_gold(path: Path, counts: Counts) -> None:
    """Write the standard as CSV: :data:`GOLD_COLUMNS`."""
    rows: list[Sequence[object]] = [GOLD_COLUMNS]
    for slide, (positive, negative) in counts.items():
        cells = positive + negative
        rows.append((slide, positive, negative, cells, f"{100.0 * positive / cells:.6g}"))
    write_text(path, csv_text(rows))


def _read_counts(path: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    if path.is_dir():
        raise DataSetError(
            path,
            "is a folder, and nothing says how its labels are stored",
            "Give --layout for labelled ROIs, or --whole-slides for label files of whole slides.",
        )
    standards, warnings = read_standard(path)
    counts = {}
    for slide, standard in standards.items():
        if standard.counts is None:
            raise DataSetError(
                path, f"has no counts of positive and negative cells of the slide {slide!r}", "Give both columns."
            )
        counts[slide] = standard.counts
    return counts, warnings


def _sum(rois: Sequence[Roi]) -> tuple[int, int]:
    positive, negative = zip(*(roi.tumour_cells for roi in rois), strict=True)
    return sum(positive), sum(negative)


def _roi_warnings(rois: Sequence[Roi], layout: str | None) -> list[str]:
    warnings = [text for roi in rois if roi.field is not None for text in roi.field.warnings]
    if layout is None:
        return warnings
    if layout in ALL_NUCLEI:
        warnings.append(f"in the layout '{layout}' negative nuclei need not be tumour cells: this is no Ki-67 index")
    few = {slide: len(own) for slide, own in by_slide(rois).items() if len(own) < ROIS_A_SLIDE}
    small = {roi.name: sum(roi.tumour_cells) for roi in rois if sum(roi.tumour_cells) < ROI_CELLS}
    return [
        *warnings,
        *_too_few(few, f"slides with fewer ROIs than the {ROIS_A_SLIDE} of the paper's standard"),
        *_too_few(small, f"ROIs with fewer than the paper's {ROI_CELLS} tumour cells"),
    ]


def _too_few(found: Mapping[str, int], what: str) -> list[str]:
    shown = ", ".join(f"{name} ({number})" for name, number in list(found.items())[:_NAMES_SHOWN])
    return [f"{len(found)} {what}: {shown}" + (", …" if len(found) > _NAMES_SHOWN else "")] if found else []
