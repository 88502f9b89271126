"""The index for a hospital's records: one FHIR Observation, in JSON that R4 and R5 both take."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Final

from ki67.case import CaseView, Summary
from ki67.case.artefacts import SCORE
from ki67.case.records import StageRecord
from ki67.export.provenance import score_stage
from ki67.files import write_json
from ki67.scoring import Score

KI67_CODE: Final = {
    "system": "http://loinc.org",
    "code": "29593-1",
    "display": "Cells.Ki-67 nuclear Ag/cells in Tissue by Immune stain",
}
"""LOINC's term for the share of cells with nuclear Ki-67 in tissue, by immune stain."""

PERCENT: Final = {"unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
DECIMALS: Final = 2
"""Of a percentage; in FHIR the digits of a decimal say how precise it is."""

RESEARCH: Final = "Research software, not a medical device: not for diagnosis."
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def write_fhir(view: CaseView, target: Path) -> Summary:
    """Write the index as an Observation; who the patient is and which specimen it was, the receiver adds.

    Its status is ``preliminary``: nobody has signed it. A case without an index says so (``dataAbsentReason``). The
    identifier follows from the content of ``score.json``, so that the same result is the same Observation.

    Returns
    -------
    dict
        ``index_percent``.

    Raises
    ------
    CaseError
        Where the case holds no score.
    WriteError
        Where the file cannot be written.
    """
    stage, score = score_stage(view), view.score
    write_json(target, _observation(stage, score))
    return {"index_percent": score.index_percent}


def _observation(stage: StageRecord, score: Score) -> dict[str, Any]:
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "identifier": [
            {
                "system": "urn:ietf:rfc:3986",
                "value": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, stage.outputs[SCORE])}",
            }
        ],
        "status": "preliminary",
        "category": [_laboratory()],
        "code": {"coding": [KI67_CODE], "text": "Ki-67 index"},
        **({"effectiveDateTime": stage.started} if stage.started else {}),
        "method": {"text": f"Positive of all tumour cells counted, by ki67 {stage.versions['ki67']}"},
        "note": [{"text": text} for text in (RESEARCH, *score.warnings)],
        "component": _components(score),
    }
    if score.index_percent is None:
        observation["dataAbsentReason"] = {
            "coding": [{"system": _ABSENT, "code": "unknown"}],
            "text": "no index can be given; the notes say why",
        }
    else:
        observation["valueQuantity"] = _percent(score.index_percent)
    return observation


def _laboratory() -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {"coding": [{"system": system, "code": "laboratory", "display": "Laboratory"}]}


def _components(score: Score) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"code": {"text": "Positive tumour cells"}, "valueInteger": score.positive},
        {"code": {"text": "Negative tumour cells"}, "valueInteger": score.negative},
    ]
    if score.ci95_percent is not None:
        low, high = score.ci95_percent
        limits = {"low": _percent(low), "high": _percent(high)}
        parts.append({"code": {"text": "95 % interval of the Ki-67 index"}, "valueRange": limits})
    return parts


def _percent(value: float) -> dict[str, Any]:
    return {"value": round(value, DECIMALS), **PERCENT}
