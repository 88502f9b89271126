"""``ki67 report``: the report of a finished case, once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import (
    Accession,
    Antibody,
    Block,
    CellModel,
    EngineOption,
    Json,
    LanguageOption,
    Quiet,
    Scanner,
    Stain,
    begin,
    details_of,
    emit,
    number,
    slide_of,
)
from ki67.vocabulary import EngineName, Language


def report(
    case: Annotated[Path, typer.Argument(help="Folder of a case that 'score' or 'count' has finished.")],
    language: LanguageOption = Language.en,
    accession: Accession = None,
    block: Block = None,
    stain: Stain = None,
    antibody: Antibody = None,
    scanner: Scanner = None,
    he: Annotated[
        Path | None,
        typer.Option("--he", parser=slide_of, metavar="SLIDE", help="Where the H&E slide lies, if it was moved."),
    ] = None,
    ki67: Annotated[
        Path | None,
        typer.Option("--ki67", parser=slide_of, metavar="SLIDE", help="Where the Ki-67 slide lies, if it was moved."),
    ] = None,
    engine: EngineOption = EngineName.network,
    cell_model: CellModel = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the report again: with the corrections, in another language, with details of the case."""
    from ki67.options import Options
    from ki67.pipeline import run_report

    begin(quiet=quiet)
    details = details_of(accession=accession, block=block, stain=stain, antibody=antibody, scanner=scanner)
    options = Options(language=language, details=details, engine=engine, cell_model=cell_model)
    result = run_report(case, options, he=he, ki67=ki67)
    index, automatic = result["index_percent"], result["automatic_index_percent"]
    lines = [f"Ki-67 index: {number(index, '.1f')} %"]
    lines += [] if index == automatic else [f"automatic: {number(automatic, '.1f')} %"]
    emit(result, as_json=as_json, lines=[*lines, f"report: {result['report']}", f"        {result['pdf']}"])
