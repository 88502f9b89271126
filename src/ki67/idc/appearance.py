"""Whether an H&E slide looks like those that a model was trained on.

Every patch leaves the network as a list of features, numbers that the last layer sees. Their means over a slide's
tissue are compared with those of the patients that the model learnt from, feature by feature, in units of how far
those patients lie apart: what colour, sharpness, tissue and scanner do to the network's sight ends up there. How much
of the tissue is carcinoma must not: the slide is compared with the mixture of carcinoma and other tissue that comes
nearest. Where the distance is large the network looks at something it does not know, and "no carcinoma" would be a
claim without ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.domain import Check, Verdict

CHECK = "he_appearance"
"""Name of the check."""

LEAST_PATCHES = 16
"""Fewer say little of a slide."""

LEAST_SPREAD = 0.1
"""A feature's spread between patients is taken for at least this share of the median one: some hardly ever move."""

BELIEVABLE = 4 / 3
"""Beyond so many times the distance of the farthest validation patient nothing is made of what the model says."""

WAY_OUT = (
    "look at the outline, adapt the model to these slides ('ki67 idc adapt', best with a few strokes), "
    "or outline by hand and give the file with --regions"
)


@dataclass(frozen=True)
class Appearance:
    """How the patients that a model was trained on look to it; part of its card.

    Parameters
    ----------
    other, tumour
        Means over the training patients of their mean features, without and within carcinoma, float64 (channels,).
    spread
        Standard deviation of each feature between patients, without or within carcinoma, float64 (channels,).
    usual, believable
        Distances up to which a slide looks usual, and beyond which nothing is to be made of what the model says.
    """

    other: NDArray[np.float64]
    tumour: NDArray[np.float64]
    spread: NDArray[np.float64]
    usual: float
    believable: float

    @classmethod
    def of(
        cls, other: Sequence[NDArray[np.float64]], tumour: Sequence[NDArray[np.float64]], usual: float = 1.0
    ) -> Appearance:
        """Measure it on the mean features of training patients, without and within carcinoma."""
        means = np.mean(other, axis=0), np.mean(tumour, axis=0)
        spread = np.std(np.concatenate([other - means[0], tumour - means[1]]), axis=0)
        spread = np.maximum(spread, LEAST_SPREAD * np.median(spread))
        return cls(means[0], means[1], spread, usual, BELIEVABLE * usual)

    @property
    def lengths(self) -> tuple[int, int, int]:
        """How many features either mean and the spread tell of; must be the same."""
        return len(self.other), len(self.tumour), len(self.spread)

    def distance(self, features: NDArray[np.floating[Any]]) -> float:
        """Root mean square over the features of a slide's distance from the nearest mixture, in spreads.

        Parameters
        ----------
        features
            Means of the features over a slide's patches, (channels,).
        """
        apart = (np.asarray(features, np.float64) - self.other) / self.spread
        way = (self.tumour - self.other) / self.spread
        share = np.clip(apart @ way / max(float(way @ way), np.finfo(np.float64).tiny), 0, 1)
        return float(np.sqrt(np.mean(np.square(apart - share * way))))

    def check(self, seen: FeatureMean) -> Check:
        """Judge a slide by what the network saw on it."""
        usual = (None, round(self.usual, 2))
        if seen.patches < LEAST_PATCHES:
            return Check(CHECK, Verdict.usual, value=None, usual=usual)
        value = self.distance(seen.mean)
        if value <= self.usual:
            return Check(CHECK, Verdict.usual, value=value, usual=usual)
        verdict = Verdict.unusual if value <= self.believable else Verdict.unusable
        how = "what" if verdict is Verdict.unusable else "most of what"
        far = f"distance {value:.1f}, usual up to {self.usual:.1f}"
        text = f"the H&E looks unlike {how} the model was trained on ({far}): {WAY_OUT}"
        return Check(CHECK, verdict, text, value, usual)


class FeatureMean:
    """Mean of features over patches that come in parts."""

    def __init__(self) -> None:
        self.patches = 0
        self._total: NDArray[np.float64] | None = None

    def add(self, features: NDArray[np.float32]) -> None:
        """Add features of patches, float32 (N, channels)."""
        if len(features):
            total = features.sum(axis=0, dtype=np.float64)
            self._total = total if self._total is None else self._total + total
            self.patches += len(features)

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (channels,).

        Raises
        ------
        ValueError
            Where nothing was added.
        """
        if self._total is None:
            raise ValueError("no patch was added")
        return self._total / self.patches
