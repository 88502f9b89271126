"""What the nearest other patches of a section say about one patch: carcinoma lies together.

A patch of 200 µm is judged by itself first; then the mean log-odds of the nearest patches that share no pixel with it
is added. It is the crudest form of what a conditional random field does (Li and Ping, MIDL 2018, on metastases): a
lone suspicious patch in normal tissue loses, fat inside a carcinoma gains. On a slide, where every place is judged,
the nearest eight are those all around; of patches drawn at random they may lie a millimetre away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import expit, logit

LEAST_PROBABILITY = 1e-4
"""A patch is never surer than this, so that one cannot outweigh all around it."""

OVERLAPPING = 4
"""Of scattered patches so many times the neighbours wanted are looked at, since some may overlap the patch; then so
many times more, until enough are found that do not."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How much the patches around have to say.

    Parameters
    ----------
    neighbours
        How many of the nearest patches are listened to.
    reach_um
        None farther away than this.
    weight
        The mean log-odds around is multiplied by this and added.
    prior
        Patches of log-odds 0 that are added to those around, so that one neighbour does not count as many do.
    scale
        The sum is multiplied by this, so that it is calibrated: patches that lie together are not independent.
    """

    neighbours: int
    reach_um: float
    weight: float
    prior: float
    scale: float

    def on_grid(self, probability: NDArray[np.float32], step_um: float, cover: int) -> NDArray[np.float32]:
        """Judge patches in the light of those around.

        Parameters
        ----------
        probability
            float32 (H, W), patches ``step_um`` apart; NaN where there is none.
        step_um
            Distance of neighbours on the grid.
        cover
            Edge of a patch in steps.

        Returns
        -------
        numpy.ndarray
            float32 (H, W).
        """
        known = ~np.isnan(probability)
        alone = np.where(known, _log_odds(np.where(known, probability, 0.5)), 0.0)
        total, count = np.zeros(known.shape), np.zeros(known.shape)
        for down, across in self._offsets(step_um * cover):
            there, here = _shifted(down * cover, known.shape[0]), _shifted(across * cover, known.shape[1])
            total[there[0], here[0]] += alone[there[1], here[1]]
            count[there[0], here[0]] += known[there[1], here[1]]
        return np.where(known, self._judged(alone, total, count), np.nan).astype(np.float32)

    def _offsets(self, patch_um: float) -> list[tuple[int, int]]:
        """The nearest places of patches side by side, nearest first."""
        reach = int(min(self.reach_um / patch_um, self.neighbours))
        places = [
            (down, across)
            for down in range(-reach, reach + 1)
            for across in range(-reach, reach + 1)
            if (down or across) and np.hypot(down, across) * patch_um <= self.reach_um
        ]
        return sorted(places, key=lambda place: (place[0] ** 2 + place[1] ** 2, place))[: self.neighbours]

    def at_places(
        self, probability: NDArray[np.float64], xy_um: NDArray[np.float64], patch_um: float
    ) -> NDArray[np.float64]:
        """Judge patches at places (N, 2) of one section, ``patch_um`` wide, in the light of those around, (N,)."""
        # In the order of their places: which of several that are equally far is heard must not hang on the files'.
        order = np.lexsort(xy_um.T)
        result = np.empty(len(order))
        result[order] = self._in_order(probability[order], xy_um[order], patch_um)
        return result

    def _in_order(
        self, probability: NDArray[np.float64], xy_um: NDArray[np.float64], patch_um: float
    ) -> NDArray[np.float64]:
        alone, tree = _log_odds(probability), cKDTree(xy_um)
        total, count = np.zeros(len(alone)), np.zeros(len(alone))
        places, asked = np.arange(len(alone)), OVERLAPPING * self.neighbours + 1
        while len(places):
            distances, others = tree.query(xy_um[places], k=np.arange(1, min(len(alone), asked) + 1))
            found, number = np.zeros(len(places)), np.zeros(len(places))
            for distance, other in zip(distances.T, others.T, strict=True):
                apart = np.abs(xy_um[other] - xy_um[places]).max(axis=1) >= patch_um * (1 - 1e-6)
                heard = apart & (distance <= self.reach_um) & (number < self.neighbours)
                found += np.where(heard, alone[other], 0.0)
                number += heard
            total[places], count[places] = found, number
            more = (number < self.neighbours) & (distances[:, -1] <= self.reach_um) & (asked < len(alone))
            places, asked = places[more], asked * OVERLAPPING
        return self._judged(alone, total, count)

    def of_patches(
        self,
        probability: NDArray[np.float64],
        places: Sequence[tuple[str, int, int] | None],
        mpp: float,
        patch_um: float,
    ) -> NDArray[np.float64] | None:
        """Judge labelled patches in the light of the others of their sections.

        Parameters
        ----------
        probability
            Of IDC, (N,).
        places
            Section and corner in pixels of each (``PatchRow.place``).
        mpp, patch_um
            µm per pixel, and edge of a patch in µm.

        Returns
        -------
        numpy.ndarray or None
            Probability, (N,); None where the place of a patch is not known.
        """
        known = [place for place in places if place is not None]
        if len(known) < len(places):
            return None
        sections = np.array([section for section, _, _ in known])
        xy_um = np.array([place for _, *place in known], np.float64) * mpp
        result = np.empty_like(probability)
        for section in np.unique(sections):
            own = sections == section
            result[own] = self.at_places(probability[own], xy_um[own], patch_um)
        return result

    def _judged(
        self, alone: NDArray[np.float64], total: NDArray[np.float64], count: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        mean = total / (count + self.prior)
        return np.asarray(expit(self.scale * (alone + self.weight * mean)))


def _shifted(step: int, size: int) -> tuple[slice, slice]:
    """Slices along an axis of places, and of the places ``step`` further on."""
    first, last = max(0, -step), min(size, size - step)
    return (slice(first, last), slice(first + step, last + step)) if last > first else (slice(0), slice(0))


def _log_odds(probability: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(probability.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)))
