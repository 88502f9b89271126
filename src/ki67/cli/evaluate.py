"""``ki67 evaluate``: every comparison with a gold standard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import (
    App,
    DeviceOption,
    EngineOption,
    FieldMpp,
    Json,
    Mpp,
    MppOverridesFile,
    Quiet,
    begin,
    emit,
    field_names,
    number,
    slide_of,
    warning_lines,
)
from ki67.cli.score import ModeOption
from ki67.vocabulary import Device, EngineName, Layout, RegistrationMode

app = App(help="Compare with a gold standard.", no_args_is_help=True)


@app.command()
def idc(
    directory: Annotated[Path, typer.Argument(help="Folder in the published layout PATIENT/0|1/*.png.")],
    index: Annotated[
        Path | None, typer.Option("--index", help="CSV with columns patient, label, file; default: every patch.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Another model (.onnx) than the shipped one.")] = None,
    device: DeviceOption = Device.cpu,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder for ROC curve, calibration and confusion as pictures.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """IDC patches: every row of the paper's Table 2 and the AUC, with intervals over patients."""
    from ki67.evaluation.idc import evaluate_idc
    from ki67.idc import load_model

    begin(quiet=quiet)
    result = evaluate_idc(directory, index, load_model(model, device=device), figures=figures)
    lines = [f"{'measure':28s} {'value':>8s}   95 % interval over patients"]
    lines += [_measure_line(name, value, result["intervals"]) for name, value in result["pooled"].items()]
    if result["with_surroundings"]:
        alone = result["patch_alone"]
        lines += ["", "each patch judged by itself, without its surroundings"]
        lines += [
            _measure_line(name, alone["pooled"][name], alone["intervals"]) for name in ("auc", "balanced_accuracy")
        ]
    if result["pooled"]["patients"] < 2:
        lines.append("no intervals: they need patches of two patients or more")
    lines += _confusion_lines(result["confusion"]) if len(result["confusion"]) > 2 else []
    emit(result, as_json=as_json, lines=[*lines, *warning_lines(result)])


