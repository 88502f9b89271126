"""How good a registration is, in numbers, and whether it may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

from ki67.errors import RegistrationError
from ki67.geometry import UM2_PER_MM2, area_mm2
from ki67.registration.belief import WORTH_A_WORD, LocalBelief
from ki67.registration.coarse import Coarse
from ki67.registration.images import Image, Mask, Section
from ki67.registration.local import MINIMUM_BLOCKS, Blocks, Coherence, LocalMap, coherence, compare, local_map
from ki67.registration.pieces import PiecewiseTransform
from ki67.registration.transform import Transform
from ki67.registration.uncertainty import estimated_error_um
from ki67.registration.warp import canonical_correlation, correlation, dice, mutual_information, warp_pieces

# NCC is measured at this resolution and blur: nuclei are blurred into tissue, as far as serial sections share it. The
# number depends on both and on the pixels, so all three are reported with it.
NCC_MPP = 16.0
NCC_BLUR_UM = 32.0
NCC_DEFINITION = (
    "largest correlation between a mix of the red, green and blue optical densities of one section and a mix of "
    "those of the other (first canonical correlation), over the tissue of either section"
)
# What a believable registration has. Calibrated on pairs with known answers; see the tests and docs.
MINIMUM_DICE = 0.4
MAXIMUM_STRETCH = 1.25
MINIMUM_AGREEMENT_SIGMA = 5.0
FEW_BLOCKS_SIGMA = 100.0

MAPS = frozenset({"local", "places"})
"""Figures that are maps of the section: for programs, not for a line."""


@dataclass(frozen=True)
class RegistrationQuality:
    """Quality of one registration.

    Parameters
    ----------
    accepted, reasons
        Whether it is believable, and if not, why (sentences).
    ncc, ncc_before, ncc_definition, ncc_mpp, ncc_blur_um
        Normalised cross-correlation as :data:`NCC_DEFINITION` says, after and before (slides superimposed corner on
        corner), and the resolution and blur (Gaussian sigma) it was measured at. DAB is on one section only: a
        correlation of the plain densities falls with the index, however right the map is.
    ncc_density
        The plain correlation of the mean densities, after; same pixels.
    mutual_information
        In nats, same pixels as ``ncc``.
    tissue_dice
        Overlap of the two tissue masks where both slides say something.
    jacobian_min, jacobian_max
        Local area change of the map, relative to its mean; <= 0 would be a fold.
    stretch_min, stretch_max
        Singular values of the matrix.
    mirrored, rotation_deg
        Mounted upside down; turn.
    mode, way
        "rigid", "affine" or "deformable" as kept; which coarse search won.
    distinctness
        0 when another pose explains the sections as well, towards 1 without rival.
    agreement, agreement_sigma, blocks
        Mean correlation of the structures block by block, by how many standard deviations it stands above that at
        wrong shifts (see :mod:`ki67.registration.local`), and the number of blocks. These, and all that follows from
        the blocks, are read before the last stage of a deformable map, which is fitted to them.
    sure_share
        Share of the blocks where the remaining shift is known.
    local_error_um
        Median remaining shift there, None where it is known nowhere.
    estimated_error_um
        Estimate of the median error of the whole map (:mod:`ki67.registration.uncertainty`), or None.
    unregistered_mm2, unregistered_share
        Tissue of the H&E section where the map is not believed (:mod:`ki67.registration.belief`), and its share.
    warnings
        Things to know that do not refuse the registration.
    pieces
        Figures of each piece of a section in pieces, the largest first; then what speaks of one map above (turn,
        stretch, agreement) is the largest one's. Empty where one map serves the whole section.
    places
        What is believed of each place: :meth:`ki67.registration.belief.LocalBelief.to_dict`.
    local
        Block by block, for a map: x_um, y_um (H&E frame), shift_um (remaining), sigma (how surely known).
    """

    accepted: bool
    reasons: tuple[str, ...]
    ncc: float
    ncc_before: float
    ncc_definition: str
    ncc_mpp: float
    ncc_blur_um: float
    ncc_density: float
    mutual_information: float
    tissue_dice: float
    jacobian_min: float
    jacobian_max: float
    stretch_min: float
    stretch_max: float
    mirrored: bool
    rotation_deg: float
    mode: str
    way: str
    distinctness: float
    agreement: float
    agreement_sigma: float
    blocks: int
    sure_share: float
    local_error_um: float | None
    estimated_error_um: float | None
    unregistered_mm2: float = 0.0
    unregistered_share: float = 0.0
    warnings: tuple[str, ...] = ()
    pieces: tuple[dict[str, Any], ...] = ()
    places: dict[str, Any] = field(default_factory=dict)
    local: dict[str, list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RegistrationQuality:
        """Build it again from :meth:`to_dict`.

        Raises
        ------
        RegistrationError
            Where something is missing, as in a file of a much older version.
        """
        try:
            facts: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
            }
            return cls(**facts)
        except TypeError as error:
            msg = f"this is no registration's quality of this version: {error}. Register the sections again"
            raise RegistrationError(msg) from error

    def figures(self) -> dict[str, Any]:
        """As :meth:`to_dict`, without the maps of the section."""
        return {key: value for key, value in self.to_dict().items() if key not in MAPS}


@dataclass(frozen=True)
class Agreement:
    """Similarity of two sections under a transform: what the stages are judged by."""

    ncc: float
    ncc_density: float
    mutual_information: float
    dice: float


def measure(fixed: Section, moving: Section, transform: Transform | PiecewiseTransform) -> Agreement:
    """Similarity under a transform, at :data:`NCC_MPP` and :data:`NCC_BLUR_UM` (or coarser, as the images are)."""
    mpp = ncc_mpp(fixed, moving)
    f, m = fixed.at(mpp), moving.at(mpp)
    transform = PiecewiseTransform.whole(transform) if isinstance(transform, Transform) else transform
    warped = warp_pieces(f, m, transform)
    either = (f.tissue | warped.tissue) & warped.valid
    sigma_px = NCC_BLUR_UM / mpp
    a = np.asarray(cv2.GaussianBlur(f.density, (0, 0), sigma_px))[either]
    b = np.asarray(cv2.GaussianBlur(warped.density, (0, 0), sigma_px))[either]
    fixed_colours = _blurred(_colours(f), either, sigma_px)
    channels = [replace(m, density=channel) for channel in _colours(m)]
    moving_colours = _blurred([warp_pieces(f, channel, transform).density for channel in channels], either, sigma_px)
    return Agreement(
        canonical_correlation(fixed_colours, moving_colours),
        correlation(a, b),
        mutual_information(np.clip(a, 0, 1), np.clip(b, 0, 1)),
        dice(f.tissue & warped.valid, warped.tissue & warped.valid),
    )


def _colours(section: Section) -> list[Image]:
    """Densities of the three colours; the density alone where no more is known."""
    if section.colours is None:
        return [section.density]
    return [np.ascontiguousarray(section.colours[..., channel]) for channel in range(section.colours.shape[-1])]


def _blurred(images: list[Image], where: Mask, sigma_px: float) -> Image:
    """Blurred images at the pixels that count, (N, images)."""
    return np.stack([np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px))[where] for image in images], axis=1)


@dataclass(frozen=True)
class Judged:
    """Two sections under a transform, and how well they agree; each figure is measured once, when it is asked for.

    Parameters
    ----------
    fixed, moving, transform
        The sections and the map between them.
    witness
        The state before, where this transform was fitted to the blocks themselves: whether the pair is believed, and
        how far off it may be, is then read there.
    """

    fixed: Section
    moving: Section
    transform: Transform
    witness: Judged | None = None

    @cached_property
    def similarity(self) -> Agreement:
        """As :func:`measure` gives it."""
        return measure(self.fixed, self.moving, self.transform)

    @cached_property
    def blocks(self) -> Blocks:
        """The sections block by block."""
        return compare(self.fixed, self.moving, self.transform)

    @cached_property
    def coherence(self) -> Coherence:
        """The blocks' common peak."""
        return coherence(self.blocks)

    @cached_property
    def local(self) -> LocalMap:
        """What each part says."""
        return local_map(self.blocks)

    @property
    def error_um(self) -> float | None:
        """Estimated median error, read before a last stage that was fitted to the blocks; None where unknown."""
        seen = self.witness or self
        return estimated_error_um(seen.local.error_um(), seen.sure_share, seen.blocks.mpp)

    @property
    def sure_share(self) -> float:
        """Share of the blocks that know their shift, 0 to 1."""
        return float(self.local.sure.mean()) if len(self.local.sigma) else 0.0


