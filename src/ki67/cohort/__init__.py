"""Many cases: read from a table, each run as a process of its own, noted on disk, summed up."""

from ki67.cohort.cases import CASES_LAYOUT, CohortCase, Shard, read_cases
from ki67.cohort.running import CohortOptions, plan_cohort, run_cohort
from ki67.cohort.summary import collect

__all__ = [
    "CASES_LAYOUT",
    "CohortCase",
    "CohortOptions",
    "Shard",
    "collect",
    "plan_cohort",
    "read_cases",
    "run_cohort",
]
