"""The slide that DICOM results refer to: its own header, or for slides of other formats one made for it."""

from __future__ import annotations

import importlib.util
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ki67.case import CaseView
from ki67.case.details import CaseDetails
from ki67.case.records import SlideRecord
from ki67.errors import CaseError, MissingExtraError
from ki67.slides.dicom import WHOLE_SLIDE_CLASS, read_head

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER: Final = "ki67 project"
MODEL: Final = "ki67"

_NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_MAY_BE_EMPTY: Final = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_MM_PER_UM: Final = 1e-3
_LONGEST_ACCESSION: Final = 16
"""Characters of a short string (SH) in DICOM."""


def require_dicom() -> None:
    """Stop where the packages that write DICOM are not installed.

    Raises
    ------
    MissingExtraError
        Says how to install them.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise MissingExtraError("dicom", "an export as DICOM")


def stable_uid(*facts: str) -> str:
    """UID that follows from facts (DICOM PS3.5 B.2, under 2.25): the same facts give the same one."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, ' '.join(('ki67', *facts))).int}"


def source_image(view: CaseView) -> Dataset:
    """Header of the whole-slide image of level 0 of the Ki-67 slide.

    A slide of another format has none: one is made, with the slide's size and pixel size, nobody's name, and UIDs
    that follow from its content, so that all results of one slide refer to one study, image and frame of reference.
    Its frame of reference begins at the top left of level 0, x right and y down.

    Raises
    ------
    CaseError
        Where a DICOM slide is no longer what the case was made from, or its header lacks what results refer to.
    SlideError
        Where it cannot be opened.
    """
    record = view.ki67
    if record is None:
        raise CaseError(view.folder, "was made without a Ki-67 slide", "Count one with 'ki67 count'.")
    path = view.place("ki67")
    if path.suffix.lower() == ".dcm" or path.is_dir() or (path.is_file() and read_head(path) is not None):
        with view.open_slide("ki67") as slide:
            return _own_header(slide.path, record)
    return _made_header(record, view.record.details, view.folder)


def _own_header(path: Path, record: SlideRecord) -> Dataset:
    import pydicom

    own = read_head(path)
    heads = [read_head(file) for file in sorted(path.parent.iterdir()) if file.is_file()]
    found = [
        head.path
        for head in heads
        if head is not None and own is not None
        if (head.series, head.size_px, head.is_volume) == (own.series, record.size_px, True)
    ]
    if not found:
        size = " x ".join(map(str, record.size_px))
        raise CaseError(path, f"lies beside no picture of {size} px of its series", "Put the slide's files together.")
    header = pydicom.dcmread(found[0], stop_before_pixels=True)
    missing = [name for name in _NEEDED if not header.get(name)]
    if missing:
        raise CaseError(found[0], f"has no {missing[0]}, to which results refer", "Have the slide converted anew.")
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, None)
    return header


def _made_header(record: SlideRecord, told: CaseDetails, folder: Path) -> Dataset:
    from pydicom import Dataset

    if len(told.accession or "") > _LONGEST_ACCESSION:
        found = f"has the accession number '{told.accession}', and DICOM holds {_LONGEST_ACCESSION} characters"
        raise CaseError(folder, found, "Give a shorter one: ki67 report CASE --accession TEXT.")

    content = json.dumps(record.fingerprint, sort_keys=True)
    width, height = record.size_px
    spacing_mm = record.mpp * _MM_PER_UM
    header = Dataset()
    facts: dict[str, Any] = {
        **dict.fromkeys(_MAY_BE_EMPTY),
        **{name: stable_uid(name, content) for name in _NEEDED},
        "AccessionNumber": told.accession,
        "SOPClassUID": WHOLE_SLIDE_CLASS,
        "Modality": "SM",
        "ImageType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        "Rows": height,
        "Columns": width,
        "TotalPixelMatrixRows": height,
        "TotalPixelMatrixColumns": width,
        "ImageOrientationSlide": [1, 0, 0, 0, 1, 0],
        "TotalPixelMatrixOriginSequence": _sequence(
            XOffsetInSlideCoordinateSystem=spacing_mm / 2, YOffsetInSlideCoordinateSystem=spacing_mm / 2
        ),
        "SharedFunctionalGroupsSequence": _sequence(
            PixelMeasuresSequence=_sequence(PixelSpacing=[spacing_mm, spacing_mm])
        ),
        "ContainerIdentifier": "unknown",
        "IssuerOfTheContainerIdentifierSequence": [],
        "ContainerTypeCodeSequence": _sequence(
            CodeValue="433466003", CodingSchemeDesignator="SCT", CodeMeaning="Microscope slide"
        ),
        "SpecimenDescriptionSequence": _sequence(
            SpecimenIdentifier=told.block or "unknown",
            SpecimenUID=stable_uid("SpecimenUID", content),
            IssuerOfTheSpecimenIdentifierSequence=[],
            SpecimenPreparationSequence=[],
        ),
    }
    for name, value in facts.items():
        setattr(header, name, value)
    return header


def _sequence(**facts: Any) -> list[Dataset]:
    from pydicom import Dataset

    item = Dataset()
    for name, value in facts.items():
        setattr(item, name, value)
    return [item]
