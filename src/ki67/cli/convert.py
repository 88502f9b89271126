"""``ki67 annotations``: region files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import App, Json, Mpp, Quiet, begin, emit, slide_of
from ki67.vocabulary import RegionFormat

app = App(help="Region files of other programs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``convert`` a word of its own although it is the only one."""


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Regions from QuPath (GeoJSON), the Digital Slide Archive (JSON), ASAP or ImageScope (XML), HALO "
            "(.annotations) or NDP.view (.ndpa); the content says which.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="File to write: .geojson, .dsa.json, .annotations, .ndpa, or .xml with --to."
        ),
    ],
    slide: Annotated[
        Path | None,
        typer.Option(
            "--slide",
            parser=slide_of,
            metavar="SLIDE",
            help="The slide that was annotated; NDPA cannot be read without.",
        ),
    ] = None,
    form: Annotated[
        RegionFormat | None, typer.Option("--to", help="Format to write, where its name leaves a choice (.xml).")
    ] = None,
    mpp: Mpp = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the regions of a file for another program, and tell what could not be carried over."""
    from ki67.annotations.converting import convert_regions

    begin(quiet=quiet)
    result = convert_regions(source, target, slide=slide, mpp=mpp, form=form)
    labels = ", ".join(f"{count} {label}" for label, count in result["labels"].items())
    lines = [f"{result['from']}: {result['regions']} regions" + (f" ({labels})" if labels else "")]
    lines += [f"note: {note}" for note in result["notes"]]
    lines += [f"not carried over: {text}" for text in result["not_carried"]]
    emit(result, as_json=as_json, lines=[*lines, f"{result['to']}: {result['file']}"])
