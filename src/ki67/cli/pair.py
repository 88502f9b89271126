"""``ki67 pair``: which H&E belongs to which Ki-67 slide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit


def pair(
    folder: Annotated[Path, typer.Argument(help="Folder of slides; those below it are looked through too.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV to write, to check and then to give to `ki67 cohort`.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Propose which H&E and Ki-67 slides are of one case, by names, tissue and stains; a person has to check it."""
    from ki67.cohort.pairing import pair_slides

    begin(quiet=quiet)
    result = pair_slides(folder, out)
    lines = [
        f"{row['confidence']:6s}  {row['case']}: {row['he']} + {row['ki67']} ({row['reason']})"
        for row in result["pairs"]
    ]
    lines += [f"alone   {row['file']}: {row['reason']}" for row in result["alone"]]
    lines.append(f"{len(result['pairs'])} pairs of {result['slides']} slides; check them")
    emit(result, as_json=as_json, lines=lines + ([f"table: {out}"] if out is not None else []))
