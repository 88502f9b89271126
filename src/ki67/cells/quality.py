"""Whether a slide can be read as a Ki-67 stain at all."""

from __future__ import annotations

import numpy as np

from ki67.cells.channels import DENSITY_SCALE, TilePixels
from ki67.cells.sampling import Sample, is_field, sample_slide
from ki67.cells.stains import Stains, estimate_stains
from ki67.domain import Check, Verdict
from ki67.slides import Slide, TissueMask

# Share of pink pixels: at most 0.034 on the 41 Ki-67 fields and slides at hand, 0.071 on the bluest H&E, 0.35 to 0.8
# on the others.
_EOSIN_SHARE = 0.05
# Colours of stained pixels spread less than this (summed over three channels of a unit vector) on a grey picture; the
# least on a Ki-67 field at hand is 0.10. So do those of a field of one stain: only near grey is colour missing. The
# cosine with grey is 0.95 to 0.98 for haematoxylin.
_COLOUR_SPREAD = 0.04
_GREY_COSINE = 0.99
# 99.5th percentile of the density sum's gradient, in OD per pixel: 0.15 to 0.9 on sharp fields.
_SHARP_EDGE = 0.06
_EDGE_PERCENTILE = 99.5
# How much more blue than red light the paler half of the pixels absorbs, in OD: at most 0.082 on the 51 Ki-67 fields
# at hand, whose light is up to 0.07 warmer than white. A film of DAB of 0.3 OD over them gives 0.13 to 0.24.
_BROWN_GROUND = 0.125
# Of a sampled block whole cells of the coarse grid are judged.
_GRID = 4


def judge_ki67(slide: Slide, tissue: TissueMask | None) -> tuple[Check, ...]:
    """Judge from sampled tissue whether a slide is what the program was validated on.

    Parameters
    ----------
    slide
        The Ki-67 slide, or a field.
    tissue
        Its tissue; not needed for a field.

    Raises
    ------
    TissueError
        Where it shows no tissue.
    """
    sample = sample_slide(slide, None if is_field(slide) else tissue)
    stains = estimate_stains(sample.pixels)
    found = stain_warnings(sample, stains)
    verdict = Verdict.unusable if _why_unusable(stains) else Verdict.unusual if found else Verdict.usual
    return (Check("stain", verdict, "; ".join(found)),)


def stain_warnings(sample: Sample, stains: Stains) -> tuple[str, ...]:
    """What is wrong with the stain, in sentences; empty where nothing is.

    Whether the counterstain is too weak or too strong is not told beyond its absence: between the fields at hand its
    density differs more than between a field and the same one with two fifths or twice the stain.
    """
    unusable = _why_unusable(stains)
    found = [f"not a usable Ki-67 stain: {unusable}"] if unusable else _missing_stains(stains)
    brown = ground_brownness(sample)
    if brown > _BROWN_GROUND and not unusable:
        found.append(
            f"the background is brown (blue less red density {brown:.2f}, expected below {_BROWN_GROUND}): DAB has "
            "bound where there is no Ki-67, or the white balance is off; pale positive cells may be false"
        )
    sharpness = edge_sharpness(sample, stains)
    if sharpness < _SHARP_EDGE:
        found.append(f"the picture is out of focus or empty (edge strength {sharpness:.2f}, expected {_SHARP_EDGE})")
    return tuple(found)


def _why_unusable(stains: Stains) -> str:
    """Why no index can come of this, empty where one can."""
    if stains.eosin_share > _EOSIN_SHARE:
        return (
            f"{stains.eosin_share:.0%} of the stained area is pink like eosin, which Ki-67 slides hardly have: this "
            "looks like H&E"
        )
    if not stains.hematoxylin_estimated and not stains.dab_estimated:
        return "neither haematoxylin nor DAB could be recognised"
    if stains.colour_spread < _COLOUR_SPREAD and _is_grey(stains):
        return "haematoxylin and DAB cannot be told apart: the picture has hardly any colour contrast"
    return ""


def _missing_stains(stains: Stains) -> list[str]:
    if not stains.dab_estimated:
        found = (
            "DAB is nearly absent: its colour is taken from the literature, and what is called positive may not be"
        )
        return [f"{found}; check that the stain worked"]
    if not stains.hematoxylin_estimated:
        return ["haematoxylin is nearly absent: negative nuclei may be missed and the index too high"]
    return []


def ground_brownness(sample: Sample) -> float:
    """How much more blue than red light is absorbed between the nuclei: median of the paler half of the pixels, OD.

    Against white light, not the sample's own lightest pixels: where DAB covers everything, they are brown too.
    """
    pixels = sample.pixels
    light = np.add(pixels[:, 0], pixels[:, 1], dtype=np.int32) + pixels[:, 2]
    red, _, blue = np.maximum(pixels[light >= np.median(light)], 1.0).T
    return float(np.median(np.log10(red / blue)))


def _is_grey(stains: Stains) -> bool:
    return bool(np.sum(stains.hematoxylin) / np.sqrt(3) > _GREY_COSINE)


def edge_sharpness(sample: Sample, stains: Stains) -> float:
    """Strong gradients of the density sum over all sampled blocks, in OD per pixel of the working resolution."""
    edges = []
    for block in sample.blocks:
        height, width = (size // _GRID * _GRID for size in block.shape[:2])
        if height and width:
            edges.append(TilePixels(block[:height, :width], stains).edge.ravel())
    return float(np.percentile(np.concatenate(edges), _EDGE_PERCENTILE)) / DENSITY_SCALE if edges else 0.0
