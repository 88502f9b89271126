"""The report of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ki67 import cells, idc, report
from ki67.case import Case, CaseView, Stage, Summary
from ki67.case.artefacts import REPORT
from ki67.geometry import RectUm
from ki67.options import Options
from ki67.progress import message
from ki67.stages.opened import CaseSlide


def report_case(case: Case, he: CaseSlide | None, ki67: CaseSlide, options: Options) -> None:
    """Write the report of what is there; what earlier runs left and this one does not use goes before."""
    report_stage = Stage("report", 6, (REPORT,), result=True)
    case.keep_only_used(report_stage.name)

    def work() -> Summary:
        message("writing the report")
        view = case.view()
        data = report.ReportData(
            title=ki67.slide.path.name if he is None else f"{he.slide.path.name} + {ki67.slide.path.name}",
            he=he.slide if he else None,
            ki67=ki67.slide,
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
        )
        report.write_report(case.path(REPORT), data)
        return {"warnings": []}

    case.run_stage(report_stage, {}, tuple(case.written()), work)


def _cells_within(case: CaseView, rect_um: RectUm) -> pa.Table:
    """Cells centred in a rectangle; the table is sorted by y, so most of it is passed over."""
    x, y = pc.field("x_um"), pc.field("y_um")
    inside = (x >= rect_um.x_um) & (x < rect_um.right_um) & (y >= rect_um.y_um) & (y < rect_um.bottom_um)
    return case.read_cells([*report.CELL_COLUMNS, report.OUTLINE], inside)


def _model_cards(models: Mapping[str, str], options: Options) -> dict[str, Mapping[str, Any]]:
    cards: dict[str, Callable[[], Any]] = {
        "idc": lambda: idc.load_model().card.details,
        "cells": lambda: cells.load_engine(options.engine, options.cell_model).card.details,
    }
    return {name: cards[name]() for name in models}
