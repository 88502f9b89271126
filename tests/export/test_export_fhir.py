"""The index as an Observation, read by FHIR's own models of R4B and R5."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from small_case import MakeCase

from ki67.domain import Check, Verdict
from ki67.export import export_case

CASES = ["fhir.resources.observation", "fhir.resources.R4B.observation"]


@pytest.mark.parametrize("module", CASES)
def test_the_index_is_an_observation(case: Path, module: str) -> None:
    pytest.importorskip("fhir.resources")
    told = export_case(case, case.parent / "index.fhir.json")

    text = (case.parent / "index.fhir.json").read_text(encoding="utf-8")
    read = import_module(module).Observation.model_validate_json(text)
    assert read.status == "preliminary"
    assert (read.code.coding[0].system, read.code.coding[0].code) == ("http://loinc.org", "29593-1")
    assert float(read.valueQuantity.value) == pytest.approx(told["index_percent"], abs=0.005)
    assert (read.valueQuantity.system, read.valueQuantity.code) == ("http://unitsofmeasure.org", "%")
    assert [part.valueInteger for part in read.component[:2]] == [171, 343]
    assert read.component[2].valueRange.low.value < read.valueQuantity.value < read.component[2].valueRange.high.value
    assert read.identifier[0].value.startswith("urn:uuid:")


def test_the_same_result_is_the_same_observation(case: Path) -> None:
    export_case(case, case.parent / "a.fhir.json")
    export_case(case, case.parent / "b.fhir.json")
    assert (case.parent / "a.fhir.json").read_bytes() == (case.parent / "b.fhir.json").read_bytes()


def test_without_an_index_it_says_so(make_case: MakeCase, tmp_path: Path) -> None:
    check = Check("stain", Verdict.unusable, "the stain is no DAB")
    export_case(make_case(checks=[check]), tmp_path / "index.fhir.json")

    told = json.loads((tmp_path / "index.fhir.json").read_text(encoding="utf-8"))
    assert "valueQuantity" not in told
    assert told["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    pytest.importorskip("fhir.resources.observation").Observation.model_validate(told)
