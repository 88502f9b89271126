"""Registering the two sections of a case."""

from __future__ import annotations

from ki67 import registration
from ki67.case import Case, Stage, Summary
from ki67.case.artefacts import DISPLACEMENTS, QUALITY, TRANSFORM
from ki67.errors import RegistrationError
from ki67.files import write_json
from ki67.options import Adjustment, Options
from ki67.progress import message
from ki67.stages.opened import CaseSlide
from ki67.vocabulary import RegistrationMode


def register(
    case: Case, he: CaseSlide, ki67: CaseSlide, mode: RegistrationMode, adjustment: Adjustment | None
) -> Summary:
    """Write the transform and its quality, believable or not."""
    by_hand = adjustment.read(he.slide, ki67.slide) if adjustment else None

    def work() -> Summary:
        message("registering the two sections")
        transform, quality = registration.register(
            he.slide, ki67.slide, he.tissue, ki67.tissue, mode=mode, by_hand=by_hand
        )
        registration.write_transform(case.path(TRANSFORM), transform)
        write_json(case.path(QUALITY), quality.to_dict())
        return {"accepted": quality.accepted, "ncc": quality.ncc, "warnings": list(quality.warnings)}

    parameters = {"he": he.identity, "ki67": ki67.identity, "mode": mode}
    if adjustment:
        parameters["adjustment"] = adjustment.identity
    return case.run_stage(Stage("registration", 6, (TRANSFORM, QUALITY), DISPLACEMENTS), parameters, (), work)


def require_believable(case: Case, options: Options) -> None:
    """Stop at a registration that was not accepted, unless the user wants it.

    Raises
    ------
    RegistrationError
        With the reasons, and what to do.
    """
    quality = case.read_json(QUALITY)
    if quality["accepted"] or options.use_unaccepted_registration:
        return
    msg = (
        f"the registration is not believable: {'; '.join(quality['reasons'])}. Check that the slides are serial "
        "sections of one block; then help with pairs of places seen on both (--landmarks FILE), or outline the "
        "region on the Ki-67 slide and use 'ki67 count --regions', or accept this registration with "
        "--use-unaccepted-registration"
    )
    raise RegistrationError(msg)
