"""``ki67 register``: the Ki-67 section onto the H&E section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import (
    HeMpp,
    HeSlide,
    Json,
    Ki67Mpp,
    Ki67Slide,
    MppOverridesFile,
    Out,
    Quiet,
    begin,
    emit,
    slide_of,
    warning_lines,
)
from ki67.cli.score import AsGiven, Landmarks, ModeOption, Rotate, Shift, adjustment_of
from ki67.vocabulary import RegistrationMode


def register(
    he: HeSlide,
    ki67: Ki67Slide,
    out: Out,
    others: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=slide_of, help="Further sections of the block (ER, PR, HER2, …), of the Ki-67 slide's pixel size."
        ),
    ] = None,
    he_mpp: HeMpp = None,
    ki67_mpp: Ki67Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    mode: ModeOption = RegistrationMode.deformable,
    landmarks: Landmarks = None,
    shift: Shift = None,
    rotate: Rotate = None,
    as_given: AsGiven = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Register serial sections and say whether the result is believable.

    Of several sections of a block each is reached from the H&E through others where that is surer.
    """
    from ki67.pipeline import run_register

    begin(quiet=quiet)
    adjustment = adjustment_of(landmarks, shift, rotate, as_given=as_given)
    if others and adjustment is not None:
        raise typer.BadParameter("--landmarks, --shift and --rotate go with two sections, not with more")
    result = run_register(
        he,
        ki67,
        out,
        others or (),
        mode=mode,
        adjustment=adjustment,
        he_mpp=he_mpp,
        ki67_mpp=ki67_mpp,
        mpp_overrides_file=mpp_overrides_file,
    )
    verdict = "accepted" if result["accepted"] else "NOT accepted: " + "; ".join(result["reasons"])
    turned = f"turned by {result['rotation_deg']:.1f}°" + (", mirrored" if result["mirrored"] else "")
    error_um = result["estimated_error_um"]
    error = "its error cannot be estimated" if error_um is None else f"estimated error {error_um:.0f} µm (median)"
    lines = [
        f"registration {verdict}",
        f"{result['mode']}, {turned}; {error}",
        f"NCC {result['ncc']:.3f} (before {result['ncc_before']:.3f})",
        *_piece_lines(result),
        *warning_lines(result),
        f"transform: {result['transform']}",
        *[line for entry in result.get("sections", ()) for line in _section_lines(entry)],
    ]
    emit(result, as_json=as_json, lines=lines)


def _section_lines(entry: dict[str, Any]) -> list[str]:
    """How a section of a block is reached."""
    verdict = "accepted" if entry["accepted"] else "NOT accepted: " + "; ".join(entry["reasons"])
    error_um = entry["estimated_error_um"]
    error = "error not known" if error_um is None else f"estimated error {error_um:.0f} µm (median)"
    through = f", through {', '.join(Path(name).name for name in entry['through'])}" if entry["through"] else ""
    return [f"{Path(entry['slide']).name}: {verdict}; {error}{through}", f"  transform: {entry['transform']}"]


def _piece_lines(result: dict[str, Any]) -> list[str]:
    """A line for each piece of tissue that moved on its own, and one for what has no place."""
    lines = []
    for number, piece in enumerate(result["pieces"], start=1):
        error_um = piece["local_error_um"]
        error = "error not known" if error_um is None else f"estimated error {error_um:.0f} µm (median)"
        turned = f"turned by {piece['rotation_deg']:.1f}°" + (", mirrored" if piece["mirrored"] else "")
        lines.append(f"piece {number}: {piece['area_mm2']:.2f} mm², {turned}; {error}")
    if result["unregistered_mm2"] >= 0.005:
        share = result["unregistered_share"]
        lines.append(f"tissue without a believable place: {result['unregistered_mm2']:.2f} mm² ({share:.0%})")
    return lines
