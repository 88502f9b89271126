"""``ki67 validate``: a laboratory's own validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import Json, Quiet, begin, emit, number, warning_lines
from ki67.evaluation.rules import ValidationLimits

_DEFAULT = ValidationLimits()


def validate(
    cases: Annotated[
        Path,
        typer.Argument(
            help="CSV with columns case, manual_percent, and index_percent (or none) or folder of the case; perhaps "
            "scanner, antibody."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for validation.html and validation.csv, for your files.")
    ] = None,
    cut_off: Annotated[
        list[str] | None,
        typer.Option(
            "--cut-off",
            help="Your laboratory's cut-off: a percentage, or the name of a published one (st-gallen-2013); may be "
            "given again. Default: every published one, each of which must be kept.",
        ),
    ] = None,
    icc_low: Annotated[
        float,
        typer.Option(
            "--icc-low",
            min=0,
            max=1,
            help="Least lower end of the 95 % interval of ICC(A,1) (default: as in phase 3 of the International Ki67 "
            "Working Group).",
        ),
    ] = _DEFAULT.icc_low,
    bias_points: Annotated[
        float, typer.Option("--bias-points", min=0, help="Largest bias, either way (default: our own choice).")
    ] = _DEFAULT.bias_points,
    group_bias_points: Annotated[
        float,
        typer.Option(
            "--group-bias-points", min=0, help="Largest bias of one scanner or antibody clone (our own choice)."
        ),
    ] = _DEFAULT.group_bias_points,
    discordant_percent: Annotated[
        float,
        typer.Option(
            "--discordant-percent",
            min=0,
            max=100,
            help="Largest share in another class at a cut-off (our own choice).",
        ),
    ] = _DEFAULT.discordant_percent,
    without_index_percent: Annotated[
        float,
        typer.Option(
            "--without-index-percent", min=0, max=100, help="Largest share without an index (our own choice)."
        ),
    ] = _DEFAULT.without_index_percent,
    laboratory: Annotated[str, typer.Option("--laboratory", help="Name for the report's heading.")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold the program against 30 to 60 of a laboratory's own cases, counted by hand: pass or fail, and why."""
    from ki67.evaluation.validation import validate as validate_cases

    begin(quiet=quiet)
    limits = ValidationLimits(icc_low, bias_points, group_bias_points, discordant_percent, without_index_percent)
    result = validate_cases(cases, limits=limits, cut_offs=_cut_offs(cut_off))
    if out is not None:
        from ki67.report.validation_page import write_validation

        result |= write_validation(out, result, laboratory)
    emit(result, as_json=as_json, lines=[*_lines(result), *warning_lines(result)])


def _cut_offs(names: list[str] | None) -> tuple[Any, ...]:
    from ki67.scoring.cut_offs import CUT_OFFS, own_cut_off

    if not names:
        return CUT_OFFS
    published = {cut_off.id: cut_off for cut_off in CUT_OFFS}
    chosen = []
    for name in names:
        if name in published:
            chosen.append(published[name])
            continue
        try:
            percent = float(name)
        except ValueError:
            percent = -1.0
        if not 0 < percent < 100:
            known = ", ".join(published)
            raise typer.BadParameter(f"{name!r} is neither a percentage nor one of {known}", param_hint="--cut-off")
        chosen.append(own_cut_off(percent))
    return tuple(chosen)


def _lines(result: Mapping[str, Any]) -> list[str]:
    agreement = result["agreement"]
    limits, bias = agreement["icc_ci95"], agreement["bland_altman_bias_points"]
    ends = " (–)" if limits is None else f" ({limits[0]:.3f} to {limits[1]:.3f})"
    low, high = (agreement[f"bland_altman_{end}_points"] for end in ("lower", "upper"))
    lines = [
        f"{result['compared']} of {result['cases']} cases have both indices",
        f"ICC(A,1) {number(agreement['icc'], '.3f')}{ends}",
        f"bias {bias:+.1f} points, 95 % limits of agreement {low:+.1f} to {high:+.1f}",
        "",
    ]
    for row in result["criteria"]:
        form = ".3f" if row["criterion"] == "icc" else ".1f"
        lines.append(f"{'met    ' if row['met'] else 'NOT MET'}  {number(row['found'], form):>6s}  {row['text']}")
    for kind in ("scanner", "antibody"):
        lines += [
            f"{kind} {row['group']}: bias {row['bias_points']:+.1f} points in {row['cases']} cases"
            for row in result[f"by_{kind}"]
        ]
    lines += [f"no index for {row['case']}: {row['reason']}" for row in result["without_index"]]
    lines += _interval_lines(result)
    outcome = "PASSED" if result["passed"] else "NOT PASSED" if result["enough"] else "NOT ENOUGH CASES"
    return [*lines, "", outcome, *([f"report: {result['report']}"] if "report" in result else [])]


def _interval_lines(result: Mapping[str, Any]) -> list[str]:
    if result["deviation"] is None:
        return []
    own = result["deviation"]
    told = f"on the logit the index is off by {own['bias']:+.2f}, and by {own['between']:.2f} from case to case"
    use = (
        f": intervals of your own with `ki67 score … --validation {result['laboratory']}`"
        if "laboratory" in result
        else ""
    )
    return [told + use]
