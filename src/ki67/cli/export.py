"""``ki67 export``: a case's result for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit
from ki67.vocabulary import Layer

_HELP = (
    "File to write; the end of its name says as what: .geojson or .geojson.gz (QuPath), .csv, .parquet (GeoParquet), "
    ".zarr (SpatialData, a folder), .dsa.json (Digital Slide Archive), .ome.tif (map), .ann.dcm and .sr.dcm (cells "
    "and index as DICOM), .fhir.json (index for a hospital's records)."
)


def export(
    case: Annotated[Path, typer.Argument(help="Folder of a case that 'score' or 'count' has finished.")],
    out: Annotated[Path, typer.Argument(help=_HELP)],
    layer: Annotated[
        Layer | None, typer.Option("--layer", help="Which map an .ome.tif holds: the index, or the carcinoma.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what a case holds for another program: its cells, its maps, its index."""
    from ki67.export import export_case

    begin(quiet=quiet)
    result = export_case(case, out, layer)
    count = f"{result['cells']:,} " if "cells" in result else ""
    emit(result, as_json=as_json, lines=[f"{count}{result['format']}: {result['file']}"])
