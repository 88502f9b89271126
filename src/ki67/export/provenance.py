"""Which run a result comes from."""

from __future__ import annotations

from ki67.case import CaseView
from ki67.case.artefacts import SCORED
from ki67.case.records import StageRecord
from ki67.case.view import AGAIN
from ki67.errors import CaseError


def score_stage(view: CaseView) -> StageRecord:
    """Record of the stage that wrote the score of a finished case; its ``versions`` name the program's.

    Raises
    ------
    CaseError
        Where the case holds no score, or does not tell which version of the program made it.
    """
    view.require_finished()
    stage = view.stages.get(SCORED)
    if stage is None or "ki67" not in stage.versions:
        raise CaseError(view.folder, "tells of no score made by a known version of the program", AGAIN)
    return stage
