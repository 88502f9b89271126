"""``ki67 compete``: readers against the gold standard and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import Json, Quiet, begin, emit, warning_lines
from ki67.evaluation.rules import Rule

RuleOption = Annotated[
    Rule,
    typer.Option(
        "--rule",
        help="Score of an answer: 100 less its distance in points from the two whole percents around the gold index "
        "(interval), from the gold index itself (points), or in percent of the gold index (relative).",
    ),
]


def compete(
    standard: Annotated[Path, typer.Argument(help="CSV with columns slide, index_percent (or positive, negative).")],
    answers: Annotated[
        Path, typer.Argument(help="CSV with columns slide, reader, index_percent (or score), seconds.")
    ],
    rule: RuleOption = Rule.interval,
    imrmc: Annotated[
        Path | None,
        typer.Option("--imrmc", help="Also write the answers as readerID,caseID,modalityID,score, for iMRMC."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank readers, people and programs, by their answers for each slide and their time (Table 4 of the paper)."""
    from ki67.evaluation.compete import compete as rank_readers

    begin(quiet=quiet)
    result = rank_readers(standard, answers, rule=rule, imrmc=imrmc)
    emit(result, as_json=as_json, lines=[*_ranking(result), "", *_by_slide(result), *warning_lines(result)])


def _ranking(result: Mapping[str, Any]) -> list[str]:
    width = _name_width(result)
    lines = [f"rank  {'reader':{width}s}  score     time    bias   95 % limits (points)"]
    for reader in result["readers"]:
        bias, limits = reader["bias_points"], reader["limits_points"]
        line = f"{reader['rank']:4d}  {reader['reader']:{width}s}  {reader['average_score']:5.1f}"
        line += f"  {_clock(reader['seconds']):>7s}  {'–' if bias is None else format(bias, '+.1f'):>6s}"
        lines.append(line + ("" if limits is None else f"   {limits[0]:+.1f} to {limits[1]:+.1f}"))
    return [*lines, f"average of all readers {result['average_score']:.1f}; rule: {result['rule']}"]


def _by_slide(result: Mapping[str, Any]) -> list[str]:
    """Scores of the readers in columns, a line for each slide, as in the paper's Table 4."""
    names = [reader["reader"] for reader in result["readers"]]
    short = [name if len(name) <= _COLUMN else name[: _COLUMN - 1] + "…" for name in names]
    width = max(len("slide"), *(len(slide["slide"]) for slide in result["slides"]))
    lines = [f"{'slide':{width}s}  gold %  " + " ".join(f"{name:>{_COLUMN}s}" for name in short)]
    for slide in result["slides"]:
        scores = " ".join(f"{reader['scores'][slide['slide']]:{_COLUMN}.0f}" for reader in result["readers"])
        lines.append(f"{slide['slide']:{width}s}  {slide['index_percent']:6.2f}  {scores}")
    return lines


_COLUMN = 8


def _name_width(result: Mapping[str, Any]) -> int:
    return max(len("reader"), *(len(reader["reader"]) for reader in result["readers"]))


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