def required_sigma(blocks: int) -> float:
    """Standard deviations above chance that a believable registration shows, for a number of blocks.

    The pose is the best of many, and an affine map fitted to the blocks themselves; on few blocks such a choice
    alone lifts the peak. On different tissue the largest seen was 6.6 with 27 blocks, 6.0 with 32, 2.0 with 100 and
    more; on real serial sections the smallest was 8.9 (270 blocks), on simulated ones 22.
    """
    return MINIMUM_AGREEMENT_SIGMA + FEW_BLOCKS_SIGMA / max(blocks, 1)


def ncc_mpp(fixed: Section, moving: Section) -> float:
    """Resolution at which :func:`measure` works on these sections."""
    return max(NCC_MPP, fixed.mpp, moving.mpp)


@dataclass(frozen=True)
class InPieces:
    """A section in pieces: both whole sections, the transform, figures of each piece, and the largest error (µm)."""

    fixed: Section
    moving: Section
    transform: PiecewiseTransform
    pieces: tuple[dict[str, Any], ...]
    error_um: float | None


def assess(
    judged: Judged,
    coarse: Coarse,
    mode: str,
    warnings: tuple[str, ...] = (),
    belief: LocalBelief | None = None,
    lost: MultiPolygon | None = None,
    divided: InPieces | None = None,
) -> RegistrationQuality:
    """Decide whether a registration is believable, and put its figures together.

    ``belief`` and ``lost`` are what :func:`ki67.registration.belief.judge_places` says of it. Of a section in pieces
    ``judged`` is the largest piece; each was believed on its own before it became one, so that only folds and stretch
    are left to be refused.
    """
    transform, witness = judged.transform, judged.witness or judged
    common, local = witness.coherence, witness.local
    fixed, moving = (divided.fixed, divided.moving) if divided else (judged.fixed, judged.moving)
    after = measure(fixed, moving, divided.transform) if divided else judged.similarity
    before = measure(fixed, moving, Transform.identity())
    jacobian = transform.displacement.jacobian() if transform.displacement is not None else np.ones((1, 1))
    smallest, largest = transform.scales
    reasons = _shape_reasons(transform, jacobian)
    if divided is None:
        reasons = _overlap_reasons(after) + reasons + _structure_reasons(common)
    lost_mm2 = area_mm2(lost) if lost is not None else 0.0
    tissue_mm2 = float(fixed.tissue.sum()) * fixed.mpp**2 / UM2_PER_MM2
    lost_share = min(1.0, lost_mm2 / max(tissue_mm2, 1e-9))
    if lost_share >= WORTH_A_WORD:
        # Only where the region lies on it does it concern an index: carry_over says so of the region itself.
        text = f"{lost_mm2:.2f} mm² of the H&E section's tissue has no believable place on the Ki-67 section"
        warnings = (*warnings, text)
    return RegistrationQuality(
        accepted=not reasons,
        reasons=tuple(reasons),
        ncc=after.ncc,
        ncc_before=before.ncc,
        ncc_definition=NCC_DEFINITION,
        ncc_mpp=ncc_mpp(fixed, moving),
        ncc_blur_um=NCC_BLUR_UM,
        ncc_density=after.ncc_density,
        mutual_information=after.mutual_information,
        tissue_dice=after.dice,
        jacobian_min=float(jacobian.min()),
        jacobian_max=float(jacobian.max()),
        stretch_min=smallest,
        stretch_max=largest,
        mirrored=divided.transform.mirrored if divided else transform.mirrored,
        rotation_deg=transform.rotation_deg,
        mode=mode,
        way=coarse.best.way,
        distinctness=coarse.distinctness,
        agreement=common.peak,
        agreement_sigma=common.sigma,
        blocks=common.blocks,
        sure_share=witness.sure_share,
        local_error_um=local.error_um(),
        estimated_error_um=divided.error_um if divided else judged.error_um,
        unregistered_mm2=lost_mm2,
        unregistered_share=lost_share,
        warnings=warnings,
        pieces=divided.pieces if divided else (),
        places=belief.to_dict() if belief else {},
        local=_local(local),
    )


