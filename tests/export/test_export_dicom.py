"""Bulk annotations and structured report, read back by highdicom."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from small_case import MPP, NO_OUTLINE, REGION_UM, MakeCase, cell_rows

from dicom_slides import write_dicom
from ki67.errors import CaseError, MissingExtraError
from ki67.export import export_case

hd = pytest.importorskip("highdicom")


def test_cells_are_groups_of_outlines_by_class(case: Path) -> None:
    told = export_case(case, case.parent / "cells.ann.dcm")

    read = hd.ann.annread(case.parent / "cells.ann.dcm")
    groups = {(group.label, group.graphic_type.value): group for group in read.get_annotation_groups()}
    counts = {kind: group.number_of_annotations for kind, group in groups.items()}
    assert counts == {
        ("Tumor: Positive", "POLYGON"): 170,
        ("Tumor: Positive", "POINT"): 1,
        ("Tumor: Negative", "POLYGON"): 343,
        ("Other", "POLYGON"): 85,
    }
    assert told["cells"] == sum(counts.values())
    rows = cell_rows(600)
    # From the top left of level 0, wherever QuPath counts from.
    negative = groups["Tumor: Negative", "POLYGON"]
    outline = negative.get_graphic_data("2D")[0]
    np.testing.assert_allclose(outline, rows.outlines_um[1] / MPP, atol=0.01)
    point = groups["Tumor: Positive", "POINT"].get_graphic_data("2D")[0]
    np.testing.assert_allclose(point, [[rows.x_um[NO_OUTLINE] / MPP, rows.y_um[NO_OUTLINE] / MPP]], atol=0.01)
    names, values, units = negative.get_measurements()
    assert ([name.meaning for name in names], [unit.value for unit in units]) == (["Area"], ["um2"])
    assert (values == 1).all()
    assert read.PatientID in {None, ""}


def test_the_index_and_the_region_are_a_measurement_report(case: Path) -> None:
    told = export_case(case, case.parent / "index.sr.dcm")

    report = hd.sr.srread(case.parent / "index.sr.dcm")
    (section,) = report.content.get_image_measurement_groups()
    found = {measurement.name.value: measurement for measurement in section.get_measurements()}
    assert found["29593-1"].value == pytest.approx(told["index_percent"])
    assert (found["29593-1"].name.scheme_designator, found["29593-1"].unit.value) == ("LN", "%")
    assert (found["positive"].value, found["negative"].value) == (171, 343)
    assert found["ci95-low"].value < told["index_percent"] < found["ci95-high"].value
    (region,) = report.content.get_planar_roi_measurement_groups()
    corners_mm = region.roi.value
    left, top, right, bottom = (edge / 1000 for edge in REGION_UM.bounds)
    np.testing.assert_allclose(corners_mm.min(axis=0), [left, top, 0], atol=1e-4)
    np.testing.assert_allclose(corners_mm.max(axis=0), [right, bottom, 0], atol=1e-4)
    assert region.get_measurements()[0].value == pytest.approx(REGION_UM.area / 1e6, rel=1e-3)
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )


def test_all_results_of_a_slide_refer_to_one_picture_and_stay_the_same(case: Path) -> None:
    import pydicom

    export_case(case, case.parent / "a.ann.dcm")
    export_case(case, case.parent / "b.ann.dcm")
    export_case(case, case.parent / "a.sr.dcm")
    first, again, report = (pydicom.dcmread(case.parent / name) for name in ("a.ann.dcm", "b.ann.dcm", "a.sr.dcm"))
    assert first.SOPInstanceUID == again.SOPInstanceUID != report.SOPInstanceUID
    assert first.StudyInstanceUID == report.StudyInstanceUID
    referred = (
        report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    )
    assert first.ReferencedImageSequence[0].ReferencedSOPInstanceUID == referred.ReferencedSOPInstanceUID


@pytest.fixture
def dicom_slide(tmp_path: Path) -> Path:
    """A DICOM slide of two levels in a folder of its own."""
    rgb = np.full((512, 768, 3), 200, np.uint8)
    facts = {"PatientID": "P-7", "PatientName": "", "StudyInstanceUID": "1.2.7", "AccessionNumber": "A-1"}
    (tmp_path / "slide").mkdir()
    write_dicom(tmp_path / "slide/b.dcm", rgb, MPP, **facts)
    write_dicom(tmp_path / "slide/a.dcm", rgb[::2, ::2], 2 * MPP, **facts)
    return tmp_path / "slide/b.dcm"


def test_results_of_a_dicom_slide_belong_to_its_study(make_case: MakeCase, dicom_slide: Path) -> None:
    import pydicom

    case = make_case(slide=dicom_slide)
    export_case(case, case.parent / "cells.ann.dcm")
    export_case(case, case.parent / "index.sr.dcm")

    source = pydicom.dcmread(dicom_slide)
    for name in ("cells.ann.dcm", "index.sr.dcm"):
        result = pydicom.dcmread(case.parent / name)
        assert (result.StudyInstanceUID, result.PatientID, result.AccessionNumber) == ("1.2.7", "P-7", "A-1")
    read = hd.ann.annread(case.parent / "cells.ann.dcm")
    assert read.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    # This slide lies turned in its frame of reference: x of the picture is y of the glass.
    (region,) = hd.sr.srread(case.parent / "index.sr.dcm").content.get_planar_roi_measurement_groups()
    extent = np.ptp(region.roi.value, axis=0)
    width, height = (
        (REGION_UM.bounds[2] - REGION_UM.bounds[0]) / 1000,
        (REGION_UM.bounds[3] - REGION_UM.bounds[1]) / 1000,
    )
    np.testing.assert_allclose(extent, [height, width, 0], atol=1e-4)


def test_a_dicom_slide_that_is_gone_or_another_is_said(make_case: MakeCase, dicom_slide: Path) -> None:
    case = make_case(slide=dicom_slide)
    dicom_slide.rename(dicom_slide.with_name("c.bak"))
    with pytest.raises(CaseError, match="its slide lies no longer at"):
        export_case(case, case.parent / "cells.ann.dcm")


def test_a_case_without_a_cell_in_its_region_has_none_to_write(make_case: MakeCase) -> None:
    case = make_case(1, allow_none=True)
    with pytest.raises(CaseError, match="has no cell in its region"):
        export_case(case, case.parent / "cells.ann.dcm")


def test_without_the_extra_it_says_how_to_get_it(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else found(name))
    for name in ("cells.ann.dcm", "index.sr.dcm"):
        with pytest.raises(MissingExtraError, match=r"pip install 'ki67\[dicom\]'"):
            export_case(case, case.parent / name)
