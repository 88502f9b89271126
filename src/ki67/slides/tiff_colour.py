"""Whatever colours a TIFF holds, as 8-bit RGB."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.slides.sources import WHITE, RgbImage, over_white

# TIFF 6.0, PhotometricInterpretation
MINISWHITE: Final = 0
MINISBLACK: Final = 1
RGB: Final = 2
PALETTE: Final = 3
SEPARATED: Final = 5
YCBCR: Final = 6
SAMPLES: Final = {MINISWHITE: 1, MINISBLACK: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3}
ALPHA_KINDS: Final = {1, 2}  # ExtraSamples: associated, unassociated alpha
JPEG_COMPRESSIONS: Final = {6, 7, 33007, 34892}  # the decoder turns YCbCr into RGB by itself
APERIO_JPEG2000_YCBCR: Final = 33003  # Aperio's private code; the codestream does not say that it is YCbCr
JPEG2000_COMPRESSIONS: Final = {33003, 33004, 33005, 34712}
SIXTEEN_TO_EIGHT_BIT: Final = 257  # 65535 / 255
COLORMAP_TO_EIGHT_BIT: Final = 8  # the TIFF colour map has 16 bits, shifted


def colour_problem(page: tifffile.TiffPage) -> str | None:
    """Why the page's colours cannot be turned into 8-bit RGB, None where they can."""
    photometric = int(page.photometric)
    if photometric not in SAMPLES:
        return f"its colour model ({photometric}) is not supported"
    if page.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return f"its samples are {page.dtype or 'of an unknown type'}, expected 8 or 16 bit unsigned"
    if photometric == PALETTE and page.colormap is None:
        return "its colour map is missing"
    samples = int(page.samplesperpixel)
    if samples < SAMPLES[photometric]:
        return f"it has {samples} samples a pixel, its colour model needs {SAMPLES[photometric]}"
    extra = samples - SAMPLES[photometric]
    if extra and (extra > 1 or photometric in {PALETTE, SEPARATED, YCBCR}):
        return f"it has {samples} channels (fluorescence?), expected grey or RGB"
    subsampled = page.subsampling not in {None, (1, 1)}
    compression = int(page.compression)
    if photometric == YCBCR and subsampled and compression not in JPEG_COMPRESSIONS | JPEG2000_COMPRESSIONS:
        return "it has subsampled colours without JPEG compression"
    return None


def to_rgb(page: tifffile.TiffPage, pixels: NDArray[Any]) -> RgbImage:
    """Turn decoded samples (H, W, samples) of a page into (H, W, 3) uint8; alpha is laid over white."""
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric == PALETTE:
        colours = (np.asarray(page.colormap) >> COLORMAP_TO_EIGHT_BIT).astype(np.uint8).T
        return np.ascontiguousarray(colours[pixels[..., 0]])
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + SIXTEEN_TO_EIGHT_BIT // 2) // SIXTEEN_TO_EIGHT_BIT).astype(np.uint8)
    if photometric == SEPARATED:
        inks = pixels.astype(np.uint16)
        product = (WHITE - inks[..., :3]) * (WHITE - inks[..., 3:4])
        return np.asarray((product + WHITE // 2) // WHITE, dtype=np.uint8)
    if photometric in {MINISWHITE, MINISBLACK}:
        grey = WHITE - pixels[..., :1] if photometric == MINISWHITE else pixels[..., :1]
        colour = np.repeat(grey, 3, axis=2)
    elif compression == APERIO_JPEG2000_YCBCR or (photometric == YCBCR and compression not in JPEG_COMPRESSIONS):
        # OpenCV's order is Y, Cr, Cb; the formula is the full-range one of JFIF.
        colour = cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    else:
        colour = pixels[..., :3]
    if pixels.shape[2] > SAMPLES[photometric] and set(page.extrasamples or ()) & ALPHA_KINDS:
        return over_white(colour, pixels[..., -1])
    return np.ascontiguousarray(colour, dtype=np.uint8)
