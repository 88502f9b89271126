"""The index as a DICOM structured report: TID 1500, Measurement Report (PS3.16)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ki67.case import CaseView, Summary
from ki67.corrected import CorrectedView
from ki67.export.dicom_source import MANUFACTURER, MODEL, require_dicom, source_image, stable_uid
from ki67.export.fhir import KI67_CODE
from ki67.export.provenance import score_stage
from ki67.files import atomic_path
from ki67.geometry import polygons_of
from ki67.scoring import Score
from ki67.slides import PixelFrame

if TYPE_CHECKING:
    from highdicom.sr import AlgorithmIdentification, Measurement
    from pydicom import Dataset

SERIES_NUMBER: Final = 68
SCHEME: Final = "99KI67"
"""Our own codes, where DICOM, LOINC and SNOMED have none; two nines mark them as private (PS3.16, 8)."""

_UM2_PER_MM2: Final = 1e6
_Measured = tuple[str, str, str, float | None, str]


def write_report(view: CaseView, target: Path) -> Summary:
    """Write index, counts and interval, and the outline of each part of the region that was counted.

    The report is neither final nor verified: nobody has signed it. Outlines are in mm in the slide's frame of
    reference (SCOORD3D), without their holes, which it has no place for; the area of each is that of the outline.

    Returns
    -------
    dict
        ``index_percent``.

    Raises
    ------
    MissingExtraError
        Where highdicom is not installed.
    CaseError
        Where the case holds no score, or its DICOM slide cannot be referred to.
    WriteError
        Where the file cannot be written.
    """
    require_dicom()
    from highdicom.sr import AlgorithmIdentification, Comprehensive3DSR
    from pydicom.uid import ImplicitVRLittleEndian

    stage, score = score_stage(view), view.score
    image, version = source_image(view), stage.versions["ki67"]
    content = f"{view.score_sha256} {image.SOPInstanceUID} {version}"
    algorithm = AlgorithmIdentification(MODEL, version)
    report = Comprehensive3DSR(
        [image],
        _measurement_report(view, score, image, algorithm),
        series_instance_uid=stable_uid("report, series", content),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid("report", content),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=version,
        is_complete=True,
        # An outline may be longer than an explicit representation has room for.
        transfer_syntax_uid=ImplicitVRLittleEndian,
    )
    with atomic_path(target) as path:
        report.save_as(path)
    return {"index_percent": score.index_percent}


def _measurement_report(view: CaseView, score: Score, image: Dataset, algorithm: AlgorithmIdentification) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        stable_uid("device"), MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL
    )
    section = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(stable_uid("section", image.SOPInstanceUID), "section"),
        finding_type=codes.SCT.Tissue,
        measurements=_measurements(score, algorithm, _automatic_percent(view)),
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
    return sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        codes.SCT.LightMicroscopy,
        [section, *_outlines(view, image)],
    )


def _automatic_percent(view: CaseView) -> float | None:
    """The index without what people corrected; None where they did not."""
    return view.corrections.automatic.index_percent if isinstance(view, CorrectedView) else None


def _measurements(
    score: Score, algorithm: AlgorithmIdentification, automatic_percent: float | None
) -> list[Measurement]:
    from highdicom.sr import CodedConcept, Measurement
    from pydicom.sr.codedict import codes

    low, high = score.ci95_percent or (None, None)
    found: list[_Measured] = [
        (KI67_CODE["code"], "LN", KI67_CODE["display"], score.index_percent, "%"),
        ("ci95-low", SCHEME, "Lower limit of the 95 % interval of the Ki-67 index", low, "%"),
        ("ci95-high", SCHEME, "Upper limit of the 95 % interval of the Ki-67 index", high, "%"),
        ("positive", SCHEME, "Positive tumor cells", score.positive, "1"),
        ("negative", SCHEME, "Negative tumor cells", score.negative, "1"),
        ("automatic", SCHEME, "Ki-67 index as counted, without corrections by hand", automatic_percent, "%"),
    ]
    units = {"%": codes.UCUM.Percent, "1": codes.UCUM.NoUnits}
    return [
        Measurement(CodedConcept(code, scheme, meaning), value, units[unit], algorithm_id=algorithm)
        for code, scheme, meaning, value, unit in found
        if value is not None
    ]


def _outlines(view: CaseView, image: Dataset) -> list[Any]:
    """One group for each part of the counted region; none where all tissue was counted."""
    from highdicom import sr
    from highdicom.spatial import ImageToReferenceTransformer
    from pydicom.sr.codedict import codes
    from shapely.geometry import Polygon

    frame = PixelFrame(view.frame("ki67").mpp)
    to_mm = ImageToReferenceTransformer.for_image(image, for_total_pixel_matrix=True)
    groups = []
    for region in view.regions_ki67 or ():
        for number, polygon in enumerate(polygons_of(region.geometry), start=1):
            corners = to_mm(frame.to_px(np.asarray(polygon.exterior.coords)[:, :2]))
            area_mm2 = Polygon(polygon.exterior).area / _UM2_PER_MM2
            name = f"{region.region_id}, part {number}"
            groups.append(
                sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                    sr.TrackingIdentifier(stable_uid("region", image.SOPInstanceUID, name), name),
                    sr.ImageRegion3D("POLYGON", corners, image.FrameOfReferenceUID),
                    finding_type=codes.SCT.Neoplasm,
                    measurements=[sr.Measurement(codes.SCT.Area, area_mm2, codes.UCUM.SquareMillimeter)],
                )
            )
    return groups
