"""How uneven the index is over the section, from its index map in hexagons.

The measures are those of the field (Zilenaite-Petrulaitiene et al., Am J Clin Pathol 2025;164:567; Laurinavicius et
al., Virchows Arch 2016); side of the hexagons, fewest cells and levels are our parameters, told with the result.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ki67.scoring.local import HEXAGON_CELLS, NEIGHBOURS, HexagonMap

LEVELS: Final = 10
"""Levels of 10 points each into which local indices are sorted for both entropies."""

LEAST_HEXAGONS: Final = 10
"""With fewer hexagons the measures tell of chance."""

_ROUNDS: Final = 200
_SETTLED: Final = 1e-6
_NARROWEST_SD: Final = 0.5
"""Points; a component of a mixture that shrinks onto one value would have any separation."""


class Heterogeneity(BaseModel):
    """Unevenness of the index; a measure is None where it is not defined."""

    model_config = ConfigDict(frozen=True)

    hexagon_side_um: float
    minimum_cells: int
    hexagons: int
    """Hexagons with cells enough."""
    index_quartiles_percent: tuple[float, float, float] | None
    entropy: float | None
    """Shannon's, in bits, of the levels of the local indices: 0 where all are one, at most log2 of 10."""
    haralick_entropy: float | None
    """In bits, of the levels of neighbouring hexagons (Haralick et al., IEEE Trans Syst Man Cybern 1973, f9)."""
    moran_i: float | None
    """Moran's I over neighbouring hexagons: 0 by chance, towards 1 where high and low keep to themselves."""
    ashman_d: float | None
    """Separation of two Gaussians fitted to the local indices; above 2 they are apart (Ashman et al. 1994)."""
    high_share: float | None
    """Share of the hexagons in the higher one of them."""


def heterogeneity(hexagons: HexagonMap, minimum_cells: int = HEXAGON_CELLS) -> Heterogeneity:
    """Measure how uneven the index is, over hexagons with at least ``minimum_cells`` tumour cells."""
    judged = hexagons.judged(minimum_cells)
    facts: dict[str, Any] = {"hexagon_side_um": judged.side_um, "minimum_cells": minimum_cells}
    facts["hexagons"] = len(judged.cells)
    index = judged.index_percent
    if len(index) < LEAST_HEXAGONS:
        names = ("index_quartiles_percent", "entropy", "haralick_entropy", "moran_i", "ashman_d", "high_share")
        nothing: dict[str, Any] = dict.fromkeys(names)
        return Heterogeneity(**facts, **nothing)
    levels = np.minimum((index / (100 / LEVELS)).astype(np.int64), LEVELS - 1)
    pairs = _neighbours(judged)
    low, middle, high = np.percentile(index, (25, 50, 75))
    ashman, share = _two_gaussians(index)
    return Heterogeneity(
        **facts,
        index_quartiles_percent=(float(low), float(middle), float(high)),
        entropy=_entropy(np.bincount(levels, minlength=LEVELS)),
        haralick_entropy=_entropy(_cooccurrence(levels, pairs)) if len(pairs) else None,
        moran_i=_moran(index, pairs),
        ashman_d=ashman,
        high_share=share,
    )


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return abs(float((shares * np.log2(shares)).sum()))


def _neighbours(hexagons: HexagonMap) -> NDArray[np.int64]:
    """Pairs (P, 2) of neighbouring hexagons, each pair once."""
    columns, rows = hexagons.column.tolist(), hexagons.row.tolist()
    place = {key: number for number, key in enumerate(zip(columns, rows, strict=True))}
    pairs = [
        (number, other)
        for (column, row), number in place.items()
        for step in NEIGHBOURS
        if (other := place.get((column + step[0], row + step[1]))) is not None
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _cooccurrence(levels: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.zeros((LEVELS, LEVELS), np.int64)
    first, second = levels[pairs].T
    np.add.at(counts, (first, second), 1)
    return counts + counts.T


def _moran(index: NDArray[np.float64], pairs: NDArray[np.int64]) -> float | None:
    off = index - index.mean()
    spread = float((off**2).mean())
    if not len(pairs) or spread == 0:
        return None
    return float((off[pairs[:, 0]] * off[pairs[:, 1]]).mean()) / spread


def _two_gaussians(index: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Ashman's D and the share of the higher of two Gaussians, by expectation maximisation from the two halves."""
    if np.ptp(index) == 0:
        return None, None
    above = index > np.median(index) if (index > np.median(index)).any() else index >= np.median(index)
    weight = above.astype(np.float64)
    before = -math.inf
    for _ in range(_ROUNDS):
        parts = [1 - weight, weight]
        shares = np.array([part.mean() for part in parts])
        if shares.min() * len(index) < 1:
            return None, None
        means = np.array([float(part @ index / part.sum()) for part in parts])
        spreads = np.array([math.sqrt(float(part @ (index - mean) ** 2 / part.sum()))
                            for part, mean in zip(parts, means, strict=True)])  # fmt: skip
        spreads = np.maximum(spreads, _NARROWEST_SD)
        density = shares / spreads * np.exp(-(((index[:, None] - means) / spreads) ** 2) / 2)
        total = np.maximum(density.sum(axis=1), np.finfo(np.float64).tiny)
        weight = density[:, 1] / total
        likelihood = float(np.log(total).mean())
        if likelihood - before < _SETTLED:
            break
        before = likelihood
    return math.sqrt(2) * abs(float(means[1] - means[0])) / math.hypot(*spreads), float(shares[1])
