"""``ki67 cells``: choose fields to label, and train a cell model on them."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import (
    App,
    CellModel,
    EngineOption,
    FieldMpp,
    Json,
    Mpp,
    MppOverridesFile,
    Quiet,
    begin,
    emit,
    field_names,
    require_training,
    slide_of,
    warning_lines,
)
from ki67.vocabulary import EngineName, Layout


class PatientOf(StrEnum):
    """What tells the patient of a field."""

    prefix = "prefix"
    field = "field"


app = App(help="Cells: train on your own labelled fields, and choose which to label.", no_args_is_help=True)


@app.callback()
def cells() -> None:
    """Cells: train on your own labelled fields, and choose which to label."""


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="The model to write, .onnx; its card and NAME.int8.onnx go beside it.")],
    sets: Annotated[
        list[str],
        typer.Option(
            "--set",
            help=f"LAYOUT=DIR, once per data set. Layouts: {', '.join(Layout)}; the last two label any nuclei.",
        ),
    ],
    engine: EngineOption = EngineName.network,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            help="Only these fields: names without suffix, commas between; once per --set in its order, '' for all.",
        ),
    ] = None,
    mpp: FieldMpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    patient: Annotated[
        PatientOf,
        typer.Option(
            "--patient",
            help="Whose a field is, for the cross-validation: its patient is its name up to the last underscore "
            "(prefix), or each field is of another patient (field).",
        ),
    ] = PatientOf.prefix,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            help="Go on from this network, .onnx, or 'shipped', in place of from scratch: better with few fields.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=10, help="Steps of the network's training; 5500, or 1500 with --start."),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts of the cross-validation.")] = 3,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a cell model; thresholds are chosen by cross-validation, a training that was cut short goes on."""
    require_training("Training a cell model")
    from ki67.cells.network import SHIPPED_NETWORK
    from ki67.learning.cells.network_training import NetworkOptions
    from ki67.learning.cells.recipe import GOING_ON_RATE, GOING_ON_STEPS, FieldSet, patient_of, train_cells

    begin(quiet=quiet)
    if engine is not EngineName.network:
        for name, given in (("--start", start), ("--steps", steps)):
            if given is not None:
                raise typer.BadParameter("is for networks only; leave it out for a forest", param_hint=name)
    if images and len(images) != len(sets):
        msg = f"was given {len(images)} times for {len(sets)} sets; give it once per --set, '' for all fields"
        raise typer.BadParameter(msg, param_hint="--images")
    chosen = []
    for text, names in zip(sets, images or [""] * len(sets), strict=True):
        layout, found, directory = text.partition("=")
        if not found or layout not in list(Layout):
            msg = f"'{text}' is not LAYOUT=DIR with one of {', '.join(Layout)}"
            raise typer.BadParameter(msg, param_hint="--set")
        chosen.append(FieldSet(layout, Path(directory), field_names(names), mpp, mpp_overrides_file))
    card = {
        "name": out.stem,
        "licence": "that of the labelled fields",
        "data": [f"{item.layout}: {item.directory.name}" for item in chosen],
        "command": "ki67 cells train",
    }
    options = NetworkOptions()
    if start is not None:
        options = replace(options, steps=GOING_ON_STEPS, learning_rate=GOING_ON_RATE)
    options = replace(options, steps=steps or options.steps)
    result = train_cells(
        chosen,
        out,
        engine,
        card,
        patient=patient_of if patient is PatientOf.prefix else str,
        folds=folds,
        network=options,
        fold_steps=max(10, options.steps * 4 // 11) if start is None else options.steps,
        start=SHIPPED_NETWORK if start == "shipped" else start,
    )
    validation = result["cross_validation"]
    emit(
        {"model": str(out), **result},
        as_json=as_json,
        lines=[
            f"model: {out}",
            f"cross-validated F1, {validation['patients']} patients: {validation['f1']}",
            *warning_lines(validation),
            f"use it: ki67 count KI67 --out CASE --engine {engine} --cell-model {out}",
        ],
    )


@app.command()
def suggest(
    slide: Annotated[Path, typer.Argument(parser=slide_of, help="A Ki-67 slide, or the folder of a finished case.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for pictures, and for the count where a slide is given.")
    ],
    fields: Annotated[int, typer.Option("--fields", min=1, max=60, help="How many fields.")] = 10,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Write what was counted beside each picture, to be corrected: quicker, but it leans."
        ),
    ] = False,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="GeoJSON with regions on the slide; default: all tissue.")
    ] = None,
    mpp: Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    cell_model: CellModel = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the fields of a slide whose labelling would teach a network most, and write them to be labelled."""
    from ki67.case.artefacts import COUNTED
    from ki67.case.manifest import MANIFEST
    from ki67.cells import AGREEMENT_COLUMNS
    from ki67.cells.engine import NetworkEngine
    from ki67.cells.network import load_network
    from ki67.corrected import read_corrected
    from ki67.errors import ScoreError
    from ki67.fields.suggestion import require_fresh, suggest_fields, write_suggested
    from ki67.options import Options
    from ki67.pipeline import run_count

    begin(quiet=quiet)
    require_fresh(out)
    case, moved = slide, None
    if not (slide / MANIFEST).is_file():
        case, moved = out / "case", slide
        options = Options(regions=regions, cell_model=cell_model)
        run_count(slide, case, options, mpp=mpp, mpp_overrides_file=mpp_overrides_file)
    else:
        for name, given in (("--regions", regions), ("--mpp", mpp), ("--mpp-overrides-file", mpp_overrides_file)):
            if given:
                raise typer.BadParameter("is for a slide; a case is taken as it was counted", param_hint=name)
    view = read_corrected(case, ki67=moved)
    view.require_finished()
    score = view.score
    if score.index_percent is None:
        raise ScoreError(
            f"{case}: gives no index, so nothing is to be learnt from it: {'; '.join(score.warnings[:1])}"
        )
    table = view.read_cells(AGREEMENT_COLUMNS)
    counted = None if view.regions_ki67 is None else view.regions_ki67.union()
    if counted is not None and view.excluded is not None:
        counted = counted.difference(view.excluded.union())
    with view.open_slide("ki67") as opened:
        engine = NetworkEngine(load_network(cell_model))
        background = tuple(view.stages[COUNTED].summary["stains"]["background_rgb"])
        chosen = suggest_fields(opened, table, background, engine, fields)
        names = write_suggested(out, opened, chosen, table, labels=labels, counted=counted)
    lines = [
        f"{name}: {one.tumour_cells} tumour cells, {100 * one.found_again:.0f} % found again on a changed picture"
        for name, one in zip(names, chosen, strict=True)
    ]
    if len(names) < fields:
        lines.append(f"only {len(names)} of {fields}: no more squares hold 30 tumour cells")
    lines += [
        *warning_lines({"warnings": list(score.warnings)}),
        f"label {out / 'fields'} in QuPath (points or nuclei; save each as GeoJSON under the picture's name), then",
        f"train: ki67 cells train MODEL.onnx --start shipped --set qupath={out / 'fields'}",
    ]
    emit({"out": str(out), "fields": names, "warnings": list(score.warnings)}, as_json=as_json, lines=lines)
