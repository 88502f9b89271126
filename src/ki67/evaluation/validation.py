"""A laboratory's own validation: the program's indices against those counted by hand, judged by stated criteria."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ki67.cells.index_deviation import PatientIndex, fit_index_deviation
from ki67.errors import DataSetError
from ki67.evaluation.agreement import UPPER, icc_a1_over_cases
from ki67.evaluation.index import MINIMUM_CASES, compare_indices
from ki67.evaluation.matches import bootstrap_draws
from ki67.evaluation.rules import ICC_SOURCE, OURS, ValidationLimits
from ki67.evaluation.validation_cases import CASES_LAYOUT, ValidationCase, programs_of, read_validation_cases
from ki67.scoring import wilson_interval
from ki67.scoring.cut_offs import CUT_OFFS, CutOff
from ki67.scoring.own_laboratory import FILE_NAME, OwnLaboratory

LEAST_CASES: Final = 30
"""Cases with both indices below which nothing is passed; our own choice, as are the limits marked so."""

HAND_CELLS: Final = 500
"""Cells that an index is taken to rest on where a laboratory is fitted: the least that the International Ki67 Working
Group counts."""

LEAST_BETWEEN: Final = 0.1
"""Least standard deviation between cases on the logit that is believed of a laboratory; our own choice."""

LEAST_GROUP: Final = 5
"""Cases of one scanner or antibody clone below which its bias is told but not judged; our own choice."""


def validate(
    cases_csv: str | Path,
    *,
    limits: ValidationLimits | None = None,
    cut_offs: Sequence[CutOff] = CUT_OFFS,
) -> dict[str, Any]:
    """Validate the program on a laboratory's own cases.

    Differences are program − manual in percentage points.

    Parameters
    ----------
    cases_csv
        Columns ``case``, ``manual_percent``, and ``index_percent`` (the program's) or ``folder`` of the case; perhaps
        ``scanner`` and ``antibody``.
    limits
        What must be kept to; the defaults where None.
    cut_offs
        Cut-offs at which discordance is judged, each of them.

    Returns
    -------
    dict
        ``passed``: every criterion met, on at least :data:`LEAST_CASES` cases (``enough``); ``criteria``: list of
        ``criterion``, ``of`` (cut-off, scanner or clone), ``text``, ``found``, ``limit``, ``met``, ``source``;
        ``cases`` in all, ``compared`` with both indices, ``without_index`` (list of ``case``, ``reason``);
        ``agreement``: :func:`ki67.evaluation.index.compare_indices`, ``icc_ci95`` over cases
        (:func:`ki67.evaluation.agreement.icc_a1_over_cases`), and ``bias_ci95_points`` (Student's t);
        ``discordance``: list by cut-off of ``cut_off``, ``values_percent``, ``source``, ``discordant``, ``percent``,
        ``ci95_percent`` (Wilson), ``kappa``; ``by_scanner`` and ``by_antibody``: lists of ``group``, ``cases``,
        ``bias_points``, ``ci95_points``, ``judged``; ``deviation``: how far the index is off in this laboratory, a
        :class:`ki67.scoring.own_laboratory.OwnLaboratory` as a dict (None with fewer than :data:`LEAST_CASES` cases,
        or where one model did not count them all); ``programs`` (versions and models), ``per_case``, ``warnings``.

    Raises
    ------
    DataSetError, CaseError
        Where a file is not as described, or fewer than three cases can be compared.
    """
    path = Path(cases_csv)
    limits = limits or ValidationLimits()
    cases = read_validation_cases(path)
    pairs = [(case, case.index_percent) for case in cases if case.index_percent is not None]
    compared = [case for case, _ in pairs]
    if len(compared) < MINIMUM_CASES:
        raise DataSetError(
            path, f"holds {len(compared)} cases with both indices, at least {MINIMUM_CASES} are needed", CASES_LAYOUT
        )
    manual = np.array([case.manual_percent for case in compared])
    found = np.array([index for _, index in pairs])
    agreement = compare_indices(manual, found, cut_offs)
    icc = icc_a1_over_cases(np.column_stack([manual, found]), bootstrap_draws(len(compared)))
    agreement["icc_ci95"] = None if icc is None else (icc.low, icc.high)
    agreement["bias_ci95_points"] = _mean_interval(found - manual)
    discordance = [_discordance(cut_off, agreement["cut_offs"][cut_off.id], len(compared)) for cut_off in cut_offs]
    groups = {
        kind: _by_group([getattr(case, kind) for case in compared], found - manual)
        for kind in ("scanner", "antibody")
    }
    deviation = laboratory_deviation(compared)
    without = [{"case": case.name, "reason": case.withheld} for case in cases if case.index_percent is None]
    criteria = [
        _criterion(
            "icc",
            "lower end of the 95 % interval of ICC(A,1) over cases",
            _low(agreement["icc_ci95"]),
            limits.icc_low,
        ),
        _criterion("bias", "bias either way (points)", abs(_bias(agreement)), limits.bias_points),
        *(
            _criterion(
                "discordance",
                f"cases in another class at the cut-off {row['cut_off']} (%)",
                row["percent"],
                limits.discordant_percent,
                row["cut_off"],
            )
            for row in discordance
        ),
        *(
            _criterion(
                f"bias_by_{kind}",
                f"bias either way, {kind} {row['group']} (points)",
                abs(row["bias_points"]),
                limits.group_bias_points,
                row["group"],
            )
            for kind, rows in groups.items()
            for row in rows
            if row["judged"] and len(rows) > 1
        ),
        _criterion(
            "without_index",
            "cases for which the program gave no index (%)",
            100 * len(without) / len(cases),
            limits.without_index_percent,
        ),
    ]
    enough = len(compared) >= LEAST_CASES
    return {
        "passed": enough and all(criterion["met"] for criterion in criteria),
        "enough": enough,
        "cases": len(cases),
        "compared": len(compared),
        "without_index": without,
        "criteria": criteria,
        "agreement": agreement,
        "discordance": discordance,
        **{f"by_{kind}": rows for kind, rows in groups.items()},
        "deviation": None if deviation is None else deviation.model_dump(),
        "programs": programs_of(cases),
        "per_case": _per_case(compared, manual, found, cut_offs),
        "warnings": _warnings(cases, compared, groups, len(cut_offs)) + _not_fitted(compared, deviation),
    }


def laboratory_deviation(cases: Sequence[ValidationCase]) -> OwnLaboratory | None:
    """How far the index is off in the laboratory that the cases are of, on the scale of the logit.

    Both indices count as of :data:`HAND_CELLS` cells. Cases whose index is given by number, or that are 0 or 100 % by
    hand, say nothing here. Cut-offs, limits and what passes have no say in it.

    Returns
    -------
    OwnLaboratory or None
        None with fewer than :data:`LEAST_CASES` such cases, or where not one model counted them all.
    """
    known = [case for case in cases if case.cells_model and 0 < case.manual_percent < 100]
    models = {case.cells_model for case in known}
    if len(known) < LEAST_CASES or len(models) != 1:
        return None
    found = fit_index_deviation(
        [
            PatientIndex("", case.name, _counts(case.index_percent), _counts(case.manual_percent))
            for case in known
            if case.index_percent is not None
        ]
    )
    if found is None:
        return None
    return OwnLaboratory(
        cells_model=models.pop(),
        cases=found.patients,
        bias=round(found.bias, 4),
        between=round(max(found.between, LEAST_BETWEEN), 4),
        per_cell=round(found.per_cell, 4),
    )


def _counts(percent: float) -> tuple[int, int]:
    positive = round(percent / 100 * HAND_CELLS)
    return positive, HAND_CELLS - positive


def _bias(agreement: dict[str, Any]) -> float:
    return float(agreement["bland_altman_bias_points"])


def _low(interval: tuple[float, float] | None) -> float | None:
    return None if interval is None else interval[0]


_DEFAULTS: Final = {
    "icc": (ValidationLimits().icc_low, ICC_SOURCE),
    "bias": (ValidationLimits().bias_points, OURS),
    "bias_by_scanner": (ValidationLimits().group_bias_points, OURS),
    "bias_by_antibody": (ValidationLimits().group_bias_points, OURS),
    "discordance": (ValidationLimits().discordant_percent, OURS),
    "without_index": (ValidationLimits().without_index_percent, OURS),
}
"""Limit of each criterion and where it comes from, while the laboratory sets no other."""


def _criterion(name: str, text: str, found: float | None, limit: float, of: str | None = None) -> dict[str, Any]:
    default, source = _DEFAULTS[name]
    at_least = name == "icc"
    return {
        "criterion": name,
        "of": of,
        "text": f"{text}: at {'least' if at_least else 'most'} {limit:g}",
        "found": found,
        "limit": limit,
        "met": found is not None and (found >= limit if at_least else found <= limit),
        "source": source if limit == default else "set by the laboratory",
    }


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """95 % interval of a mean by Student's t; None of a single value."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(UPPER, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def _discordance(cut_off: CutOff, found: dict[str, Any], cases: int) -> dict[str, Any]:
    low, high = wilson_interval(found["discordant"], cases)
    return {
        "cut_off": cut_off.id,
        "values_percent": list(cut_off.values_percent),
        "source": cut_off.source,
        "discordant": found["discordant"],
        "percent": 100 * found["discordant"] / cases,
        "ci95_percent": (100 * low, 100 * high),
        "kappa": found["kappa"],
    }


def _by_group(names: Sequence[str], difference: NDArray[np.float64]) -> list[dict[str, Any]]:
    rows = []
    for name in sorted(set(names) - {""}):
        own = difference[np.array(names) == name]
        rows.append(
            {
                "group": name,
                "cases": len(own),
                "bias_points": float(own.mean()),
                "ci95_points": _mean_interval(own),
                "judged": len(own) >= LEAST_GROUP,
            }
        )
    return rows


def _per_case(
    cases: Sequence[ValidationCase],
    manual: NDArray[np.float64],
    found: NDArray[np.float64],
    cut_offs: Sequence[CutOff],
) -> list[dict[str, Any]]:
    """One row a case, the largest differences first."""
    other_class = {cut_off.id: cut_off.classify(manual) != cut_off.classify(found) for cut_off in cut_offs}
    order = np.argsort(-np.abs(found - manual), kind="stable")
    return [
        {
            "case": cases[number].name,
            "scanner": cases[number].scanner,
            "antibody": cases[number].antibody,
            "manual_percent": float(manual[number]),
            "index_percent": float(found[number]),
            "difference_points": float(found[number] - manual[number]),
            "other_class_at": [name for name, differs in other_class.items() if differs[number]],
        }
        for number in order
    ]


def _not_fitted(compared: Sequence[ValidationCase], deviation: OwnLaboratory | None) -> list[str]:
    """Why intervals cannot rest on cases that were given by their folders."""
    if deviation is not None or not any(case.cells_model for case in compared):
        return []
    told = (
        f"no {FILE_NAME}, so intervals cannot rest on these cases: that needs {LEAST_CASES} given by their folders, "
        "all counted by one model without --dab-threshold, and neither 0 nor 100 % by hand"
    )
    return [told]


def _warnings(
    cases: Sequence[ValidationCase],
    compared: Sequence[ValidationCase],
    groups: dict[str, list[dict[str, Any]]],
    cut_offs: int,
) -> list[str]:
    warnings = []
    if cut_offs > 1:
        warnings.append(
            f"{cut_offs} cut-offs must be kept at once, which even a good program seldom does: judge at your "
            "laboratory's own (--cut-off)"
        )
    if len(compared) < LEAST_CASES:
        warnings.append(
            f"{len(compared)} cases with both indices are not enough: with fewer than {LEAST_CASES} nothing is passed"
        )
    programs = programs_of(cases)
    if len(programs) > 1:
        warnings.append(f"the cases were not all scored by the same program: {'; '.join(programs)}")
    for kind, rows in groups.items():
        small = [f"{row['group']} ({row['cases']})" for row in rows if not row["judged"]]
        if small and len(rows) > 1:
            warnings.append(f"{kind} with fewer than {LEAST_GROUP} cases, so not judged: {', '.join(small)}")
        unknown = sum(not getattr(case, kind) for case in compared)
        if rows and unknown:
            warnings.append(f"{unknown} cases without {kind}")
    return warnings
