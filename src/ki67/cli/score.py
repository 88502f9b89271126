"""``ki67 score``: one case, from two slides to a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ki67.cli.common import (
    Accession,
    Antibody,
    Block,
    CellModel,
    DabThreshold,
    DeviceOption,
    DoubtfulRegion,
    EngineOption,
    HeMpp,
    HeSlide,
    IntensityCuts,
    Json,
    KeepArtefacts,
    Ki67Mpp,
    Ki67Slide,
    Label,
    LanguageOption,
    MppOverridesFile,
    Out,
    OutlineLeastArea,
    OutlineLeastHole,
    OutlineSmoothing,
    OutlineThreshold,
    Profile,
    Quiet,
    Scanner,
    Stain,
    UnusableStain,
    Validation,
    begin,
    details_of,
    emit,
    index_line,
    intensity_cuts_of,
    outline_of,
    profiled,
    validation_of,
    warning_lines,
)
from ki67.vocabulary import MINIMUM_CELLS, Device, EngineName, Language, RegistrationMode

if TYPE_CHECKING:
    from ki67.options import Adjustment


ModeOption = Annotated[RegistrationMode, typer.Option("--mode", help="How far the registration may bend a section.")]
Unaccepted = Annotated[
    bool, typer.Option("--use-unaccepted-registration", help="Go on with a registration that is not believable.")
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        "--landmarks", help="Register by pairs of places: CSV he_x,he_y,ki67_x,ki67_y in pixels, two pairs or more."
    ),
]
Shift = Annotated[
    tuple[float, float] | None,
    typer.Option("--shift", metavar="DX DY", help="Move the found place on the Ki-67 slide by µm: right, down."),
]
Rotate = Annotated[
    float | None, typer.Option("--rotate", metavar="DEG", help="Turn it clockwise about the middle of the tissue.")
]
AsGiven = Annotated[
    bool, typer.Option("--as-given", help="Take landmarks, shift and turn as they are, without refining.")
]
FewCells = Annotated[
    bool,
    typer.Option("--allow-few-cells", help=f"Report an index on fewer than {MINIMUM_CELLS} tumour cells, flagged."),
]


FARTHEST_UM = 1e5
"""No slide is longer than 100 mm."""

FULL_TURN_DEG = 360.0


def adjustment_of(
    landmarks: Path | None, shift: tuple[float, float] | None, rotate: float | None, *, as_given: bool
) -> Adjustment | None:
    """What the options of registration by hand say together; None where none is given."""
    from ki67.options import Adjustment

    if landmarks is None and shift is None and rotate is None:
        if as_given:
            raise typer.BadParameter("--as-given needs --landmarks, --shift or --rotate")
        return None
    if max(map(abs, shift or (0.0, 0.0))) > FARTHEST_UM or abs(rotate or 0.0) > FULL_TURN_DEG:
        msg = f"--shift goes to {FARTHEST_UM:,.0f} µm and --rotate to {FULL_TURN_DEG:.0f}° either way"
        raise typer.BadParameter(msg)
    return Adjustment(landmarks, shift or (0.0, 0.0), rotate or 0.0, as_given)


def score(
    he: HeSlide,
    ki67: Ki67Slide,
    out: Out,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="GeoJSON with the region on the H&E; default: find it.")
    ] = None,
    label: Label = None,
    he_mpp: HeMpp = None,
    ki67_mpp: Ki67Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    mode: ModeOption = RegistrationMode.deformable,
    landmarks: Landmarks = None,
    shift: Shift = None,
    rotate: Rotate = None,
    as_given: AsGiven = False,
    use_unaccepted_registration: Unaccepted = False,
    allow_few_cells: FewCells = False,
    engine: EngineOption = EngineName.network,
    cell_model: CellModel = None,
    device: DeviceOption = Device.cpu,
    dab_threshold: DabThreshold = None,
    validation: Validation = None,
    intensity_cuts: IntensityCuts = None,
    keep_artefacts: KeepArtefacts = False,
    use_unusable_stain: UnusableStain = False,
    use_doubtful_region: DoubtfulRegion = False,
    idc_model: Annotated[
        Path | None,
        typer.Option("--idc-model", help="Another model of the carcinoma (idc train, idc adapt), or inception_v1."),
    ] = None,
    outline_threshold: OutlineThreshold = None,
    outline_smoothing: OutlineSmoothing = None,
    outline_least_area: OutlineLeastArea = None,
    outline_least_hole: OutlineLeastHole = None,
    language: LanguageOption = Language.en,
    accession: Accession = None,
    block: Block = None,
    stain: Stain = None,
    antibody: Antibody = None,
    scanner: Scanner = None,
    profile: Profile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a case: find the carcinoma on the H&E, carry it to the Ki-67 slide, count, report."""
    from ki67.idc import DEFAULT_OUTLINE
    from ki67.options import Options
    from ki67.pipeline import run_score

    begin(quiet=quiet)
    outline = outline_of(outline_threshold, outline_smoothing, outline_least_area, outline_least_hole)
    if regions is not None and (idc_model is not None or outline != DEFAULT_OUTLINE):
        raise typer.BadParameter("--idc-model and --outline-… draw the region; with --regions it is drawn already")
    options = Options(
        regions=regions,
        label=label,
        mode=mode,
        adjustment=adjustment_of(landmarks, shift, rotate, as_given=as_given),
        use_unaccepted_registration=use_unaccepted_registration,
        allow_few_cells=allow_few_cells,
        engine=engine,
        cell_model=cell_model,
        device=device,
        dab_threshold=dab_threshold,
        validation=validation_of(validation, dab_threshold),
        intensity_cuts_od=intensity_cuts_of(intensity_cuts),
        keep_artefacts=keep_artefacts,
        use_unusable_stain=use_unusable_stain,
        use_doubtful_region=use_doubtful_region,
        idc_model=idc_model,
        outline=outline,
        language=language,
        details=details_of(accession=accession, block=block, stain=stain, antibody=antibody, scanner=scanner),
    )
    with profiled(profile):
        result = run_score(
            he, ki67, out, options, he_mpp=he_mpp, ki67_mpp=ki67_mpp, mpp_overrides_file=mpp_overrides_file
        )
    lines = [
        index_line(result),
        f"registration: NCC {result['registration']['ncc']:.3f} (before {result['registration']['ncc_before']:.3f})",
        *_spread_line(result),
        *warning_lines(result),
        f"report: {result['report']}",
    ]
    emit(result, as_json=as_json, lines=lines)


def _spread_line(result: Mapping[str, Any]) -> list[str]:
    spread = result["registration_spread_percent"]
    if spread is None:
        return ["spread of the index under the registration's error: not known"]
    return [f"spread of the index under the registration's estimated error: {spread[0]:.1f} to {spread[1]:.1f} %"]
