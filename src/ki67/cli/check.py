"""``ki67 check``: what the program sees of a slide or a pair, and what it would refuse."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import HeMpp, Json, Ki67Mpp, Mpp, MppOverridesFile, Quiet, begin, emit, slide_of

_LABEL = 10
_WIDEST = 120
_STAINS = {"he": "H&E", "ki67": "Ki-67"}


def check(
    he: Annotated[
        Path, typer.Argument(parser=slide_of, help="The H&E slide; alone it may be any slide or field. Or its URL.")
    ],
    ki67: Annotated[Path | None, typer.Argument(parser=slide_of, help="The Ki-67 slide, or its URL.")] = None,
    mpp: Mpp = None,
    he_mpp: HeMpp = None,
    ki67_mpp: Ki67Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell in seconds what is seen of the slides, and what 'score' or 'count' would refuse and why."""
    from ki67.checking import check_slides

    begin(quiet=quiet)
    if ki67 is None and ki67_mpp is not None:
        raise typer.BadParameter("one slide was named; give its pixel size with --mpp", param_hint="--ki67-mpp")
    if mpp is not None and (ki67 is not None or he_mpp is not None):
        raise typer.BadParameter("is for one slide; for two give --he-mpp and --ki67-mpp", param_hint="--mpp")
    result = check_slides(
        he, ki67, first_mpp=he_mpp if mpp is None else mpp, ki67_mpp=ki67_mpp, overrides_file=mpp_overrides_file
    )
    width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
    emit(result, as_json=as_json, lines=_screen(result, width))


def _screen(result: Mapping[str, Any], width: int) -> list[str]:
    lines: list[str] = []
    for slide in result["slides"]:
        lines += [*_slide_lines(slide, width), ""]
    shown = {text for slide in result["slides"] for text in slide["warnings"]}
    for text in (text for text in result["warnings"] if text not in shown):
        lines += _entry("warning", text, width)
    for text in result["problems"]:
        lines += _entry("refused", text, width)
    return [*lines, *([""] if result["problems"] or set(result["warnings"]) - shown else []), _verdict(result)]


def _slide_lines(slide: Mapping[str, Any], width: int) -> list[str]:
    rows = [
        ("reader", f"{slide['reader']}, {_size(slide['size_px'])} px, {_levels(slide)}"),
        ("pixel size", _pixel(slide)),
        ("tissue", _tissue(slide)),
        ("looks like", slide["stain"] or "not known"),
        ("sharpness", "not known" if slide["focus"] is None else f"{slide['focus']:.2f} OD (sharp from 0.15 on)"),
        ("nuclei", _nuclei(slide)),
        ("QuPath", _origin(slide)),
        *(("warning", text) for text in slide["warnings"]),
    ]
    name = f"{_STAINS[slide['role']]}  {Path(slide['path']).name}"
    return [name, *(line for label, text in rows if text for line in _entry(label, text, width))]


def _size(pair: Iterable[int]) -> str:
    return " x ".join(f"{value:,}" for value in pair)


def _levels(slide: Mapping[str, Any]) -> str:
    count = len(slide["levels"])
    sizes = [level["mpp"] for level in slide["levels"]]
    told = f" ({', '.join(f'{size:.3g}' for size in sizes)} µm)" if count > 1 and None not in sizes else ""
    return f"{count} level{'s' if count > 1 else ''}{told}"


def _pixel(slide: Mapping[str, Any]) -> str:
    if slide["mpp"] is None:
        return "not known" if slide["mpp_of_file"] is None else f"refused: the file says {slide['mpp_of_file']}"
    if slide["mpp_source"] == "file":
        return f"{slide['mpp_of_file']}, as the file says"
    own = "the file does not say" if slide["mpp_of_file"] is None else f"the file says {slide['mpp_of_file']}"
    return f"{slide['mpp']:.5g} µm, as given; {own}"


def _tissue(slide: Mapping[str, Any]) -> str:
    if slide["tissue_mm2"] is None:
        return "not known"
    return f"{slide['tissue_mm2']:.3g} mm² in {slide['pieces']} piece{'s' if slide['pieces'] != 1 else ''}"


def _nuclei(slide: Mapping[str, Any]) -> str:
    size = slide["nuclear_radius_um"]
    return "" if size is None else f"typical radius {size:.1f} µm"


def _origin(slide: Mapping[str, Any]) -> str:
    x_px, y_px = slide["origin_px"]
    return f"counts pixels from ({x_px:,.0f}, {y_px:,.0f})" if x_px or y_px else ""


def _verdict(result: Mapping[str, Any]) -> str:
    roles = [slide["role"] for slide in result["slides"]]
    whole = "with 'ki67 score'" if len(roles) == 2 else "with 'ki67 count'"
    purpose = whole if "ki67" in roles else "as the H&E slide of 'ki67 score'"
    return f"usable {purpose}" if result["usable"] else f"NOT usable {purpose}"


def _entry(label: str, text: str, width: int) -> list[str]:
    """Lay out a label and its text; the text's further lines stand under its first."""
    indent = " " * (_LABEL + 4)
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"  {label:{_LABEL}s}  ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
