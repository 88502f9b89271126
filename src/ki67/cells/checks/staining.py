"""Whether a slide's stain is what the program was validated on: checks from sampled tissue, in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import DENSITY_SCALE, WORKING_MPP, TilePixels
from ki67.cells.checks.colours import Colours, fault_of_he, fault_of_ki67, fault_of_light, oddity_of_ki67
from ki67.cells.checks.compression import SIDE, judge_compression
from ki67.cells.checks.nuclear_size import FINEST_MPP, HE_RADIUS_UM, KI67_RADIUS_UM, judge_nuclear_size
from ki67.cells.sampling import Sample, is_field, own_pixels, sample_slide
from ki67.cells.stains import Stains, StainStrength, estimate_stains, stain_strength
from ki67.domain import Check, Verdict, worst
from ki67.slides import Slide, TissueMask

EOSIN_SHARE = 0.095
"""Share of pink pixels that parts the two stains: at most 0.075 on 84 Ki-67 fields and slides at hand, 0.117 on the
bluest of 228 H&E pictures, 0.19 to 0.96 on the others."""

# 99.5th percentile of the density sum's gradient, in OD per pixel: 0.15 to 0.9 on sharp fields.
_SHARP_EDGE = 0.06
_EDGE_PERCENTILE = 99.5
# How much more blue than red light the paler half of the pixels absorbs, in OD: at most 0.082 on the 51 Ki-67 fields
# at hand, whose light is up to 0.07 warmer than white. A film of DAB of 0.3 OD over them gives 0.13 to 0.24.
_BROWN_GROUND = 0.125
# Strength of the stains (OD): haematoxylin 0.18 to 0.58, DAB 0.18 to 3.6 on the Ki-67 fields at hand; haematoxylin
# 0.11 where stroma alone is blue.
_LEAST_HEMATOXYLIN, _LEAST_DAB = 0.08, 0.15
# Share of the pale pixels that are blue where haematoxylin is too pale for its colour to be measured.
_PALE_BLUE_SHARE = 0.3
# Blocks in which nuclei are sieved and compression is looked for: a thousand nuclei and more.
_SIEVED_BLOCKS = 24
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
    checks = judge_ki67_sample(sample_slide(slide, None if is_field(slide) else tissue))
    if worst(checks) is not Verdict.unusable:
        blocks = own_pixels(slide, None if is_field(slide) else tissue, _SIEVED_BLOCKS, SIDE)
        checks = (*checks, judge_compression(blocks, slide.mpp))
    return _with_nuclear_size(checks, "nuclear_size", KI67_RADIUS_UM, slide, tissue)


def judge_he(slide: Slide, tissue: TissueMask | None) -> tuple[Check, ...]:
    """Judge an H&E slide as :func:`judge_ki67` does a Ki-67 slide."""
    mpp = max(WORKING_MPP, slide.mpp)
    checks = judge_he_sample(sample_slide(slide, None if is_field(slide) else tissue, mpp), mpp)
    return _with_nuclear_size(checks, "he_nuclear_size", HE_RADIUS_UM, slide, tissue)


def nuclear_sample(slide: Slide, tissue: TissueMask | None) -> tuple[tuple[NDArray[np.uint8], ...], float]:
    """Blocks in which nuclei are sieved, and their µm per pixel: a few, but fine."""
    mpp = max(FINEST_MPP, slide.mpp)
    return sample_slide(slide, None if is_field(slide) else tissue, mpp, _SIEVED_BLOCKS).blocks, mpp


def _with_nuclear_size(
    checks: tuple[Check, ...], name: str, usual_um: tuple[float, float], slide: Slide, tissue: TissueMask | None
) -> tuple[Check, ...]:
    """Add the check of nuclear size, unless the colours are such that nuclei cannot be told."""
    if worst(checks) is Verdict.unusable:
        return checks
    return (*checks, judge_nuclear_size(*nuclear_sample(slide, tissue), slide.mpp, name, usual_um))


def judge_ki67_sample(sample: Sample) -> tuple[Check, ...]:
    """Judge sampled pixels of a Ki-67 stain, at the working resolution."""
    colours = Colours(sample.blocks, WORKING_MPP)
    light, pink = fault_of_light(colours), colours.pink_share
    if pink > EOSIN_SHARE and not light:
        return (_eosin_in_ki67(pink),)
    fault = fault_of_ki67(colours, light)
    stains = estimate_stains(sample.pixels)
    focus = _focus(sample, stains)
    if fault:
        return (Check("colours", Verdict.unusable, f"the Ki-67 slide: {fault}"), focus)
    if not stains.hematoxylin_estimated and not stains.dab_estimated and colours.ground[0] < _PALE_BLUE_SHARE:
        text = "not a usable Ki-67 stain: neither haematoxylin nor DAB could be recognised"
        return (Check("stain", Verdict.unusable, text, pink, (None, EOSIN_SHARE)),)
    return (
        _judged("colours", oddity_of_ki67(colours)),
        Check("stain", Verdict.usual, "", pink, (None, EOSIN_SHARE)),
        *_strength(stains, stain_strength(sample.pixels, stains)),
        _ground(sample),
        focus,
    )


def judge_he_sample(sample: Sample, mpp: float) -> tuple[Check, ...]:
    """Judge sampled pixels of an H&E stain."""
    colours = Colours(sample.blocks, mpp)
    light, pink, usual = fault_of_light(colours), colours.pink_share, (EOSIN_SHARE, None)
    if pink < EOSIN_SHARE and not light:
        text = (
            f"the H&E slide has hardly any eosin ({100 * pink:.0f} % of the stained area is pink, expected "
            f"{100 * EOSIN_SHARE:.1f} % or more): this looks like immunohistochemistry"
        )
        return (Check("he_stain", Verdict.unusable, text, pink, usual),)
    fault = light or fault_of_he(colours)
    if fault:
        return (Check("he_colours", Verdict.unusable, f"the H&E slide: {fault}"),)
    return (Check("he_colours", Verdict.usual), Check("he_stain", Verdict.usual, "", pink, usual))


@dataclass(frozen=True, slots=True)
class Appearance:
    """What sampled tissue looks like: the stain in words, whether that is H&E, and how sharp its edges are (OD)."""

    stain: str
    is_he: bool
    sharpness: float


def appearance(slide: Slide, tissue: TissueMask | None) -> Appearance:
    """Look at the stain and the focus of any slide; ``tissue`` None takes all of a field.

    Raises
    ------
    TissueError
        Where it shows no tissue.
    """
    mpp = max(WORKING_MPP, slide.mpp)
    sample = sample_slide(slide, tissue, mpp)
    stains, pink = estimate_stains(sample.pixels), Colours(sample.blocks, mpp).pink_share
    if pink > EOSIN_SHARE:
        stain = f"H&E ({pink:.0%} of what is stained is pink)"
    elif stains.dab_estimated and stains.hematoxylin_estimated:
        stain = f"DAB and haematoxylin ({stains.dab_share:.0%} of what is stained is brown)"
    elif stains.dab_estimated or stains.hematoxylin_estimated:
        stain = "DAB, hardly any haematoxylin" if stains.dab_estimated else "haematoxylin, hardly any DAB"
    else:
        stain = "not recognised"
    return Appearance(stain, pink > EOSIN_SHARE, edge_sharpness(sample, stains))


def wrong_order(checks: tuple[Check, ...]) -> bool:
    """Whether the Ki-67 slide is pink like H&E, and the H&E slide is not."""
    pink = {check.name: check.value for check in checks}
    ki67, he = pink.get("stain"), pink.get("he_stain")
    return ki67 is not None and he is not None and ki67 > EOSIN_SHARE > he


def _eosin_in_ki67(pink: float) -> Check:
    text = (
        f"not a usable Ki-67 stain: {100 * pink:.0f} % of the stained area is pink like eosin, which Ki-67 slides "
        "hardly have: this looks like H&E"
    )
    return Check("stain", Verdict.unusable, text, pink, (None, EOSIN_SHARE))


def _strength(stains: Stains, strength: StainStrength) -> tuple[Check, Check]:
    """Judge how strong the two stains are.

    Between the fields at hand either differs more than between a field and the same one with two fifths or twice the
    stain: only what is weaker than all of them is told.
    """
    blue, brown = strength.hematoxylin, strength.dab
    blue_text = brown_text = ""
    if not stains.hematoxylin_estimated:
        blue_text = "haematoxylin is nearly absent: negative nuclei may be missed and the index too high"
    elif blue is not None and blue < _LEAST_HEMATOXYLIN:
        blue_text = f"haematoxylin is very pale ({blue:.2f} OD): negative nuclei may be missed and the index too high"
    if not stains.dab_estimated:
        brown_text = (
            "DAB is nearly absent: its colour is taken from the literature, and what is called positive may not be; "
            "check that the stain worked"
        )
    elif brown is not None and brown < _LEAST_DAB:
        brown_text = f"DAB is very pale ({brown:.2f} OD): positive nuclei may be missed; check that the stain worked"
    return (
        _judged("haematoxylin", blue_text, blue, (_LEAST_HEMATOXYLIN, None), "OD"),
        _judged("dab", brown_text, brown, (_LEAST_DAB, None), "OD"),
    )


def _ground(sample: Sample) -> Check:
    brown = ground_brownness(sample)
    text = "" if brown <= _BROWN_GROUND else (
        f"the background is brown (blue less red density {brown:.2f}, expected below {_BROWN_GROUND}): DAB has bound "
        "where there is no Ki-67, or the white balance is off; pale positive cells may be false"
    )  # fmt: skip
    return _judged("background", text, brown, (None, _BROWN_GROUND), "OD")


def _focus(sample: Sample, stains: Stains) -> Check:
    sharpness = edge_sharpness(sample, stains)
    text = "" if sharpness >= _SHARP_EDGE else (
        f"the picture is out of focus or empty (edge strength {sharpness:.2f}, expected {_SHARP_EDGE})"
    )  # fmt: skip
    return _judged("focus", text, sharpness, (_SHARP_EDGE, None), "OD per pixel")


def _judged(
    name: str,
    text: str,
    value: float | None = None,
    usual: tuple[float | None, float | None] | None = None,
    unit: str | None = None,
) -> Check:
    return Check(name, Verdict.unusual if text else Verdict.usual, text, value, usual, unit)


def ground_brownness(sample: Sample) -> float:
    """How much more blue than red light is absorbed between the nuclei: median of the paler half of the pixels, OD.

    Against white light, not the sample's own lightest pixels: where DAB covers everything, they are brown too.
    """
    pixels = sample.pixels
    light = np.add(pixels[:, 0], pixels[:, 1], dtype=np.int32) + pixels[:, 2]
    red, _, blue = np.maximum(pixels[light >= np.median(light)], 1.0).T
    return float(np.median(np.log10(red / blue)))


def edge_sharpness(sample: Sample, stains: Stains) -> float:
    """Strong gradients of the density sum over all sampled blocks, in OD per pixel of the working resolution."""
    edges = []
    for block in sample.blocks:
        height, width = (size // _GRID * _GRID for size in block.shape[:2])
        if height and width:
            edges.append(TilePixels(block[:height, :width], stains).edge.ravel())
    return float(np.percentile(np.concatenate(edges), _EDGE_PERCENTILE)) / DENSITY_SCALE if edges else 0.0
