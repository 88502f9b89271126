"""Confidence intervals of a proportion: of sampling, of the model's own errors, and of all together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Z_95: Final = 1.959963984540054
"""Quantile 0.975 of the standard normal distribution."""


def wilson_interval(positive: int, cells: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    With p = positive / cells and n = cells, the limits are
    ``(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)``
    (E. B. Wilson, J Am Stat Assoc 1927;22:209-212; recommended over the Wald interval by Brown, Cai and DasGupta,
    Stat Sci 2001;16:101-133, for small n and for proportions near 0 and 1, where Ki-67 decides). It treats cells as
    independent draws; where positivity clusters, the true uncertainty is larger.

    Parameters
    ----------
    positive
        Number of positive cells.
    cells
        Number of all cells, at least 1.
    z
        Normal quantile; the default gives the 95 % interval.

    Returns
    -------
    tuple of float
        Lower and upper limit as fractions within 0 to 1.

    Raises
    ------
    ValueError
        Where ``cells`` is below 1 or ``positive`` outside 0 to ``cells``.
    """
    if cells < 1 or not 0 <= positive <= cells:
        msg = f"no proportion: {positive} of {cells}"
        raise ValueError(msg)
    return _wilson(positive / cells, cells, z)


def _wilson(share: float, cells: float, z: float) -> tuple[float, float]:
    z2_by_n = z * z / cells
    centre = share + z2_by_n / 2
    half_width = z * math.sqrt(share * (1 - share) / cells + z2_by_n / (4 * cells))
    low = (centre - half_width) / (1 + z2_by_n)
    high = (centre + half_width) / (1 + z2_by_n)
    # At 0 and at all cells the limit is exactly 0 and 1; rounding would leave it a hair beside.
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


LEAST_BLOCKS: Final = 8
"""With fewer blocks their spread tells next to nothing."""


def clustered_interval(
    positive: NDArray[np.int64], cells: NDArray[np.int64], z: float = Z_95
) -> tuple[float, float] | None:
    """Interval of a proportion whose cells are not independent draws: neighbours in one block are alike.

    The variance is that of a ratio of block totals, ``n / (n − 1) · Σ (xᵢ − p mᵢ)² / (Σ mᵢ)²`` (Cochran, Sampling
    Techniques, 3rd ed., 1977, eq. 2.39 and 11.3), turned into a number of independent draws of the same variance, for
    which Wilson's interval is taken with Student's t of n − 1 in place of z. It is never narrower than Wilson's of
    all cells.

    Parameters
    ----------
    positive, cells
        Positive and all cells of each block, (n,); blocks without a cell do not count.
    z
        Normal quantile; the default gives the 95 % interval.

    Returns
    -------
    tuple of float or None
        Limits within 0 to 1; None where there are fewer than :data:`LEAST_BLOCKS` blocks.
    """
    positive, cells = positive[cells > 0], cells[cells > 0]
    blocks = len(cells)
    if blocks < LEAST_BLOCKS:
        return None
    total = int(cells.sum())
    share = float(positive.sum()) / total
    variance = blocks / (blocks - 1) * float(((positive - share * cells) ** 2).sum()) / total**2
    plain = share * (1 - share) / total
    design_effect = max(1.0, variance / plain) if plain > 0 else 1.0
    t = float(stats.t.ppf(stats.norm.cdf(z), blocks - 1))
    return _wilson(share, total / design_effect, t)


@dataclass(frozen=True)
class ModelDeviation:
    """How far a model's index is off on patients it has not seen, on the scale of the logit.

    The variance of the error is ``between² + per_cell / (n p (1 − p))`` (n cells, share p), its mean ``bias``; known
    from ``patients`` patients, whose number gives Student's t. From the model's card, where the fit is described, or
    from the validation of the ``laboratory`` (:mod:`ki67.scoring.own_laboratory`).
    """

    bias: float
    between: float
    per_cell: float
    patients: int
    laboratory: str | None = None


def corrected_share(
    positive: int, cells: int, deviation: ModelDeviation, z: float = Z_95
) -> tuple[float, tuple[float, float]]:
    """Share of positive cells without the model's bias, and the interval in which its own errors leave the truth.

    Parameters
    ----------
    positive, cells
        Cells found; at least one.
    deviation
        The model's.
    z
        Normal quantile; the default gives the 95 % interval.

    Returns
    -------
    tuple
        The share, and limits within 0 to 1 that hold it. They do not know how the cells were sampled.
    """
    share = (positive + 0.5) / (cells + 1)
    centre = _logit(share) - deviation.bias
    spread = math.sqrt(deviation.between**2 + deviation.per_cell / ((cells + 1) * share * (1 - share)))
    t = float(stats.t.ppf(stats.norm.cdf(z), max(1, deviation.patients - 1)))
    return _expit(centre), (_expit(centre - t * spread), _expit(centre + t * spread))


def combined_interval(share: float, parts: Iterable[tuple[float, tuple[float, float]]]) -> tuple[float, float]:
    """One interval of independent causes, each known by a share and the limits around it.

    On the scale of the logit, where limits lie evenly around a share, the distances from share to limit add up as
    the root of their squares, below and above apart. It is around ``share`` and never narrower than any of the parts.
    A limit of 0 or 1 stays one.

    Parameters
    ----------
    share
        Around which the interval lies, above 0 and below 1.
    parts
        Share and limits of each cause, within 0 to 1.
    """
    below = above = 0.0
    for middle, (low, high) in parts:
        below = math.hypot(below, math.inf if low <= 0 else max(0.0, _logit(max(middle, low)) - _logit(low)))
        above = math.hypot(above, math.inf if high >= 1 else max(0.0, _logit(high) - _logit(min(middle, high))))
    return _expit(_logit(share) - below), _expit(_logit(share) + above)


def _logit(share: float) -> float:
    return math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)


def _expit(value: float) -> float:
    if value < 0:
        return math.exp(value) / (1 + math.exp(value))
    return 1 / (1 + math.exp(-value))
