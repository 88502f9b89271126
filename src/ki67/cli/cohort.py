"""``ki67 cohort``: many cases, from a table of slides to a table of indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ki67.cli.common import App, Json, Quiet, begin, emit
from ki67.errors import FailedCasesError, UsageError

_OWN = ("--out", "--regions", "--he-mpp", "--ki67-mpp", "--json", "--quiet", "--help")
"""Options of ``ki67 score`` that each case has from the cohort."""

_RUN = "run"
_TOLD_FAILURES = 10


class CohortGroup(TyperGroup):
    """A group that takes ``ki67 cohort CASES.csv …`` for ``ki67 cohort run CASES.csv …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the word in where the first word is none of the group's."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = [_RUN, *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


app = App(
    cls=CohortGroup,
    help="Many cases: `ki67 cohort CASES.csv --out DIR` scores them all (`run` may be left out).",
    no_args_is_help=True,
)

CohortFolder = Annotated[Path, typer.Option("--out", help="The cohort's folder; a stopped run continues in it.")]


@app.command(_RUN)
def run(
    cases: Annotated[
        Path,
        typer.Argument(help="CSV with columns case, he, ki67, perhaps patient, regions, he_mpp, ki67_mpp."),
    ],
    out: CohortFolder,
    score_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="After `--`: options of `ki67 score` for every case."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Cases side by side on this machine (extra cohort).")
    ] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler whose workers run the cases.")
    ] = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Run every N-th case from the I-th on, one machine each.")
    ] = "1/1",
    attempts: Annotated[
        int,
        typer.Option("--attempts", min=1, max=10, help="Most attempts at a case that fails for a passing reason."),
    ] = 3,
    case_minutes: Annotated[
        float,
        typer.Option("--case-minutes", min=0.0, help="End a case that takes longer; 0: never."),
    ] = 360,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score all cases of a table; finished ones are not run again, failed ones are."""
    from ki67.cohort import CohortOptions, Shard, plan_cohort, run_cohort

    begin(quiet=quiet)
    if scheduler is not None and workers != 1:
        raise typer.BadParameter("a scheduler has its own workers", param_hint="--workers")
    words = _score_words(score_options or [], here=scheduler is None)
    options = CohortOptions(workers, scheduler, Shard.parse(shard), attempts, words, case_minutes or None)
    if dry_run:
        plan = plan_cohort(cases, out, options)
        emit(plan, as_json=as_json, lines=_plan_lines(plan))
        return
    result = run_cohort(cases, out, options)
    emit(result, as_json=as_json, lines=_lines(result))
    _require_all(result)


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(help="Folder in which a cohort or its shards have run.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write summary, patients' table and report of a cohort from what its shards have noted."""
    from ki67.cohort import collect as collect_cohort

    begin(quiet=quiet)
    result = collect_cohort(folder)
    emit(result, as_json=as_json, lines=_lines(result))
    _require_all(result)


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="Folder of a cohort, or its summary.csv.")],
    new: Annotated[Path, typer.Argument(help="The same cases, scored by another version, model or option.")],
    out: Annotated[Path | None, typer.Option("--out", help="CSV to write, a line a case.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what moved between two runs of a cohort, and above all across a cut-off."""
    from ki67.cohort.compare import compare_cohorts

    begin(quiet=quiet)
    result = compare_cohorts(old, new, out=out)
    emit(result, as_json=as_json, lines=_compared(result))


def _score_words(words: Sequence[str], *, here: bool) -> tuple[str, ...]:
    """Options for every case, looked at before the first one is run; with their files where cases run here."""
    if not words:
        return ()
    if not words[0].startswith("-"):
        raise UsageError(f"{words[0]!r} is one word too many; options of `ki67 score` follow after `--`")
    named = [word.partition("=")[0] for word in words]
    own = [name for name in named if name in _OWN]
    if own:
        raise UsageError(f"{own[0]} is the cohort's to give; the table has columns for regions and pixel sizes")
    from ki67.cli import app as whole
    from ki67.options import Options
    from ki67.pipeline import model_hashes

    score: Any = typer.main.get_command(whole).commands["score"]  # type: ignore[attr-defined]
    given = score.make_context("ki67 score", ["he", "ki67", "--out", "case", *words]).params
    if here:
        validation = given["validation"] and Path(given["validation"])
        models = {name: given[name] for name in ("engine", "cell_model", "idc_model", "device") if given[name]}
        model_hashes(Options(**models, validation=validation), with_idc=True)
    return tuple(words)


def _require_all(result: Mapping[str, Any]) -> None:
    missing = result.get("not_run", 0)
    if not result["failed"] and not missing:
        return
    parts = [f"{result['failed']} of {result['cases']} cases failed"] if result["failed"] else []
    parts += [f"{missing} of {result['cases']} were not run"] if missing else []
    first = result["failures"][0] if result["failures"] else None
    told = f" (the first: {first['case']}, {first['kind']})" if first else ""
    where = f". {result['summary']} names them all" if "summary" in result else ""
    raise FailedCasesError(" and ".join(parts) + told + where)


def _lines(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{result['done']} of {result['cases']} cases have a result"]
    lines += [f"failed: {row['case']}: {row['kind']}: {row['error']}" for row in result["failures"][:_TOLD_FAILURES]]
    if len(result["failures"]) > _TOLD_FAILURES:
        lines.append(f"and {len(result['failures']) - _TOLD_FAILURES} more")
    named = (("summary", "summary"), ("patients", "patients"), ("report", "report"))
    return lines + [f"{word}: {result[key]}" for word, key in named if result.get(key)]


def _plan_lines(plan: Mapping[str, Any]) -> list[str]:
    lines = [f"{plan['to_run']} of {plan['cases']} cases to run, {plan['finished']} finished"]
    if plan["seconds_left"] is not None:
        lines.append(f"about {plan['seconds_left'] / 60:.0f} min, as the finished ones took")
    lines += [f"missing: {name}" for name in plan["missing"][:_TOLD_FAILURES]]
    if len(plan["missing"]) > _TOLD_FAILURES:
        lines.append(f"and {len(plan['missing']) - _TOLD_FAILURES} more files are missing")
    return lines


def _compared(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{result['compared']} cases have both indices, {result['changed']} of them changed"]
    if result["compared"]:
        mean, largest = result["mean_difference_points"], result["largest_difference_points"]
        lines.append(f"mean difference {mean:+.2f} points, largest {largest:+.2f}")
    lines += [
        f"{row['case']}: {row['old_percent']:.1f} → {row['new_percent']:.1f} %, "
        f"{row['old_class']} → {row['new_class']} by {row['cut_off']}"
        for row in result["crossed"]
    ]
    if not result["crossed"]:
        lines.append("none crossed a cut-off")
    for key, text in (
        ("lost", "has no index any more"),
        ("gained", "has an index now"),
        ("only_old", "is in the old run only"),
        ("only_new", "is in the new run only"),
    ):
        lines += [f"{name} {text}" for name in result[key]]
    return [*lines, *([f"table: {result['table']}"] if result["table"] else [])]
