"""What a manifest tells, typed: the slides of a case, its stages, and what each was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ki67.case.details import CaseDetails
from ki67.errors import CaseError, first_fault


class SlideRecord(BaseModel):
    """A slide as it was when the case was made.

    ``mpp`` is in µm per pixel of level 0; ``origin_px`` is where QuPath counts pixels from
    (:class:`ki67.slides.PixelFrame`).
    """

    model_config = ConfigDict(frozen=True)

    path: str
    reader: str
    size_px: tuple[int, int]
    mpp: float
    mpp_source: str
    mpp_contradicts_file: bool
    mpp_of_file: str | None
    origin_px: tuple[float, float] | None = None
    fingerprint: dict[str, int | str]
    warnings: tuple[str, ...]


class StageRecord(BaseModel):
    """What one stage was made from, with what, and what it said.

    ``versions`` are those of the program and its libraries when the stage ran, ``provider`` is what ran its model
    (ONNX Runtime's name), ``outputs`` the SHA-256 of each file it wrote. Stages of versions before these were kept
    lack ``version`` and ``provider``, and carry the versions of the run that last opened the folder.
    """

    model_config = ConfigDict(frozen=True)

    state: str
    version: int | None = None
    parameters: dict[str, Any] = {}
    reads: tuple[str, ...] = ()
    outputs: dict[str, str] = {}
    versions: dict[str, str] = {}
    provider: str | None = None
    started: str | None = None
    seconds: float = 0.0
    peak_memory_mib: float | None = None
    summary: dict[str, Any] = {}
    error: str | None = None

    @property
    def done(self) -> bool:
        """Whether it ended."""
        return self.state == "done"


class CaseRecord(BaseModel):
    """A whole manifest; ``state`` is ``running``, ``done`` or ``failed``, then with its ``error``.

    ``details`` is what the laboratory told of the case.
    """

    model_config = ConfigDict(frozen=True)

    command: str
    state: str
    error: str | None = None
    inputs: dict[str, SlideRecord]
    models: dict[str, str]
    stages: dict[str, StageRecord]
    details: CaseDetails = CaseDetails()


def case_record(folder: Path, manifest: Mapping[str, Any], way_out: str) -> CaseRecord:
    """Make a manifest that was read (:func:`ki67.case.manifest.read_manifest`) typed.

    Raises
    ------
    CaseError
        Where an entry is missing, such as in a case of a much older version, or of another kind.
    """
    older = {"versions": manifest["versions"]} if "versions" in manifest else {}
    stages = {name: {**older, **record} for name, record in manifest["stages"].items()}
    try:
        return CaseRecord.model_validate({"state": "done", **manifest, "stages": stages})
    except ValidationError as error:
        msg = f"holds a manifest of another version or a damaged one ({first_fault(error.errors())})"
        raise CaseError(folder, msg, way_out) from error
