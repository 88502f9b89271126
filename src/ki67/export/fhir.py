"""The index for a hospital's records: one FHIR Observation, in JSON that R4 and R5 both take."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Final

from ki67.case import CaseView, Summary
from ki67.case.details import CaseDetails
from ki67.case.records import StageRecord
from ki67.corrected import CorrectedView
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
_IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def write_fhir(view: CaseView, target: Path) -> Summary:
    """Write the index as an Observation; who the patient is and which specimen it was, the receiver adds.

    Its status is ``preliminary``: nobody has signed it. A case without an index says so (``dataAbsentReason``). The
    identifier follows from the content of ``score.json`` and the corrections, so that the same result is the same
    Observation. Accession number, block and scanner are named where the case tells them; stain and clone stand in the
    method.

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
    write_json(target, _observation(view, stage, score))
    return {"index_percent": score.index_percent}


def _observation(view: CaseView, stage: StageRecord, score: Score) -> dict[str, Any]:
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "identifier": [
            {
                "system": "urn:ietf:rfc:3986",
                "value": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, view.score_sha256)}",
            }
        ],
        "status": "preliminary",
        "category": [_laboratory()],
        "code": {"coding": [KI67_CODE], "text": "Ki-67 index"},
        **({"effectiveDateTime": stage.started} if stage.started else {}),
        **_details(view.record.details),
        "method": {"text": _method(view.record.details, stage.versions["ki67"])},
        "note": [{"text": text} for text in (RESEARCH, *score.warnings)],
        "component": [*_components(score), *_automatic(view)],
    }
    if score.index_percent is None:
        observation["dataAbsentReason"] = {
            "coding": [{"system": _ABSENT, "code": "unknown"}],
            "text": "no index can be given; the notes say why",
        }
    else:
        observation["valueQuantity"] = _percent(score.index_percent)
    return observation


def _details(told: CaseDetails) -> dict[str, Any]:
    """What the laboratory told, as references by name: of which order, of which specimen, on which scanner."""
    found: dict[str, Any] = {}
    if told.accession is not None:
        kind = {"coding": [{"system": _IDENTIFIER_TYPES, "code": "ACSN", "display": "Accession ID"}]}
        found["basedOn"] = [{"identifier": {"type": kind, "value": told.accession}}]
    if told.block is not None:
        found["specimen"] = {"identifier": {"value": told.block}, "display": f"Block {told.block}"}
    if told.scanner is not None:
        found["device"] = {"display": told.scanner}
    return found


def _method(told: CaseDetails, version: str) -> str:
    stain = [text for text in (told.stain, told.antibody and f"clone {told.antibody}") if text]
    stained = f" ({', '.join(stain)})" if stain else ""
    return f"Positive of all tumour cells counted{stained}, by ki67 {version}"


def _automatic(view: CaseView) -> list[dict[str, Any]]:
    """The index without what people corrected, where they did."""
    if not isinstance(view, CorrectedView) or view.corrections.automatic.index_percent is None:
        return []
    text = {"text": "Ki-67 index as counted, without corrections by hand"}
    return [{"code": text, "valueQuantity": _percent(view.corrections.automatic.index_percent)}]


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
