"""``ki67 correct``: what a person sees better than the program, kept beside the count and undone at will."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ki67.cli.common import App, Json, Quiet, begin, emit
from ki67.vocabulary import CLASSES

if TYPE_CHECKING:
    from ki67.case.corrections import What
    from ki67.correcting import CorrectedCase

OF_THE_LOG = ("undo", "redo", "sign_out", "reopen")
"""Entries that correct nothing themselves."""

_REPORT_GONE = "the report of before is taken away; `ki67 report CASE` writes it with the corrections"

app = App(help="Correct the cells or the region of a case; the count itself stays.", no_args_is_help=True)

By = Annotated[str, typer.Option("--by", help="Who corrects.")]
Why = Annotated[str, typer.Option("--why", help="The reason.")]
Cell = Annotated[int, typer.Option("--cell", help="The cell: cell_id of `ki67 export CASE cells.csv`.")]
Area = Annotated[Path, typer.Option("--area", help="GeoJSON with the area on the Ki-67 slide.")]


@app.callback()
def _case(
    context: typer.Context,
    case: Annotated[Path, typer.Argument(help="Folder of a case that 'score' or 'count' has finished.")],
) -> None:
    """Correct the cells or the region of a case; the count itself stays."""
    context.obj = case


@app.command()
def relabel(
    context: typer.Context,
    cell: Cell,
    to: Annotated[str, typer.Option("--to", help=f"Its class: {', '.join(CLASSES)}.")],
    by: By,
    why: Why,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give a cell another class."""
    from ki67.case.corrections import Relabel, check_label
    from ki67.correcting import place_of

    begin(quiet=quiet)
    label = check_label(to)
    x_um, y_um = place_of(context.obj, cell)
    _made(context, Relabel.model_validate({"cell": cell, "x_um": x_um, "y_um": y_um, "to": label}), by, why, as_json)


@app.command()
def add(
    context: typer.Context,
    at_um: Annotated[tuple[float, float], typer.Option("--at-um", metavar="X Y", help="Place in µm of the slide.")],
    label: Annotated[str, typer.Option("--label", help=f"Its class: {', '.join(CLASSES)}.")],
    by: By,
    why: Why,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add a cell that was missed."""
    from ki67.case.corrections import Add, check_label

    begin(quiet=quiet)
    what = Add.model_validate({"x_um": at_um[0], "y_um": at_um[1], "label": check_label(label)})
    _made(context, what, by, why, as_json)


@app.command()
def remove(context: typer.Context, cell: Cell, by: By, why: Why, as_json: Json = False, quiet: Quiet = False) -> None:
    """Remove what is no cell."""
    from ki67.case.corrections import Remove
    from ki67.correcting import place_of

    begin(quiet=quiet)
    x_um, y_um = place_of(context.obj, cell)
    _made(context, Remove(cell=cell, x_um=x_um, y_um=y_um), by, why, as_json)


@app.command()
def exclude(
    context: typer.Context, area: Area, by: By, why: Why, as_json: Json = False, quiet: Quiet = False
) -> None:
    """Leave an area out."""
    from ki67.case.corrections import Exclude
    from ki67.correcting import area_in

    begin(quiet=quiet)
    _made(context, Exclude(area=area_in(context.obj, area)), by, why, as_json)


@app.command()
def include(
    context: typer.Context, area: Area, by: By, why: Why, as_json: Json = False, quiet: Quiet = False
) -> None:
    """Count an area of the region that was left out."""
    from ki67.case.corrections import Include
    from ki67.correcting import area_in

    begin(quiet=quiet)
    _made(context, Include(area=area_in(context.obj, area)), by, why, as_json)


@app.command()
def region(
    context: typer.Context,
    regions: Annotated[Path, typer.Option("--regions", help="GeoJSON with the region on the Ki-67 slide.")],
    by: By,
    why: Why,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take another region, within 50 µm of what was counted."""
    from ki67.case.corrections import ReplaceRegion
    from ki67.correcting import area_in

    begin(quiet=quiet)
    _made(context, ReplaceRegion(area=area_in(context.obj, regions)), by, why, as_json)


@app.command()
def nudge(
    context: typer.Context,
    by: By,
    why: Why,
    shift: Annotated[
        tuple[float, float], typer.Option("--shift", metavar="DX DY", help="Move the region by µm: right, down.")
    ] = (0.0, 0.0),
    rotate: Annotated[
        float, typer.Option("--rotate", metavar="DEG", help="Turn it clockwise about its middle.")
    ] = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Move the region a little."""
    from ki67.case.corrections import Nudge

    begin(quiet=quiet)
    _made(context, Nudge(shift_um=shift, rotate_deg=rotate), by, why, as_json)


@app.command()
def undo(context: typer.Context, by: By, why: Why, as_json: Json = False, quiet: Quiet = False) -> None:
    """Take the last correction back."""
    from ki67.case.corrections import Undo

    begin(quiet=quiet)
    _made(context, Undo(), by, why, as_json)


@app.command()
def redo(context: typer.Context, by: By, why: Why, as_json: Json = False, quiet: Quiet = False) -> None:
    """Make the correction again that was undone last."""
    from ki67.case.corrections import Redo

    begin(quiet=quiet)
    _made(context, Redo(), by, why, as_json)


@app.command("sign-out")
def sign_out(context: typer.Context, by: By, as_json: Json = False, quiet: Quiet = False) -> None:
    """Sign the case out: nothing is corrected before it is opened again."""
    from ki67 import correcting

    begin(quiet=quiet)
    _tell(correcting.sign_out(context.obj, by=by), as_json=as_json)


@app.command()
def reopen(context: typer.Context, by: By, why: Why, as_json: Json = False, quiet: Quiet = False) -> None:
    """Open a case again that was signed out."""
    from ki67.case.corrections import Reopen

    begin(quiet=quiet)
    _made(context, Reopen(), by, why, as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell all corrections, and the index without and with them."""
    from ki67.correcting import corrected

    begin(quiet=quiet)
    _tell(corrected(context.obj), as_json=as_json)


def _made(context: typer.Context, what: What, by: str, why: str, as_json: bool) -> None:
    from ki67.correcting import correct

    _tell(correct(context.obj, what, by=by, why=why), as_json=as_json, more=[_REPORT_GONE])


def _tell(found: CorrectedCase, *, as_json: bool, more: Sequence[str] = ()) -> None:
    hold = {one.number for one in found.holding}
    lost = {one.number for one in found.unattached}
    entries = [one.model_dump(mode="json") | {"holds": one.number in hold} for one in found.log]
    result = {
        "index_percent": found.score.index_percent,
        "automatic_index_percent": found.automatic.index_percent,
        "positive": found.score.positive,
        "negative": found.score.negative,
        "corrections": entries,
        "unattached": sorted(lost),
        "warnings": list(found.score.warnings),
    }
    lines = [
        f"{one.number}. {one.what.kind} by {one.by}, {one.when}: {one.why}"
        + ("" if one.number in hold or one.what.kind in OF_THE_LOG else " (does not hold)")
        + (" (its cell was not found again)" if one.number in lost else "")
        for one in found.log
    ]
    lines.append(f"index: {_percent(found.score.index_percent)}, automatic {_percent(found.automatic.index_percent)}")
    emit(result, as_json=as_json, lines=[*lines, *more])


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} %"
