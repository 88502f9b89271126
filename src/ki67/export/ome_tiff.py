"""Maps of a case as OME-TIFF: the index in hexagons on the Ki-67 slide, the probability of carcinoma on the H&E."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.case import CaseView, Summary
from ki67.case.view import AGAIN
from ki67.errors import CaseError
from ki67.files import atomic_path
from ki67.geometry import RectUm
from ki67.scoring.local import HEXAGON_CELLS, LOCAL_COLUMNS, TumourCells, hexagon_map
from ki67.slides.pyramid import halve, level_sizes
from ki67.vocabulary import Layer

TILE_PX: Final = 256
INDEX_MPP: Final = 20.0
"""µm per pixel of the index map: a tenth of a hexagon's side."""

_UM_PER_CM: Final = 1e4


@dataclass(frozen=True)
class _Map:
    """Values (H, W), NaN where there is none, from the top left of level 0, and what they are."""

    values: NDArray[np.float32]
    mpp: float
    name: str
    description: str


def write_ome_tiff(view: CaseView, target: Path, layer: Layer) -> Summary:
    """Write a map as a pyramid of one float32 channel, with its pixel size; NaN where there is no value.

    The map begins at the top left of level 0 of its slide.

    Returns
    -------
    dict
        ``layer``, ``mpp`` (µm per pixel), ``size_px``.

    Raises
    ------
    CaseError
        Where the case holds no cells, or no heat map.
    WriteError
        Where the file cannot be written.
    """
    view.require_finished()
    found = _index_map(view) if layer is Layer.INDEX else _heat_map(view)
    _write(target, found)
    height, width = found.values.shape
    return {"layer": layer.value, "mpp": found.mpp, "size_px": [width, height]}


def _heat_map(view: CaseView) -> _Map:
    heatmap = view.heatmap
    if heatmap is None:
        found = "holds no heat map: its region was drawn, or it has no H&E slide"
        raise CaseError(view.folder, found, "Export the index map with --layer index.")
    text = "Probability of invasive carcinoma, 0 to 1, on the H&E slide; NaN off tissue"
    return _Map(heatmap.probability, heatmap.mpp, "P(IDC)", text)


def _index_map(view: CaseView) -> _Map:
    record = view.ki67
    if record is None:
        raise CaseError(view.folder, "was made without a Ki-67 slide", AGAIN)
    width_um, height_um = (side * record.mpp for side in record.size_px)
    region = RectUm(0, 0, width_um, height_um).polygon if view.regions_ki67 is None else view.regions_ki67.union()
    if view.excluded is not None:
        region = region.difference(view.excluded.union())
    hexagons = hexagon_map(TumourCells.of(view.read_cells(LOCAL_COLUMNS)), region).judged()
    x, y = (np.arange(max(1, round(side / INDEX_MPP))) * INDEX_MPP + INDEX_MPP / 2 for side in (width_um, height_um))
    values = np.full((len(y), len(x)), np.nan, np.float32)
    for row, middle in enumerate(y.tolist()):
        place = hexagons.find(np.column_stack([x, np.full(len(x), middle)]))
        values[row, place >= 0] = hexagons.index_percent[place[place >= 0]]
    text = (
        f"Ki-67 index in percent of hexagons with a side of {hexagons.side_um:g} µm and at least {HEXAGON_CELLS} "
        "tumour cells, on the Ki-67 slide; NaN elsewhere"
    )
    return _Map(values, INDEX_MPP, "Ki-67 index (%)", text)


def _write(target: Path, found: _Map) -> None:
    height, width = found.values.shape
    levels = [found.values]
    for _ in level_sizes((width, height), TILE_PX)[1:]:
        levels.append(halve(levels[-1]))
    layout: dict[str, Any] = {"tile": (TILE_PX, TILE_PX), "compression": "zlib", "photometric": "minisblack"}
    metadata = {
        "axes": "YX",
        "Name": found.name,
        "Description": found.description,
        "PhysicalSizeX": found.mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": found.mpp,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": [found.name]},
    }
    with atomic_path(target) as path, tifffile.TiffWriter(path, ome=True) as writer:
        for number, values in enumerate(levels):
            per_cm = _UM_PER_CM / (found.mpp * 2**number)
            top = {"subifds": len(levels) - 1, "metadata": metadata} if number == 0 else {"subfiletype": 1}
            writer.write(values, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", **layout, **top)
