"""Cells as DICOM Microscopy Bulk Simple Annotations (PS3.3 A.87), for slide viewers and archives of a hospital."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ki67.annotations import CELL_CLASSES
from ki67.case import CaseView, Summary
from ki67.errors import CaseError
from ki67.export.cells import counted_cells
from ki67.export.dicom_source import MANUFACTURER, MODEL, require_dicom, source_image, stable_uid
from ki67.export.provenance import score_stage
from ki67.files import atomic_path
from ki67.slides import PixelFrame
from ki67.vocabulary import CLASSES

if TYPE_CHECKING:
    from highdicom.ann import AnnotationGroup

SERIES_NUMBER: Final = 67
SERIAL_NUMBER: Final = "none"
"""DICOM asks for one; a program has none."""

Shape = NDArray[np.float32]
Kind = tuple[int, str]
"""Place of a class among :data:`ki67.vocabulary.CLASSES`, and what its cells are drawn as."""


def write_annotations(view: CaseView, target: Path) -> Summary:
    """Write the counted cells as one group per class: outlines of nuclei with their areas, or centres.

    Coordinates are two-dimensional, in pixels of the total pixel matrix from its top left, as 32-bit floats. UIDs
    follow from the case's files, so that equal cells are the same instance.

    Returns
    -------
    dict
        ``cells``: how many were written.

    Raises
    ------
    MissingExtraError
        Where highdicom is not installed.
    CaseError
        Where the case holds no counted cells, none in its region, or its DICOM slide cannot be referred to.
    WriteError
        Where the file cannot be written.
    """
    require_dicom()
    from highdicom.ann import MicroscopyBulkSimpleAnnotations

    stage = score_stage(view)
    frame = PixelFrame(view.frame("ki67").mpp)
    shapes, areas = _shapes(view, frame)
    if not shapes:
        raise CaseError(view.folder, "has no cell in its region", "Count a region with cells.")
    image, version = source_image(view), stage.versions["ki67"]
    content = f"{view.cells_sha256} {image.SOPInstanceUID} {version}"
    groups = [
        _group(number, kind, shapes[kind], areas[kind], version, content)
        for number, kind in enumerate(sorted(shapes), start=1)
    ]
    annotations = MicroscopyBulkSimpleAnnotations(
        [image],
        "2D",
        groups,
        series_instance_uid=stable_uid("annotations, series", content),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid("annotations", content),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=version,
        device_serial_number=SERIAL_NUMBER,
        content_label="KI67_CELLS",
        content_description="Cells counted for the Ki-67 index",
    )
    with atomic_path(target) as path:
        annotations.save_as(path)
    return {"cells": sum(map(len, shapes.values()))}


def _shapes(view: CaseView, frame: PixelFrame) -> tuple[dict[Kind, list[Shape]], dict[Kind, list[float]]]:
    """Outlines, or centres, in pixels (K, 2), and areas in µm², of all cells by kind."""
    shapes: defaultdict[Kind, list[Shape]] = defaultdict(list)
    areas: defaultdict[Kind, list[float]] = defaultdict(list)
    for part in counted_cells(view):
        corners, centres = (
            frame.to_px(places).astype(np.float32) for places in (part.corners_um, part.centres_um[:, None])
        )
        outlines = np.split(corners, np.cumsum(part.counts))[:-1]
        measured = part.measurements["area_um2"].tolist()
        for one, outline, centre, area in zip(part.classes.tolist(), outlines, centres, measured, strict=True):
            kind = (one, "POLYGON") if len(outline) else (one, "POINT")
            shapes[kind].append(outline if len(outline) else centre)
            areas[kind].append(area)
    return shapes, areas


def _group(
    number: int, kind: Kind, shapes: list[Shape], areas: list[float], version: str, content: str
) -> AnnotationGroup:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.ann import AnnotationGroup, Measurements
    from highdicom.color import CIELabColor
    from pydicom.sr.codedict import codes

    place, graphic = kind
    name, color = CELL_CLASSES[CLASSES[place]]
    return AnnotationGroup(
        number,
        stable_uid("annotation group", content, name, graphic),
        name,
        annotated_property_category=codes.SCT.AnatomicalStructure,
        annotated_property_type=codes.SCT.Nucleus,
        graphic_type=graphic,
        graphic_data=shapes,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(MODEL, codes.DCM.ArtificialIntelligence, version),
        measurements=[Measurements(codes.SCT.Area, np.asarray(areas, np.float64), codes.UCUM.SquareMicrometer)],
        display_color=CIELabColor.from_rgb(*color),
    )
