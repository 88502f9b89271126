"""The report of a case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ki67 import cells, idc, report
from ki67.case import Case, CaseView, Stage, Summary
from ki67.case.artefacts import REPORT, REPORT_PDF, REPORTED
from ki67.case.corrections import CORRECTIONS
from ki67.case.details import CaseDetails
from ki67.corrected import corrected_view, corrections_of, finished
from ki67.geometry import RectUm
from ki67.options import Options
from ki67.progress import message
from ki67.slides import Slide
from ki67.stages.opened import CaseSlide
from ki67.vocabulary import EngineName


def report_case(case: Case, he: CaseSlide | None, ki67: CaseSlide, options: Options) -> None:
    """Write the report of what is there; what earlier runs left and this one does not use goes before."""
    case.keep_only_used(REPORTED)
    write_reports(case, he.slide if he else None, ki67.slide, options)


def write_reports(case: Case, he: Slide | None, ki67: Slide, options: Options) -> None:
    """Write the report, corrections included, as a page and as a PDF, and note what the laboratory tells."""
    details = options.details.over(CaseDetails.model_validate(case.manifest.get("details", {})))
    if details.told():
        case.update(details=details.model_dump(exclude_none=True))

    def work() -> Summary:
        message("writing the report")
        plain = finished(case.view())
        found = corrections_of(plain) if plain.is_corrected else None
        view = corrected_view(plain)
        data = report.ReportData(
            title=ki67.path.name if he is None else f"{he.path.name} + {ki67.path.name}",
            he=he,
            ki67=ki67,
            regions_he=view.regions_he,
            regions_ki67=view.regions_ki67,
            heatmap=view.heatmap,
            transform=view.transform,
            quality=view.quality.to_dict() if view.quality else None,
            excluded=view.excluded,
            unregistered=view.unregistered,
            cells=view.read_cells(report.CELL_COLUMNS),
            cells_within=partial(_cells_within, view),
            score=view.score.to_dict(),
            run=case.manifest,
            model_cards=_model_cards(case.manifest["models"], options),
            corrected=found,
            details=details,
            language=options.language,
        )
        report.write_reports(case.path(REPORT), case.path(REPORT_PDF), data)
        return {"warnings": []}

    reads = [name for name in case.written() if name not in {REPORT, REPORT_PDF}]
    if case.path(CORRECTIONS).exists():
        reads.append(CORRECTIONS)
    parameters = {"language": options.language.value, "details": dict(details.told())}
    case.run_stage(Stage(REPORTED, 7, (REPORT, REPORT_PDF), result=True), parameters, tuple(reads), work)


def _cells_within(case: CaseView, rect_um: RectUm) -> pa.Table:
    """Cells centred in a rectangle; the table is sorted by y, so most of it is passed over."""
    x, y = pc.field("x_um"), pc.field("y_um")
    inside = (x >= rect_um.x_um) & (x < rect_um.right_um) & (y >= rect_um.y_um) & (y < rect_um.bottom_um)
    return case.read_cells([*report.CELL_COLUMNS, report.OUTLINE], inside)


def _model_cards(models: Mapping[str, str], options: Options) -> dict[str, Mapping[str, Any]]:
    """Cards of the models by their hashes; none of a model that is neither shipped nor named among the options."""
    known = {card.sha256: card.details for card in _cards(models, options)}
    return {name: known[sha256] for name, sha256 in models.items() if sha256 in known}


def _cards(models: Iterable[str], options: Options) -> Iterable[Any]:
    if "idc" in models:
        yield idc.load_model().card
        yield idc.load_model(options.idc_model).card
    if "cells" in models:
        yield cells.load_engine(options.engine, options.cell_model).card
        yield from (cells.load_engine(engine).card for engine in EngineName if engine is not options.engine)
