"""What people corrected is what every format holds, and the automatic index stands beside it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from shapely.geometry import box, mapping

from ki67.case import read_case
from ki67.case.corrections import Add, Exclude, Relabel, Remove, ReplaceRegion, Undo, What
from ki67.case.manifest import MANIFEST
from ki67.corrected import CorrectedView, read_corrected
from ki67.correcting import correct, corrected
from ki67.export import FORMATS, export_case
from ki67.files import read_json, write_json
from ki67.vocabulary import BY_HAND

Run = Callable[..., Any]


def cell(table: pa.Table, row: int) -> dict[str, Any]:
    return {
        "cell": table["cell_id"][row].as_py(),
        "x_um": table["x_um"][row].as_py(),
        "y_um": table["y_um"][row].as_py(),
    }


def made(folder: Path, *whats: What) -> None:
    for what in whats:
        correct(folder, what, by="Dr A", why="seen")


@pytest.fixture
def changed(case: Path) -> Path:
    """One cell made negative, one removed, one added, a corner left out."""
    table = read_case(case).cells
    corner = dict(mapping(box(0, 0, 260, 170)))
    made(
        case,
        Relabel(**cell(table, 150), to="negative"),
        Remove(**cell(table, 250)),
        Add(x_um=700.0, y_um=333.0, label="positive"),
        Exclude(area=corner),
    )
    return case


def test_the_view_has_the_cells_as_they_are_now(changed: Path) -> None:
    plain, view = read_case(changed), read_corrected(changed)
    assert isinstance(view, CorrectedView)
    before, now = plain.cells, view.cells
    assert now.schema.equals(before.schema)
    assert len(now) == len(before)
    assert before["label"][150].as_py() == "positive"
    assert now["label"][150].as_py() == "negative"
    assert before["cell_id"][250].as_py() not in now["cell_id"].to_pylist()
    last = now.slice(len(now) - 1).to_pylist()[0]
    assert (last["x_um"], last["label"], last["in_region"], last["area_um2"], last["outline_um"]) == (
        *(700.0, "positive", True, None, None),
    )
    out = now.filter(pc.equal(now["excluded"], BY_HAND.name))
    assert len(out) > 10
    assert not pc.any(out["in_region"]).as_py()
    assert view.excluded is not None
    assert view.excluded.area_mm2 == pytest.approx(0.16 * 0.07)
    # All but what was corrected is as it was.
    assert now["outline_um"][:150].equals(before["outline_um"][:150])
    assert now["outline_um"][250:-1].combine_chunks().equals(before["outline_um"][251:].combine_chunks())


def test_columns_and_rows_are_read_as_of_any_view(changed: Path) -> None:
    view = read_corrected(changed)
    few = view.read_cells(["label", "x_um"], pc.field("y_um") > 160)
    whole = view.cells
    assert few.column_names == ["label", "x_um"]
    assert few.equals(whole.filter(pc.field("y_um") > 160).select(["label", "x_um"]))


def test_every_format_tells_the_corrected_numbers(changed: Path, tmp_path: Path) -> None:
    found = corrected(changed)
    automatic, score = found.automatic, found.score
    assert score.index_percent != automatic.index_percent

    export_case(changed, tmp_path / "c.geojson")
    features = json.loads((tmp_path / "c.geojson").read_text("utf-8"))["features"]
    kinds = Counter(one["properties"]["classification"]["name"] for one in features)
    assert (kinds["Tumor: Positive"], kinds["Tumor: Negative"]) == (score.positive, score.negative)

    export_case(changed, tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    inside = Counter(row["label"] for row in rows if row["in_region"] == "true")
    assert (inside["positive"], inside["negative"]) == (score.positive, score.negative)
    # A class of intensity follows the corrected label; what was added has no density.
    assert score.intensity is not None
    graded = Counter(row["intensity"] for row in rows if row["in_region"] == "true")
    assert {name: graded[name] for name in score.intensity.cells} == score.intensity.cells
    assert sum(score.intensity.cells.values()) == score.cells - 1

    export_case(changed, tmp_path / "c.parquet")
    table = pq.read_table(tmp_path / "c.parquet")
    assert pc.sum(pc.and_(table["in_region"], pc.equal(table["label"], "positive"))).as_py() == score.positive

    export_case(changed, tmp_path / "c.fhir.json")
    told = read_json(tmp_path / "c.fhir.json", ValueError, "")  # type: ignore[arg-type]
    assert told["valueQuantity"]["value"] == pytest.approx(score.index_percent, abs=0.0051)
    last = told["component"][-1]
    assert "without corrections" in last["code"]["text"]
    assert last["valueQuantity"]["value"] == pytest.approx(automatic.index_percent, abs=0.0051)
    assert any("4 corrections by hand" in note["text"] for note in told["note"])


def test_dicom_holds_them_too_and_is_another_instance(changed: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    score = corrected(changed).score
    uids = set()
    for name in ("a", "b"):
        export_case(changed, tmp_path / f"{name}.ann.dcm")
        export_case(changed, tmp_path / f"{name}.sr.dcm")
        annotations = pydicom.dcmread(tmp_path / f"{name}.ann.dcm")
        counts = {one.AnnotationGroupLabel: 0 for one in annotations.AnnotationGroupSequence}
        for one in annotations.AnnotationGroupSequence:
            counts[one.AnnotationGroupLabel] += one.NumberOfAnnotations
        report = pydicom.dcmread(tmp_path / f"{name}.sr.dcm")
        uids |= {annotations.SOPInstanceUID, report.SOPInstanceUID}
        if name == "a":
            assert counts["Tumor: Positive"] == score.positive
            assert "without corrections by hand" in str(report)
            made(changed, Undo())
    assert len(uids) == 4


def test_a_moved_region_is_the_region_that_is_exported(case: Path) -> None:
    made(case, ReplaceRegion(area=dict(mapping(box(120, 120, 1500, 1300)))))
    view = read_corrected(case)
    assert view.regions_ki67 is not None
    assert view.regions_ki67.area_mm2 == pytest.approx(1.38 * 1.18)
    assert [one.region_id for one in view.regions_ki67] == ["left"]
    assert view.score.cells < read_case(case).score.cells


def test_what_is_all_taken_back_is_the_case_itself(case: Path, tmp_path: Path) -> None:
    files = [one for one in FORMATS if not one.folder]
    for one in files:
        export_case(case, tmp_path / f"before{one.suffixes[0]}")
    made(case, Remove(**cell(read_case(case).cells, 5)), Undo())
    assert not isinstance(read_corrected(case), CorrectedView)
    for one in files:
        after = tmp_path / f"after{one.suffixes[0]}"
        export_case(case, after)
        if "dcm" not in one.suffixes[0] and "ome" not in one.suffixes[0]:
            assert after.read_bytes() == (tmp_path / f"before{one.suffixes[0]}").read_bytes()


def test_details_stand_where_they_belong(case: Path, tmp_path: Path) -> None:
    manifest = read_json(case / MANIFEST, ValueError, "")  # type: ignore[arg-type]
    told = {"accession": "A26-17", "block": "2B", "stain": "Ki-67", "antibody": "MIB-1", "scanner": "GT 450"}
    write_json(case / MANIFEST, manifest | {"details": told})
    export_case(case, tmp_path / "c.fhir.json")
    read = json.loads((tmp_path / "c.fhir.json").read_text("utf-8"))
    pytest.importorskip("fhir.resources.observation").Observation.model_validate(read)
    assert read["basedOn"][0]["identifier"]["value"] == "A26-17"
    assert read["specimen"]["identifier"]["value"] == "2B"
    assert read["device"]["display"] == "GT 450"
    assert "(Ki-67, clone MIB-1)" in read["method"]["text"]

    pydicom = pytest.importorskip("pydicom")
    export_case(case, tmp_path / "c.sr.dcm")
    assert pydicom.dcmread(tmp_path / "c.sr.dcm").AccessionNumber == "A26-17"


def test_an_accession_number_too_long_for_dicom_is_refused(ki67: Run, case: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    manifest = read_json(case / MANIFEST, ValueError, "")  # type: ignore[arg-type]
    write_json(case / MANIFEST, manifest | {"details": {"accession": "A" * 17}})
    done = ki67("export", case, tmp_path / "c.sr.dcm")
    assert done.code == 1
    assert "16 characters" in done.stderr
