"""The stages of a case, each resumable: what it reads, what decides its result, what it writes."""

from ki67.stages.counting import count, excluded_regions, model_deviation, score
from ki67.stages.judging import checks_so_far, judge, require_fitting_region, require_usable, warnings_of
from ki67.stages.opened import CaseSlide, judge_region, judge_slides, misfit, refusal
from ki67.stages.region import (
    find_region,
    judge_region_density,
    look_for_carcinoma,
    map_region,
    predict_idc,
    require_carcinoma,
    take_regions,
)
from ki67.stages.registering import block_files, register, register_block, registering, require_believable
from ki67.stages.reporting import report_case, write_reports

__all__ = [
    "CaseSlide",
    "block_files",
    "checks_so_far",
    "count",
    "excluded_regions",
    "find_region",
    "judge",
    "judge_region",
    "judge_region_density",
    "judge_slides",
    "look_for_carcinoma",
    "map_region",
    "misfit",
    "model_deviation",
    "predict_idc",
    "refusal",
    "register",
    "register_block",
    "registering",
    "report_case",
    "require_believable",
    "require_carcinoma",
    "require_fitting_region",
    "require_usable",
    "score",
    "take_regions",
    "warnings_of",
    "write_reports",
]
