"""How coarsely a picture was compressed, read from its pixels.

JPEG rounds the cosine terms of every square of 8 x 8 pixels to multiples of a step, one for each frequency. The
multiples are still there when the picture has been saved again in another format, so the pixels tell the steps
(Fan and de Queiroz, IEEE Trans. Image Process. 12:230, 2003), whatever the file says. What was resampled, or
compressed otherwise, shows no steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ki67.domain import Check, Verdict

NAME: Final = "compression"

LEAST_QUALITY, COARSE_LEAST_QUALITY, COARSE_MPP = 20.0, 40.0, 0.35
"""Quality from which nothing is said, and that of slides with larger pixels (µm). At 0.5 µm per pixel a quality of 40
moves the index of BCData's fields by 2.5 points and one of 20 by 5; at 0.25 µm, where four pixels lie in one that is
looked at, one of 20 by 0.8 and one of 10 by 2.4 (docs/decisions/038)."""

LOST_QUALITY: Final = 10.0
"""Below it nothing is made of a picture: F1 falls by up to 0.3, and a simulated slide that is counted as 55 % is
counted as 45 to 47 % at a quality of 8, whether its pixels are 0.25 or 0.5 µm wide."""

SIDE: Final = 8
"""Pixels along the squares that JPEG works on."""

# Frequencies (down, across) that tissue has much of, and their steps of luminance at a quality of 50 (ITU-T T.81,
# table K.1).
_STEPS: Final = {
    (0, 1): 11, (1, 0): 12, (1, 1): 12, (0, 2): 10, (2, 0): 14, (1, 2): 14, (2, 1): 13, (2, 2): 16, (0, 3): 16,
    (3, 0): 14,
}  # fmt: skip
_LUMINANCE: Final = np.array([0.299, 0.587, 0.114], np.float32)
# Steps that are looked for: finer ones are no harm, and lie within what rounding to 8 bits leaves.
_TRIED: Final = np.arange(8, 256)
_BIN, _LARGEST = 0.25, 1024.0
# Terms of less than this share of a step are what is rounded to nothing.
_NOUGHT = 0.3
# Mean of cos(2 pi term / step): 1 where all are multiples of the step, 0 or less on pictures without steps.
_ON_STEPS = 0.6
_LEAST_TERMS, _LEAST_FREQUENCIES = 50, 4


def jpeg_quality(blocks: Sequence[NDArray[np.uint8]]) -> float | None:
    """Quality at which a picture was compressed, as the Independent JPEG Group's library counts it (1 to 100).

    Parameters
    ----------
    blocks
        Pictures (H, W, 3) with the slide's own pixels, each from a pixel on whose column and row are multiples of
        :data:`SIDE`.

    Returns
    -------
    float or None
        None where no steps are seen: compressed less than at a quality of some 60, not at all, or otherwise.
    """
    grey = [block @ _LUMINANCE for block in blocks]
    row, column = _first_edge([picture.T for picture in grey]), _first_edge(grey)
    terms = np.concatenate([_terms(picture[row:, column:]) for picture in grey])
    found = [
        step / usual for (down, across), usual in _STEPS.items() if (step := _step(np.abs(terms[:, down, across])))
    ]
    if len(found) < _LEAST_FREQUENCIES:
        return None
    scale = float(np.median(found))
    return 50.0 / scale if scale > 1 else 100.0 - 50.0 * scale


def judge_compression(blocks: Sequence[NDArray[np.uint8]], mpp: float) -> Check:
    """Judge whether the slide's own pixels still show its nuclei.

    Parameters
    ----------
    blocks
        As in :func:`jpeg_quality`.
    mpp
        µm per pixel of the slide.
    """
    quality = jpeg_quality(blocks)
    usual = (COARSE_LEAST_QUALITY if mpp > COARSE_MPP else LEAST_QUALITY, None)
    if quality is None:
        return Check(NAME, Verdict.usual, "not measured: no compression is seen", usual=usual)
    if round(quality) >= usual[0]:
        return Check(NAME, Verdict.usual, value=quality, usual=usual)
    told = (
        f"the picture was compressed too hard (JPEG quality about {quality:.0f}, expected at least {usual[0]:.0f} at "
        f"{mpp:.2g} µm per pixel)"
    )
    if quality < LOST_QUALITY:
        text = f"{told}: nuclei can no longer be told; export it from the scanner's own file again"
        return Check(NAME, Verdict.unusable, text, quality, usual)
    text = (
        f"{told}: pale nuclei are lost in it and the index may be off by several points; export it from the "
        "scanner's own file again"
    )
    return Check(NAME, Verdict.unusual, text, quality, usual)


def _first_edge(pictures: Sequence[NDArray[np.float32]]) -> int:
    """First column at which squares begin: where neighbouring columns differ most."""
    steps = np.zeros(SIDE)
    for picture in pictures:
        apart = np.abs(np.diff(picture, axis=1)).sum(axis=0, dtype=np.float64)
        whole = len(apart) // SIDE * SIDE
        steps += apart[:whole].reshape(-1, SIDE).sum(axis=0)
    return (int(steps.argmax()) + 1) % SIDE


def _terms(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine terms (N, 8, 8) of the squares."""
    rows, columns = (side // SIDE for side in picture.shape)
    squares = picture[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
    return np.asarray(fft.dctn(squares, axes=(1, 3), norm="ortho").transpose(0, 2, 1, 3).reshape(-1, SIDE, SIDE))


def _step(sizes: NDArray[np.float32]) -> int | None:
    """The step of which terms (N,) of these sizes are multiples; None where there is none.

    Its halves and thirds fit as well, so the largest that fits is looked for, and the best of those beside it.
    """
    counts, edges = np.histogram(sizes, round(_LARGEST / _BIN), (0.0, _LARGEST))
    middles = (edges[1:] + edges[:-1]) / 2

    def fit(step: int) -> float:
        more = middles > _NOUGHT * step
        number = counts[more].sum()
        if number < _LEAST_TERMS:
            return -1.0
        return float(counts[more] @ np.cos(2 * np.pi * middles[more] / step) / number)

    largest = next((step for step in _TRIED[::-1].tolist() if fit(step) > _ON_STEPS), None)
    return None if largest is None else max(range(round(0.85 * largest), largest + 1), key=fit)
