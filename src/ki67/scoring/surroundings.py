"""Whether a region that was carried over looks like carcinoma on the slide it lies on now.

The registration is judged by structures, before a cell is counted. The cells judge it from the other side: carcinoma
is full of tumour cells, and there are fewer beside it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from shapely.geometry.base import BaseGeometry

from ki67.domain import Check, Verdict
from ki67.geometry import area_mm2
from ki67.vocabulary import TUMOUR_CLASSES

FEW_PER_MM2: Final = 300.0
"""Tumour cells per mm² below which a region is hardly carcinoma: simulated carcinoma holds 1,500 to 4,000 with its
stroma, a nest of 20 cells in every second field of 0.5 mm still 300."""

AS_DENSE: Final = 0.9
"""Density beside the region, in units of that inside, from which the outline marks no edge of the carcinoma."""

LEAST_BESIDE_MM2: Final = 0.05
"""Less area beside the region gives no density: some 100 cells."""

SURROUNDINGS_COLUMNS: Final = ("x_um", "y_um", "label", "excluded")
"""What the checks need of the cell table."""

_TUMOUR = pa.array(TUMOUR_CLASSES)


def surroundings_checks(table: pa.Table, region: BaseGeometry, margin_um: float) -> tuple[Check, ...]:
    """Checks of a region by the cells inside and beside it.

    Parameters
    ----------
    table
        Cell table with :data:`SURROUNDINGS_COLUMNS`, cells up to ``margin_um`` around the region included.
    region
        Counted region in µm.
    margin_um
        How far around the region cells were kept.

    Returns
    -------
    ``region_density`` (tumour cells per mm²), and ``region_edge`` (density beside, as a share of that inside; not
    measured where there is little beside, or nothing inside).
    """
    counted = table.filter(pc.and_(pc.is_in(table["label"], _TUMOUR), pc.equal(table["excluded"], "")))
    points = np.column_stack([np.asarray(counted["x_um"]), np.asarray(counted["y_um"])])
    shapely.prepare(region)
    inside = int(shapely.contains_xy(region, points).sum())
    beside_mm2 = area_mm2(region.buffer(margin_um)) - area_mm2(region)
    density = inside / area_mm2(region) if region.area > 0 else 0.0
    return _density(density), _edge(density, len(points) - inside, beside_mm2)


def _density(per_mm2: float) -> Check:
    few = per_mm2 < FEW_PER_MM2
    text = (
        f"the region holds {per_mm2:.0f} tumour cells per mm², carcinoma more than {FEW_PER_MM2:.0f}: it may lie on "
        "other tissue than on the H&E slide. Look at the checkerboard in the report"
    )
    verdict = Verdict.unusual if few else Verdict.usual
    return Check("region_density", verdict, text if few else "", per_mm2, (FEW_PER_MM2, None), "tumour cells per mm²")


def _edge(per_mm2: float, beside: int, beside_mm2: float) -> Check:
    if per_mm2 <= 0 or beside_mm2 < LEAST_BESIDE_MM2:
        return Check("region_edge", Verdict.usual, "", None, (None, AS_DENSE))
    share = beside / beside_mm2 / per_mm2
    dense = share >= AS_DENSE
    text = (
        f"tumour cells are as dense beside the region as in it ({share:.0%}): unless it was drawn inside the "
        "carcinoma, it may not lie where it lies on the H&E slide"
    )
    verdict = Verdict.unusual if dense else Verdict.usual
    return Check("region_edge", verdict, text if dense else "", share, (None, AS_DENSE))
