"""Cells for the Digital Slide Archive and HistomicsUI: one annotation as ``large_image`` has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pyarrow.compute as pc

from ki67.annotations import CELL_CLASSES
from ki67.case import CaseView, Summary
from ki67.export.cells import CellPart
from ki67.export.json_text import by_class, joined, measurements, points, rings, write_items
from ki67.files import atomic_path
from ki67.slides import PixelFrame

NAME: Final = "ki67 cells"
LINE_WIDTH_PX: Final = 2

_HEIGHT: Final = ",0"
"""Every place has three coordinates."""


def write_dsa(view: CaseView, target: Path) -> Summary:
    """Write the counted cells as closed polylines, grouped by class; a cell without an outline is a point.

    Places are pixels from the top left of level 0: the viewer's ``large_image`` shows all of it, also of slides that
    QuPath shows cropped. Each element carries its measurements under ``user``, by the cell table's names.

    Returns
    -------
    dict
        ``cells``: how many were written.

    Raises
    ------
    CaseError
        Where the case holds no counted cells.
    WriteError
        Where the file cannot be written.
    """
    frame = PixelFrame(view.frame("ki67").mpp)
    with atomic_path(target) as path, path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f'{{"name":{json.dumps(NAME)},"description":{json.dumps(_description(view))},"elements":[')
        count = write_items(stream, view, lambda part: _elements(part, frame))
        stream.write("]}\n")
    return {"cells": count}


def _description(view: CaseView) -> str:
    score = view.score
    index = "no index" if score.index_percent is None else f"Ki-67 index {score.index_percent:.1f} %"
    return f"{index}, {score.positive:,} positive of {score.cells:,} tumour cells"


def _elements(part: CellPart, frame: PixelFrame) -> list[str]:
    ring = rings(part, frame.to_px(part.corners_um), _HEIGHT, closed=False)
    outline = joined('{"type":"polyline","closed":true,"points":', ring)
    centre = joined('{"type":"point","center":', points(frame.to_px(part.centres_um), _HEIGHT))
    shared = joined(",", by_class(part, _LOOK), ',"user":', measurements(part), "}")
    texts: list[str] = joined(pc.coalesce(outline, centre), shared).to_pylist()
    return texts


def _look(label: str) -> str:
    name, (red, green, blue) = CELL_CLASSES[label]
    fields = {
        "group": name,
        "label": {"value": name},
        "lineColor": f"rgb({red},{green},{blue})",
        "lineWidth": LINE_WIDTH_PX,
    }
    return json.dumps(fields, separators=(",", ":"))[1:-1]


_LOOK: Final = {label: _look(label) for label in CELL_CLASSES}
