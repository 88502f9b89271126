"""A pair of small sections as pixels in memory, with every cell known."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from shapely.geometry import Point

from ki67.annotations import Region, Regions
from ki67.geometry import RectUm
from ki67.report import ReportData

MPP = 2.0
SIDE_UM = 2400.0
SHIFT_UM = np.array([120.0, -60.0])


@dataclass(frozen=True)
class ArraySlide:
    """A slide held in memory; reads by area averaging, white outside."""

    pixels: NDArray[np.uint8]
    mpp: float
    path: Path

    @property
    def bounds_um(self) -> RectUm:
        return RectUm(0, 0, self.pixels.shape[1] * self.mpp, self.pixels.shape[0] * self.mpp)

    def read(self, region_um: RectUm, mpp: float) -> NDArray[np.uint8]:
        size = round(region_um.width_um / mpp), round(region_um.height_um / mpp)
        scale = mpp / self.mpp
        place = np.array(
            [
                [scale, 0, (region_um.x_um + mpp / 2) / self.mpp - 0.5],
                [0, scale, (region_um.y_um + mpp / 2) / self.mpp - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.pixels, place, size, flags=flags, borderValue=(255, 255, 255))


@dataclass(frozen=True)
class Map:
    """A heat map."""

    probability: NDArray[np.float32]
    mpp: float


class Shift:
    """A registration that only shifts: Ki-67 = H&E + SHIFT_UM."""

    def inverse_points(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        return points_um - SHIFT_UM


def tissue(background: tuple[int, int, int], shift_um: NDArray[np.float64]) -> NDArray[np.uint8]:
    side = round(SIDE_UM / MPP)
    pixels = np.full((side, side, 3), 255, np.uint8)
    centre = tuple(int(v) for v in (np.array([1200.0, 1200.0]) + shift_um) / MPP)
    cv2.ellipse(pixels, centre, (430, 380), 20, 0, 360, background, -1, cv2.LINE_AA)
    cv2.ellipse(pixels, centre, (90, 60), 60, 0, 360, (255, 255, 255), -1, cv2.LINE_AA)
    return pixels


CORNERS = 4.0 * np.column_stack([trig(np.linspace(0, 2 * np.pi, 9)[:-1]) for trig in (np.cos, np.sin)])
"""Of a nucleus 8 µm wide, around its centre."""


def cell_table(count: int = 3000, seed: int = 1) -> pa.Table:
    generator = np.random.default_rng(seed)
    xy = generator.normal(1200, 260, (count, 2))
    chance = np.clip((xy[:, 0] - 600) / 1500, 0.02, 0.9)
    label = np.where(generator.random(count) < chance, "positive", "negative")
    label[generator.random(count) < 0.15] = "other"
    return pa.table(
        {
            "cell_id": np.arange(count),
            "x_um": xy[:, 0],
            "y_um": xy[:, 1],
            "label": label,
            "area_um2": generator.uniform(25, 90, count),
            "region_id": ["idc-1"] * count,
            "in_region": np.hypot(*(xy - 1200).T) < 700,
            "outline_um": [(place + CORNERS).ravel() for place in xy],
        }
    )


def cells_within(table: pa.Table, rect_um: RectUm) -> pa.Table:
    x, y = table["x_um"].to_numpy(), table["y_um"].to_numpy()
    inside = (x >= rect_um.x_um) & (x < rect_um.right_um) & (y >= rect_um.y_um) & (y < rect_um.bottom_um)
    return table.filter(pa.array(inside))


@pytest.fixture
def cells() -> pa.Table:
    return cell_table()


@pytest.fixture
def data(cells: pa.Table) -> ReportData:
    return pair(cells)


def pair(cells: pa.Table, **changes: Any) -> ReportData:
    ki67_pixels = tissue((225, 224, 232), SHIFT_UM)
    for row in cells.to_pylist():
        color = {"positive": (110, 70, 40), "negative": (120, 140, 190), "other": (150, 160, 200)}[row["label"]]
        place = (int(row["x_um"] / MPP), int(row["y_um"] / MPP))
        cv2.circle(ki67_pixels, place, 2, color, -1, cv2.LINE_AA)
    y, x = np.mgrid[0:48, 0:48]
    probability = np.exp(-((x - 24) ** 2 + (y - 24) ** 2) / 150).astype(np.float32)
    probability[np.hypot(x - 24, y - 24) > 17] = np.nan
    region = Region("IDC", Point(1200, 1200).buffer(700), "idc-1")
    content: dict[str, Any] = {
        "title": "he.tif + ki67.tif",
        "he": ArraySlide(tissue((228, 170, 200), np.zeros(2)), MPP, Path("he.tif")),
        "ki67": ArraySlide(ki67_pixels, MPP, Path("ki67.tif")),
        "regions_he": Regions([Region("IDC", Point(1080, 1260).buffer(700), "idc-1")]),
        "regions_ki67": Regions([region]),
        "heatmap": Map(probability, 50.0),
        "transform": Shift(),
        "quality": {"ncc": 0.91, "ncc_before": 0.2, "ncc_mpp": 8.0, "accepted": True, "reasons": []},
        "cells": cells,
        "cells_within": partial(cells_within, cells),
        "score": {
            "index_percent": 37.654321,
            "ci95_percent": [35.5, 39.8],
            "positive": 800,
            "negative": 1325,
            "other": 400,
            "cells": 2125,
            "area_mm2": 1.539,
            "warnings": ["the tissue is torn"],
            "regions": [],
        },
        "run": {
            "inputs": {"he": {"path": "he.tif", "mpp": 2.0, "fingerprint": {"bytes": 4, "sha": "ab"}}},
            "models": {"cells": "c0ffee" * 8},
            "versions": {"ki67": "0.1.0", "numpy": "2.0"},
            "stages": {
                "score": {"state": "done", "seconds": 0.2, "started": "2026-01-01T00:00:09", "parameters": {}},
                "cells": {
                    "state": "done",
                    "seconds": 12.5,
                    "started": "2026-01-01T00:00:01",
                    "peak_memory_mib": 812.3,
                    "parameters": {"margin_um": 50.0},
                    "summary": {"warnings": ["pale slide"]},
                },
                "report": {"state": "running", "started": "2026-01-01T00:00:10"},
            },
        },
        "model_cards": {"cells": {"name": "forest 1", "use": "research use only", "figures": {"f1": 0.75}}},
    }
    return ReportData(**(content | changes))
