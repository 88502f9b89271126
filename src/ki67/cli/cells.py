"""``ki67 cells``: train a cell model on labelled fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Engine, EngineOption, Json, Layout, Quiet, begin, emit, require_training

app = typer.Typer(help="Cells: train on your own labelled fields.", no_args_is_help=True)


@app.callback()
def cells() -> None:
    """Cells: train on your own labelled fields."""


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="The model to write, .onnx; its card goes beside it.")],
    sets: Annotated[
        list[str],
        typer.Option(
            "--set", help="LAYOUT=DIR, once per data set; layouts: bcdata, shidc, points, qupath, simulated."
        ),
    ],
    engine: EngineOption = Engine.network,
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="Pixel size of the fields in µm; 0.25 if not given.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=10, help="Steps of the network's training.")] = 5500,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts of the cross-validation.")] = 3,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a cell model; thresholds are chosen by cross-validation, a training that was cut short goes on."""
    require_training("Training a cell model")
    from ki67.cells.network_training import NetworkOptions
    from ki67.cells.recipe import FieldSet, train_cells

    begin(quiet=quiet)
    chosen = []
    for text in sets:
        layout, found, directory = text.partition("=")
        if not found or layout not in list(Layout):
            msg = f"'{text}' is not LAYOUT=DIR with one of {', '.join(Layout)}"
            raise typer.BadParameter(msg, param_hint="--set")
        chosen.append(FieldSet(layout, Path(directory), mpp=mpp))
    card = {
        "name": out.stem,
        "licence": "that of the labelled fields",
        "data": [f"{item.layout}: {item.directory.name}" for item in chosen],
        "command": "ki67 cells train",
    }
    result = train_cells(
        chosen,
        out,
        engine.value,
        card,
        folds=folds,
        network=NetworkOptions(steps=steps),
        fold_steps=max(10, steps * 4 // 11),
    )
    emit(
        {"model": str(out), **result},
        as_json=as_json,
        lines=[
            f"model: {out}",
            f"cross-validated F1: {result['cross_validation']['f1']}",
            f"use it: ki67 count KI67 --out CASE --engine {engine.value} --cell-model {out}",
        ],
    )
