"""Labelled cells by region of interest (ROI) and slide, from the files that people made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ki67.csv_rows import read_rows
from ki67.errors import DataSetError, PixelSizeError
from ki67.evaluation.rules import SlideOf
from ki67.fields.labelled_fields import LABEL_SUFFIXES, LabelledField, Points, read_fields, read_labels
from ki67.vocabulary import TUMOUR_CLASSES

_SLIDES_LAYOUT: Final = "Give a CSV file with the columns roi,slide, each ROI on one line (its name without suffix)."


@dataclass(frozen=True)
class Roi:
    """Labelled cells of one ROI, or of a whole slide: ``points`` (N, 2) in µm by class.

    ``field`` is the picture that was labelled; None where there are only labels.
    """

    slide: str
    name: str
    points: Mapping[str, Points]
    field: LabelledField | None = None

    @property
    def tumour_cells(self) -> tuple[int, int]:
        """Numbers of positive and of negative tumour cells."""
        positive, negative = (len(self.points[name]) for name in TUMOUR_CLASSES)
        return positive, negative


def read_rois(
    folder: Path, layout: str, slide_of: SlideOf | Path, mpp: float | None, *, mpp_overrides_file: bool
) -> list[Roi]:
    """Read labelled ROIs in one of the layouts of :class:`ki67.vocabulary.Layout`.

    Parameters
    ----------
    folder
        The data set; by :attr:`SlideOf.folder` it holds one data set for each slide.
    layout, mpp, mpp_overrides_file
        As for :func:`ki67.fields.labelled_fields.read_fields`.
    slide_of
        A rule, or a CSV file with the columns ``roi`` and ``slide``.

    Raises
    ------
    DataSetError, PixelSizeError
        As ``read_fields``; and where the CSV does not name the slide of each ROI.
    """
    if not folder.is_dir():
        raise DataSetError(folder, "is not a folder", "Name the folder of the labelled ROIs.")
    folders = {"": folder}
    if slide_of is SlideOf.folder:
        folders = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
        if not folders:
            raise DataSetError(folder, "has no subfolder", "Make one for each slide, or choose --slide-of name.")
    known = _slides_told(slide_of) if isinstance(slide_of, Path) else None
    rois = []
    for subfolder, path in folders.items():
        for field in read_fields(path, layout, mpp, overrides_file=mpp_overrides_file):
            slide = subfolder or (_slide_by_name(field.name) if known is None else known.get(field.name, ""))
            if not slide:
                raise DataSetError(Path(str(slide_of)), f"names no slide for the ROI {field.name!r}", _SLIDES_LAYOUT)
            rois.append(Roi(slide, field.name, field.points, field))
    return rois


def read_whole_slides(folder: Path, mpp: float | None) -> list[Roi]:
    """Read the labels of whole slides, a GeoJSON or a CSV of points each; the file's name is the slide's.

    Parameters
    ----------
    folder
        The label files; pictures are not needed.
    mpp
        Pixel size of all the slides in µm.

    Raises
    ------
    DataSetError, AnnotationError
        Where there is no label file, two are of one name, or one is not as described.
    PixelSizeError
        Where no pixel size is given.
    """
    if not folder.is_dir():
        raise DataSetError(folder, "is not a folder", "Name the folder of the slides' label files.")
    if mpp is None:
        raise PixelSizeError(folder, "holds labels without their slides, so no pixel size", "Give it with --mpp.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in reversed(LABEL_SUFFIXES) if path.name.lower().endswith(end)), None)
        if suffix is not None:
            name = path.name[: -len(suffix)]
            if name in files:
                raise DataSetError(path, f"has the name of {files[name].name}", "Keep one label file for each slide.")
            files[name] = path
    if not files:
        raise DataSetError(folder, f"holds no label file ({', '.join(LABEL_SUFFIXES)})", "Export the labels there.")
    return [Roi(name, name, read_labels(path, mpp)) for name, path in files.items()]


def _slide_by_name(roi: str) -> str:
    return roi.rpartition("_")[0] or roi


def _slides_told(path: Path) -> dict[str, str]:
    slides: dict[str, str] = {}
    for row in read_rows(path, ("roi", "slide"), _SLIDES_LAYOUT):
        if row.text("roi") in slides:
            raise row.error(f"names the ROI {row.text('roi')!r} again")
        slides[row.text("roi")] = row.text("slide")
    return slides


def by_slide(rois: Sequence[Roi]) -> dict[str, list[Roi]]:
    """ROIs of each slide, in the order in which the slides come."""
    slides: dict[str, list[Roi]] = {}
    for roi in rois:
        slides.setdefault(roi.slide, []).append(roi)
    return slides
