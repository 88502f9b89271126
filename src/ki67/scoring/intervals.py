"""Confidence intervals of a proportion."""

from __future__ import annotations

import math
from typing import Final

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
    share = positive / cells
    z2_by_n = z * z / cells
    centre = share + z2_by_n / 2
    half_width = z * math.sqrt(share * (1 - share) / cells + z2_by_n / (4 * cells))
    low = (centre - half_width) / (1 + z2_by_n)
    high = (centre + half_width) / (1 + z2_by_n)
    # At 0 and at all cells the limit is exactly 0 and 1; rounding would leave it a hair beside.
    return (0.0 if positive == 0 else low), (1.0 if positive == cells else high)
