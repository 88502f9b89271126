"""``ki67 label study``: reader studies of a labelling project, read in the browser under a clock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import App, Json, Quiet, begin, emit
from ki67.cli.compete import table_lines
from ki67.cli.label_project import By, Folder, Seed, open_project, who

app = App(help="Reader studies: blinded slides, a clock on the server, ranks.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="STUDY", help="Its number, as `ki67 label study status` shows it.")]


@app.command()
def start(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="As readers see it; nothing of the slides.")],
    slides: Annotated[list[str], typer.Option("--slide", help="Name of a slide of the project; once for each.")],
    readers: Annotated[list[str], typer.Option("--reader", help="Name of a reader; once for each.")],
    regions: Annotated[
        list[str] | None,
        typer.Option("--regions", help="SLIDE=FILE, a region file whose outlines readers see; once for each."),
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=1, max=600, help="Time for all slides.")] = 30.0,
    live: Annotated[
        bool, typer.Option("--live", help="Tell readers who have ended their place; else sealed until it is closed.")
    ] = False,
    standard: Annotated[
        Path | None, typer.Option("--standard", help="CSV with slide, index_percent (or positive, negative).")
    ] = None,
    seed: Seed = 2020,
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Start a study; readers find it in the pages of `ki67 serve DIR`."""
    begin(quiet=quiet)
    files = dict(_parted(one) for one in regions or [])
    astray = [slide for slide in files if slide not in slides]
    if astray:
        raise typer.BadParameter(f"{astray[0]} is no slide of the study", param_hint="--regions")
    if len(set(slides)) < len(slides):
        raise typer.BadParameter("names a slide twice", param_hint="--slide")
    with open_project(folder) as session:
        from ki67.labelling.studies import give_standard, regions_on, slide_named, start_study

        person = who(session, by)
        chosen: dict[str, Any] = {}
        for one in slides:
            slide = slide_named(session, person, one)
            chosen[one] = regions_on(files[one], slide.path, slide.mpp) if one in files else []
        study = start_study(session, person, name, chosen, readers, minutes=minutes, live=live, seed=seed)
        warnings = [] if standard is None else give_standard(session, person, study.id, standard)
        result = {"study": study.id, "slides": len(chosen), "readers": readers, "warnings": warnings}
    lines = [f"study {result['study']}: {len(chosen)} slides for {len(readers)} readers, {minutes:g} min"]
    emit(result, as_json=as_json, lines=[*lines, *warnings])


def _parted(word: str) -> tuple[str, Path]:
    slide, given, file = word.partition("=")
    if not (slide and given and file):
        raise typer.BadParameter(f"{word} is not SLIDE=FILE", param_hint="--regions")
    return slide, Path(file)


@app.command()
def status(folder: Folder, by: By = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the studies, and how far their readers are."""
    begin(quiet=quiet)
    with open_project(folder, looks=True) as session:
        from ki67.labelling.studies import studies_for

        studies = studies_for(session, who(session, by))
    lines = []
    for study in studies:
        closed = "open" if study["closed"] is None else "closed"
        known = "standard given" if study["standard"] else "no standard yet"
        lines.append(f"{study['study']}  {study['name']}: {len(study['slides'])} slides, {closed}, {known}")
        lines += [_line(reader, len(study["slides"])) for reader in study["readers"]]
    emit({"studies": studies}, as_json=as_json, lines=lines or ["no study"])


def _line(reader: dict[str, Any], slides: int) -> str:
    line = f"   {reader['name']}: {reader['state'].replace('_', ' ')}, {reader['answered']} of {slides} answered"
    if reader["seconds"] is not None:
        line += f", {reader['seconds'] / 60:.1f} min"
    if reader["washout_days"] is not None:
        line += f"; had {reader['seen_before']} of them before, the last {reader['washout_days']:.1f} days earlier"
    return line


@app.command("standard")
def standard_(
    folder: Folder,
    study: Number,
    file: Annotated[Path, typer.Argument(help="CSV with slide, index_percent (or positive, negative).")],
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give a study its gold standard; until it is closed another one takes its place."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.studies import give_standard

        warnings = give_standard(session, who(session, by), study, file)
    emit({"study": study, "warnings": warnings}, as_json=as_json, lines=[f"study {study} has a standard", *warnings])


@app.command()
def close(folder: Folder, study: Number, by: By = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Close a study, once and for all; readings that run end with it."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.studies import close_study

        close_study(session, who(session, by), study)
    emit({"study": study, "closed": True}, as_json=as_json, lines=[f"study {study} is closed"])


@app.command()
def rank(folder: Folder, study: Number, by: By = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Rank the readers of a closed study, as `ki67 compete` does."""
    begin(quiet=quiet)
    with open_project(folder, looks=True) as session:
        from ki67.labelling.studies import study_for
        from ki67.labelling.study_law import require_closed
        from ki67.labelling.study_results import ranking_for

        person = who(session, by)
        require_closed(study_for(session, person, study).closed)
        result = ranking_for(session, person, study)
    emit(result, as_json=as_json, lines=table_lines(result))


@app.command()
def export(
    folder: Folder,
    study: Number,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write answers and standard of a closed study as `ki67 compete` reads them, imrmc.csv, and every entry."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.study_results import write_files

        files = write_files(session, who(session, by), study, out)
    emit({"out": str(out), "files": files}, as_json=as_json, lines=[f"{', '.join(files)}: {out}"])
