"""``ki67 idc``: the invasive region on an H&E slide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Json, Mpp, Out, Quiet, begin, emit, warning_lines

app = typer.Typer(help="Find invasive ductal carcinoma (IDC) on H&E slides.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Find invasive ductal carcinoma (IDC) on H&E slides."""


@app.command()
def predict(
    he: Annotated[Path, typer.Argument(help="The H&E slide.")],
    out: Out,
    mpp: Mpp = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the IDC heat map and the outline of the invasive region."""
    from ki67.pipeline import run_idc

    begin(quiet=quiet)
    result = run_idc(he, out, mpp=mpp)
    lines = [
        f"invasive carcinoma: {result['area_mm2']:.2f} mm² in {result['polygons']} region(s)",
        f"tissue: {result['tissue_mm2']:.2f} mm²",
        *warning_lines(result),
        f"regions: {result['regions']}",
        f"heat map: {result['heatmap']}",
    ]
    emit(result, as_json=as_json, lines=lines)