def _overlap_reasons(after: Agreement) -> list[str]:
    if after.dice >= MINIMUM_DICE:
        return []
    return [f"the tissue overlaps by {after.dice:.2f} only (Dice, at least {MINIMUM_DICE} expected)"]


def _shape_reasons(transform: Transform, jacobian: NDArray[np.float64]) -> list[str]:
    reasons = []
    smallest, largest = transform.scales
    if smallest < 1 / MAXIMUM_STRETCH or largest > MAXIMUM_STRETCH:
        reasons.append(
            f"the map stretches by {smallest:.2f} to {largest:.2f}; serial sections differ by less than "
            f"{MAXIMUM_STRETCH}: check the pixel sizes (--he-mpp, --ki67-mpp)"
        )
    if jacobian.min() <= 0:
        reasons.append("the map folds the tissue")
    return reasons


def _structure_reasons(common: Coherence) -> list[str]:
    if common.blocks < MINIMUM_BLOCKS:
        return [f"only {common.blocks} places have tissue on both sections, too few to check the map"]
    if common.sigma < (needed := required_sigma(common.blocks)):
        told = f"{common.sigma:.1f} standard deviations above chance, at least {needed:.1f} expected"
        return [f"the structures of the two sections agree no better than those of different tissue ({told})"]
    return []


def _local(local: LocalMap) -> dict[str, list[float]]:
    apart = np.hypot(local.shifts_um[:, 0], local.shifts_um[:, 1])
    return {
        "x_um": [round(float(value), 1) for value in local.centres_um[:, 0]],
        "y_um": [round(float(value), 1) for value in local.centres_um[:, 1]],
        "shift_um": [round(float(value), 2) for value in apart],
        "sigma": [round(float(value), 2) for value in local.sigma],
    }
