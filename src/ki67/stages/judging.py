"""What the stages of a case thought of its slides and its region, and where that ends a run."""

from __future__ import annotations

from ki67.case import Case, Stage, Summary
from ki67.case.artefacts import IDC, JUDGED, REGION_JUDGED, REGIONS_TAKEN
from ki67.domain import Check, checks_of, checks_part, insist
from ki67.files import sha256_of
from ki67.options import Options
from ki67.progress import message
from ki67.stages.opened import CaseSlide, judge_slides, misfit, refusal


def judge(case: Case, ki67: CaseSlide | None, he: CaseSlide | None = None) -> None:
    """Judge whether the slides are what the program was validated on; :func:`require_usable` acts on it."""

    def work() -> Summary:
        message("judging stain and colours")
        return {"checks": checks_part(judge_slides(ki67, he)), "warnings": []}

    drawn = [sha256_of(section.drawn) if section and section.drawn else None for section in (he, ki67)]
    parameters = {"he": he.identity if he else None, "ki67": ki67.identity if ki67 else None, "drawn": drawn}
    case.run_stage(Stage(JUDGED, 6, ()), parameters, (), work)


def require_usable(case: Case, ki67: CaseSlide, options: Options) -> None:
    """Stop at slides whose stain or colours cannot give an index, unless the user wants one.

    Raises
    ------
    StainError
        With what was found, and what to do.
    """
    error = refusal(checks_so_far(case, options), ki67.slide.path)
    if error is not None:
        raise error


def require_fitting_region(case: Case, section: CaseSlide, options: Options) -> None:
    """Stop at a region that plainly belongs elsewhere, unless the user wants it.

    Raises
    ------
    RegionError
        With what was found, and what to do.
    """
    error = misfit(checks_so_far(case, options), options.regions or section.slide.path)
    if error is not None:
        raise error


def checks_so_far(case: Case, options: Options) -> list[Check]:
    """Return the checks of the stages that ran so far; a stain or region that the user insists on is marked."""
    found: list[Check] = []
    for name, summary in zip(case.used, case.summaries(), strict=True):
        checks = checks_of(summary.get("checks", {}))
        region = name in {IDC, REGIONS_TAKEN, REGION_JUDGED} and options.use_doubtful_region
        found += insist(checks) if region or (name == JUDGED and options.use_unusable_stain) else checks
    return found


def warnings_of(case: Case) -> list[str]:
    """Return what is to be said of the slides, then the warnings of the stages that ran so far, each once."""
    sources = [*case.manifest["inputs"].values(), *case.summaries()]
    return list(dict.fromkeys(line for source in sources for line in source["warnings"]))
