"""``ki67 gold``: gold standards from what people labelled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import App, FieldMpp, Json, MppOverridesFile, Quiet, begin, emit, number, warning_lines
from ki67.evaluation.rules import SlideOf
from ki67.vocabulary import Layout

app = App(help="Gold standards from what people labelled.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``make`` a word of its own although it is the only one."""


@app.command()
def make(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of labels, or a CSV with columns slide, positive, negative."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="CSV to write, for `ki67 compete` and `ki67 evaluate index`."),
    ] = None,
    layout: Annotated[
        Layout | None, typer.Option("--layout", help="How labelled regions of interest (ROIs) are stored.")
    ] = None,
    whole_slides: Annotated[
        bool,
        typer.Option(
            "--whole-slides", help="The folder holds one GeoJSON or CSV of points for each slide (needs --mpp)."
        ),
    ] = False,
    slide_of: Annotated[
        str,
        typer.Option(
            "--slide-of",
            help="Which slide a ROI is of: its name up to the last underscore (name), its subfolder (folder), or a "
            "CSV with columns roi, slide.",
        ),
    ] = SlideOf.name.value,
    mpp: FieldMpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    second: Annotated[
        Path | None, typer.Option("--second", help="Folder of another labeller's labels of the same, to compare.")
    ] = None,
    radius_um: Annotated[
        float | None, typer.Option("--radius-um", help="How far apart two labels of one nucleus may be, in µm.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count labelled cells slide by slide (Table 3 of the paper), and compare two labellers."""
    if layout is not None and whole_slides:
        raise typer.BadParameter("goes with labelled ROIs, not with --whole-slides", param_hint="--layout")
    from ki67.evaluation.gold import make_gold

    begin(quiet=quiet)
    result = make_gold(
        source,
        out,
        layout=None if layout is None else layout.value,
        whole_slides=whole_slides,
        slide_of=SlideOf(slide_of) if slide_of in SlideOf.__members__ else Path(slide_of),
        mpp=mpp,
        mpp_overrides_file=mpp_overrides_file,
        second=second,
        radius_um=radius_um,
    )
    lines = [*_table(result), *_agreement(result["agreement"]), *warning_lines(result)]
    emit(result, as_json=as_json, lines=lines + ([] if out is None else [f"written: {out}"]))


def _table(result: Mapping[str, Any]) -> list[str]:
    width = max(len("average"), *(len(slide["slide"]) for slide in result["slides"]))
    lines = [f"{'slide':{width}s}   positive   negative      cells  index %  standard"]
    for slide in result["slides"]:
        low, high = slide["standard"]
        either = f"{low}" if low == high else f"{low} or {high}"
        lines.append(f"{_counts(slide['slide'], slide, width)}  {slide['index_percent']:7.2f}  {either}")
    lines += [_counts("sum", result["sum"], width), _counts("average", result["average"], width)]
    pooled, mean = result["pooled_percent"], result["mean_of_slides_percent"]
    return [*lines, f"index of all cells together (pooled) {pooled:.2f} %, mean of the slides' indices {mean:.2f} %"]


def _counts(name: str, counts: Mapping[str, Any], width: int) -> str:
    return f"{name:{width}s} " + " ".join(f"{counts[kind]:10,.0f}" for kind in ("positive", "negative", "cells"))


def _agreement(result: Mapping[str, Any] | None) -> list[str]:
    if result is None:
        return []
    slides = f"{result['slides']} slide" + ("" if result["slides"] == 1 else "s")
    lines = ["", f"two labellers on {slides}, labels matched within {result['radius_um']:g} µm (95 % over slides):"]
    for name, row in (*result["classes"].items(), ("any class", result["detection"])):
        lines.append(f"{name:>9s}: F1 {number(row['f1'], '.3f')}{_interval(row['f1_ci95'], '.3f')}")
    lines.append(
        f"nuclei that both labelled: kappa {number(result['kappa'], '.3f')}{_interval(result['kappa_ci95'], '.3f')}, "
        f"{number(result['same_class_percent'], '.1f')} % of the same class"
    )
    for name, text in (("index_difference", "index, second less first"), ("index_mae", "size of that difference")):
        value, limits = result[f"{name}_points"], result[f"{name}_ci95_points"]
        lines.append(f"{text}: {number(value, '.2f')}{_interval(limits, '.2f')} points, mean of the slides")
    return lines


def _interval(limits: list[float] | None, form: str) -> str:
    return "" if limits is None else f" ({limits[0]:{form}} to {limits[1]:{form}})"