@app.command()
def idc_region(
    he: Annotated[Path, typer.Argument(parser=slide_of, help="The H&E slide.")],
    regions: Annotated[
        Path,
        typer.Argument(
            help="The region found: CASE/idc/regions.geojson, or any region file. With --predictions: drawn by hand."
        ),
    ],
    truth: Annotated[Path | None, typer.Argument(help="Region file with the region drawn by hand.")] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Region file of another program, in place of REGIONS.")
    ] = None,
    mpp: Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    label: Annotated[
        str | None, typer.Option("--label", help="Label of the regions to compare (default: IDC).")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="PNG of slide and heat map with both outlines.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """IDC region of a whole section: Dice and area against an outline drawn by hand."""
    from ki67.evaluation.idc_regions import evaluate_region

    begin(quiet=quiet)
    found, drawn = _answers_and_gold(regions, truth, predictions, "REGIONS")
    result = evaluate_region(he, found, drawn, mpp, overrides_file=mpp_overrides_file, label=label, figure=figure)
    areas = f"{result['area_mm2']:.3g} mm² found, {result['true_area_mm2']:.3g} mm² drawn by hand"
    lines = [f"Dice: {result['dice']:.3f}", f"area: {areas} ({result['area_error_percent']:+.1f} %)"]
    emit(result, as_json=as_json, lines=[*lines, *warning_lines(result)])


def _answers_and_gold(first: Path, second: Path | None, predictions: Path | None, name: str) -> tuple[Path, Path]:
    """What was found and what is true, of two places and an option that takes the first one's."""
    if (second is None) == (predictions is None):
        raise typer.BadParameter("are needed once", param_hint=f"{name} or --predictions")
    return (first, second) if second is not None else (predictions or first, first)


@app.command()
def cells(
    directory: Annotated[Path, typer.Argument(help="Folder of labelled fields.")],
    layout: Annotated[Layout, typer.Option("--layout", help="How the fields are labelled.")],
    mpp: FieldMpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    radius_um: Annotated[float | None, typer.Option("--radius-um", help="Matching radius in µm.")] = None,
    images: Annotated[
        str | None, typer.Option("--images", help="Only these fields: names without suffix, commas between.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Folder for reliability, agreement, and each field's hits and misses."),
    ] = None,
    engine: EngineOption = EngineName.network,
    model: Annotated[Path | None, typer.Option("--model", help="Another model of this engine, ONNX.")] = None,
    device: DeviceOption = Device.cpu,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            help="Judge what another program found: a CSV with columns image, x, y, label (pixels), or a folder with "
            "a CSV or GeoJSON (points, outlines) for each field.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cells: precision, recall and F1 per class, and the error of the index."""
    from ki67.cells import load_engine
    from ki67.evaluation.cells import evaluate_cells

    begin(quiet=quiet)
    if predictions is not None and model is not None:
        raise typer.BadParameter("finds the cells itself; leave one of both out", param_hint="--predictions, --model")
    result = evaluate_cells(
        directory,
        layout.value,
        mpp=mpp,
        mpp_overrides_file=mpp_overrides_file,
        radius_um=radius_um,
        images=field_names(images),
        figures=figures,
        engine=None if predictions is not None else load_engine(engine, model, device),
        predictions=predictions,
    )
    emit(result, as_json=as_json, lines=[*_cell_lines(result), *warning_lines(result)])


@app.command()
def registration(
    fixed: Annotated[Path, typer.Argument(parser=slide_of, help="The fixed image (H&E).")],
    moving: Annotated[Path, typer.Argument(parser=slide_of, help="The moving image.")],
    fixed_landmarks: Annotated[Path, typer.Argument(help="CSV ',X,Y', pixels from the fixed image's corner.")],
    moving_landmarks: Annotated[Path, typer.Argument(help="CSV ',X,Y', pixels from the moving image's corner.")],
    fixed_mpp: Annotated[
        float | None, typer.Option("--fixed-mpp", help="Pixel size of the fixed image in µm.")
    ] = None,
    moving_mpp: Annotated[
        float | None, typer.Option("--moving-mpp", help="Pixel size of the moving image in µm.")
    ] = None,
    mpp_overrides_file: MppOverridesFile = False,
    mode: ModeOption = RegistrationMode.deformable,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            parser=slide_of,
            metavar="SLIDE",
            help="A further section of the block, through which the way may lead; may be repeated.",
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder for a picture of both sections with the landmarks.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Registration: the error at landmarks (target registration error, TRE)."""
    from ki67.evaluation.registration import evaluate_registration

    begin(quiet=quiet)
    result = evaluate_registration(
        fixed,
        moving,
        fixed_landmarks,
        moving_landmarks,
        fixed_mpp,
        moving_mpp,
        mpp_overrides_file=mpp_overrides_file,
        mode=mode,
        figures=figures,
        others=others or (),
    )
    um, px = ([result[f"{name}_tre_{unit}"] for name in ("median", "p90")] for unit in ("um", "px"))
    lines = [
        f"target registration error at {result['landmarks']} landmarks, in brackets in pixels of the fixed image:",
        f"median {um[0]:.1f} µm ({px[0]:.1f}), 90th percentile {um[1]:.1f} µm ({px[1]:.1f})",
        f"median over the image's diagonal {result['median_rtre']:.4f}, before {result['median_rtre_before']:.4f}",
        f"NCC {result['ncc']:.3f}, before {result['ncc_before']:.3f}; {result['mode']}, {result['seconds']:.0f} s",
        "accepted" if result["accepted"] else f"not accepted: {'; '.join(result['reasons'])}",
        *warning_lines(result),
    ]
    emit(result, as_json=as_json, lines=lines)


@app.command()
def index(
    gold: Annotated[Path, typer.Argument(help="CSV with columns case, index_percent.")],
    scores: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with columns case, index_percent; reader where several, modality where the same read in two, "
            "and cause of a difference where it was looked for (heterogeneity, visual error, wrong cells, stain, not "
            "tumour, other)."
        ),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Indices of another program, in place of SCORES.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Folder for a picture: scores over gold, Bland and Altman's plot."),
    ] = None,
    discrepancy_points: Annotated[
        float,
        typer.Option("--discrepancy-points", min=0, help="List scores farther than this from the gold index."),
    ] = 5.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Indices of many cases: MAE, RMSE, ICC, correlations, Bland-Altman, kappa at cut-offs; several readers too."""
    from ki67.evaluation.index import evaluate_index

    begin(quiet=quiet)
    answers = scores or predictions
    if answers is None or (scores is not None and predictions is not None):
        raise typer.BadParameter("are needed once", param_hint="SCORES or --predictions")
    result = evaluate_index(gold, answers, figures=figures, discrepancy_points=discrepancy_points)
    lines: list[str] = []
    for modality, own in result.get("modalities", {"": result}).items():
        lines += [*([modality] if modality else []), *_readers_to_gold(own), ""]
    if "between_modalities" in result:
        between = result["between_modalities"]
        lines += [
            _limits_line(f"{between['difference']}, {who} reader", between[f"{who}_reader"])
            for who in ("same", "other")
            if between[f"{who}_reader"] is not None
        ]
    emit(result, as_json=as_json, lines=[*lines, *_discrepancy_lines(result["discrepancies"])])


def _readers_to_gold(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{result['of']} against the gold standard", *_index_lines(result)]
    for reader, own in result.get("readers", {}).items():
        bias = own["bland_altman_bias_points"]
        line = f"{reader}: mean absolute error {own['mae_points']:.2f} points, bias {bias:+.2f}"
        lines.append(f"{line}, ICC {number(own['icc'], '.3f')}")
    if "between_readers" in result:
        lines += ["", "readers with one another", *_index_lines(result["between_readers"])]
        limits = result["limits_of_agreement"]
        lines.append(_limits_line("any reader less the gold", limits["reader_to_gold"]))
        lines.append(_limits_line("any two readers", limits["between_readers"]))
    return lines


def _limits_line(what: str, limits: Mapping[str, Any]) -> str:
    ends = f"95 % limits {limits['lower_points']:+.1f} to {limits['upper_points']:+.1f}"
    return f"{what}: bias {limits['bias_points']:+.2f} points, {ends}"


def _discrepancy_lines(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{result['scores']} scores more than {result['beyond_points']:g} points off"]
    for cause, own in result["by_cause"].items():
        known = own["published_percent"]
        published = "" if known is None else f"; {known:g} % in PMC6382355"
        lines.append(f"  {cause}: {own['scores']} ({own['percent']:.0f} % of those reviewed{published})")
    if result["by_cause"] and result["not_reviewed"]:
        lines.append(f"  without a cause: {result['not_reviewed']}")
    return lines


def _index_lines(result: Mapping[str, Any]) -> list[str]:
    """A line for each figure; what has parts of its own is told by them."""
    lines = []
    for name, value in result.items():
        if name == "cut_offs":
            lines += [f"at the cut-off {cut_off}: {_at_cut_off(own)}" for cut_off, own in value.items()]
        elif name == "icc_ci95":
            lines.append(f"{name}: " + ("–" if value is None else f"{value[0]:.3f} to {value[1]:.3f}"))
        elif not isinstance(value, dict | str | list):
            lines.append(f"{name}: {number(value)}")
    return lines


def _at_cut_off(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"kappa {number(value['kappa'], '.3f')}, {value['discordant']} cases in another class"
    return f"Fleiss' kappa {number(value, '.3f')}"


def _cell_lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['images']} fields, {result['cells']} labelled tumour cells",
        f"matched within {result['radius_um']:g} µm:",
        f"{'class':>9s} precision    recall        F1   95 % interval over fields",
    ]
    for name, row in (*result["classes"].items(), ("any", result["detection"])):
        values = "".join(f" {number(row[measure], '.3f'):>9s}" for measure in ("precision", "recall", "f1"))
        interval = "   {:.3f}-{:.3f}".format(*row["f1_ci95"]) if row["f1_ci95"] else ""
        lines.append(f"{name:>9s}{values}{interval}")
    lines += _confusion_lines(result["confusion"])
    index = {name: number(result[f"index_{name}"]) for name in ("mae_points", "rmse_points", "icc", "bias_points")}
    low, high = (number(result[f"index_{name}_points"]) for name in ("lower", "upper"))
    rate, classed = (
        number(result[f"{name}_percent"]) for name in ("positive_rate_accuracy", "cells_rightly_classed")
    )
    return [
        *lines,
        "",
        f"index: mean absolute error {index['mae_points']} points, RMSE {index['rmse_points']}, ICC {index['icc']}",
        f"       bias {index['bias_points']} points, 95 % limits of agreement {low} to {high}",
        f"       accuracy {rate} % (100 less the mean error in % of the index)",
        f"{classed} % of matched cells rightly classed",
    ]


def _measure_line(name: str, value: Any, intervals: Mapping[str, Sequence[float] | None]) -> str:
    limits = intervals.get(name)
    return f"{name:28s} {number(value):>8s}" + (f"   {limits[0]:.3f}-{limits[1]:.3f}" if limits else "")


def _confusion_lines(confusion: dict[str, dict[str, int]]) -> list[str]:
    called = next(iter(confusion.values()))
    lines = ["", f"{'labelled, called':>18s}" + "".join(f" {name:>9s}" for name in called)]
    return lines + [
        f"{name:>18s}" + "".join(f" {count:9,d}" for count in row.values()) for name, row in confusion.items()
    ]
