"""``ki67 dataset``: labelled slides and fields as an open data set."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import App, Json, Quiet, begin, emit, warning_lines

app = App(help="Labelled slides and fields as an open data set.", no_args_is_help=True)


@app.command()
def export(
    pictures: Annotated[
        Path,
        typer.Argument(
            help="CSV with columns patient, picture, and perhaps cells (CSV x,y,label or GeoJSON), regions, split "
            "(train, validation, test), mpp."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the data set, new or empty.")],
    title: Annotated[str, typer.Option("--title", help="Its name.")],
    creator: Annotated[str, typer.Option("--creator", help="Who made it.")],
    licence: Annotated[str, typer.Option("--licence", help="Its terms: a URL, or a name such as CC-BY-4.0.")],
    description: Annotated[str, typer.Option("--description", help="What is in it.")],
    date: Annotated[str | None, typer.Option("--date", help="Day of publication; default: today.")] = None,
    dataset_version: Annotated[str, typer.Option("--dataset-version", help="Its version.")] = "1.0.0",
    url: Annotated[str | None, typer.Option("--url", help="Where it will lie.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws names, and splits where the list has none.")] = 0,
    lossless: Annotated[bool, typer.Option("--lossless", help="Slides without loss, many times as large.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write pictures, labels, splits by patient and a description, and nothing private."""
    from ki67.opendata import Description, export_dataset

    begin(quiet=quiet)
    day = date or datetime.now(tz=UTC).date().isoformat()
    said = Description(title, description, creator, licence, day, dataset_version, url or "")
    result = export_dataset(pictures, out, said, seed=seed, lossless=lossless)
    splits = ", ".join(f"{name} {count}" for name, count in result["splits"].items())
    lines = [
        f"{result['pictures']} pictures of {result['patients']} patients ({splits}): {result['out']}",
        f"which is which, not to be given away: {result['key']}",
        *warning_lines(result),
    ]
    emit(result, as_json=as_json, lines=lines)


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check files against their sums, the table against pictures and labels, and that no patient is in two splits."""
    from ki67.opendata import check_dataset

    begin(quiet=quiet)
    result = check_dataset(directory)
    lines = [f"{result['pictures']} pictures of {result['patients']} patients, {result['cells']:,} labelled cells"]
    lines += ["sound"] if result["sound"] else [f"problem: {text}" for text in result["problems"]]
    emit(result, as_json=as_json, lines=lines)
    if not result["sound"]:
        raise typer.Exit(1)
