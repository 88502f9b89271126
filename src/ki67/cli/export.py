"""``ki67 export``: the counted cells for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit


def export(
    case: Annotated[Path, typer.Argument(help="Folder of a case that 'score' or 'count' has finished.")],
    out: Annotated[Path, typer.Argument(help="File to write: .geojson for QuPath, .csv for a spreadsheet.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the cells of a case as detections for QuPath (.geojson) or as a table (.csv)."""
    from ki67.export import export_cells

    begin(quiet=quiet)
    result = export_cells(case, out)
    emit(result, as_json=as_json, lines=[f"{result['cells']:,} cells: {result['file']}"])
