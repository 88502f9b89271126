"""``ki67 compete``: readers against the gold standard and the clock, and what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ki67.cli.common import App, Json, Quiet, begin, emit, warning_lines
from ki67.evaluation.rules import Rule

RANK = "rank"


class _RankFirst(TyperGroup):
    """A group whose first command need not be named: ``ki67 compete STANDARD.csv ANSWERS.csv`` ranks."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the command where none is."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else [RANK, *args])


app = App(cls=_RankFirst, help="Rank readers against a gold standard, or make what they are given (kit).")

RuleOption = Annotated[
    Rule,
    typer.Option(
        "--rule",
        help="Score of an answer: 100 less its distance in points from the two whole percents around the gold index "
        "(interval), from the gold index itself (points), or in percent of the gold index (relative).",
    ),
]


@app.command(RANK)
def compete(
    standard: Annotated[Path, typer.Argument(help="CSV with columns slide, index_percent (or positive, negative).")],
    answers: Annotated[
        Path,
        typer.Argument(
            help="CSV with columns slide, reader, index_percent (or score), seconds; or a folder of them."
        ),
    ],
    key: Annotated[
        Path | None, typer.Option("--key", help="KIT.key.csv, where the answers name the codes of a kit.")
    ] = None,
    rule: RuleOption = Rule.interval,
    imrmc: Annotated[
        Path | None,
        typer.Option("--imrmc", help="Also write the answers as readerID,caseID,modalityID,score, for iMRMC."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank readers, people and programs, by their answers for each slide and their time (Table 4 of the paper).

    What readers are given is made by `ki67 compete kit SLIDES.csv OUT --reader NAME`.
    """
    from ki67.evaluation.compete import compete as rank_readers

    begin(quiet=quiet)
    result = rank_readers(standard, answers, rule=rule, imrmc=imrmc, key=key)
    emit(result, as_json=as_json, lines=table_lines(result))


@app.command()
def kit(
    slides: Annotated[Path, typer.Argument(help="CSV with columns slide, picture, and perhaps regions, mpp.")],
    out: Annotated[Path, typer.Argument(help="Folder of the package, new or empty.")],
    readers: Annotated[list[str], typer.Option("--reader", help="A reader's name; once for each.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws the codes and each reader's order.")] = 0,
    minutes: Annotated[float, typer.Option("--minutes", min=1, max=600, help="Time for all slides.")] = 30.0,
    washout_days: Annotated[
        int | None,
        typer.Option(
            "--washout-days", min=1, help="Days since a reader may have seen the slides, noted on the sheet."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a blinded package: slides with regions, and for each reader a sheet with an order and a clock."""
    from ki67.evaluation.reader_kit import make_kit

    begin(quiet=quiet)
    result = make_kit(slides, out, readers, seed=seed, minutes=minutes, washout_days=washout_days)
    lines = [
        f"{result['slides']} slides for {len(result['readers'])} readers: {result['out']}",
        f"which is which, not for readers: {result['key']}",
        f"then: ki67 compete STANDARD.csv ANSWERS --key {result['key']}",
        *warning_lines(result),
    ]
    emit(result, as_json=as_json, lines=lines)


def table_lines(result: Mapping[str, Any]) -> list[str]:
    """Lines that tell a ranking: readers by rank, scores by slide, what was left out."""
    return [*_ranking(result), "", *_by_slide(result), *warning_lines(result)]


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
