"""``ki67 count``: the cells of one Ki-67 slide or field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    IntensityCuts,
    Json,
    KeepArtefacts,
    Label,
    LanguageOption,
    Mpp,
    MppOverridesFile,
    Out,
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
    profiled,
    slide_of,
    validation_of,
    warning_lines,
)
from ki67.vocabulary import Device, EngineName, Language


def count(
    ki67: Annotated[
        Path,
        typer.Argument(
            parser=slide_of, help="The Ki-67 slide, or a plain PNG, JPEG or TIFF field; or the URL of a TIFF."
        ),
    ],
    out: Out,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="GeoJSON with regions on this slide; default: all tissue.")
    ] = None,
    find_tumour: Annotated[
        bool,
        typer.Option(
            "--find-tumour", help="Without --regions: outline the carcinoma where most nuclei are tumour cells."
        ),
    ] = False,
    label: Label = None,
    mpp: Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    engine: EngineOption = EngineName.network,
    cell_model: CellModel = None,
    device: DeviceOption = Device.cpu,
    dab_threshold: DabThreshold = None,
    validation: Validation = None,
    intensity_cuts: IntensityCuts = None,
    keep_artefacts: KeepArtefacts = False,
    use_unusable_stain: UnusableStain = False,
    use_doubtful_region: DoubtfulRegion = False,
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
    """Count Ki-67 positive and negative tumour cells on one slide or field."""
    from ki67.options import Options
    from ki67.pipeline import run_count

    begin(quiet=quiet)
    if find_tumour and regions is not None:
        raise typer.BadParameter("the regions are given: leave one of the two out", param_hint="--find-tumour")
    options = Options(
        regions=regions,
        label=label,
        find_tumour=find_tumour,
        engine=engine,
        cell_model=cell_model,
        device=device,
        dab_threshold=dab_threshold,
        validation=validation_of(validation, dab_threshold),
        intensity_cuts_od=intensity_cuts_of(intensity_cuts),
        keep_artefacts=keep_artefacts,
        use_unusable_stain=use_unusable_stain,
        use_doubtful_region=use_doubtful_region,
        language=language,
        details=details_of(accession=accession, block=block, stain=stain, antibody=antibody, scanner=scanner),
    )
    with profiled(profile):
        result = run_count(ki67, out, options, mpp=mpp, mpp_overrides_file=mpp_overrides_file)
    lines = [index_line(result), *warning_lines(result), f"report: {result['report']}"]
    emit(result, as_json=as_json, lines=lines)
