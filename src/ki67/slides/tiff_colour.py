"""Whatever colours a TIFF holds, as 8-bit RGB."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.light import WHITE, RgbImage
from ki67.slides.codestream import JPEG_CODES
from ki67.slides.sources import over_white

# TIFF 6.0, PhotometricInterpretation
MINISWHITE: Final = 0
MINISBLACK: Final = 1
RGB: Final = 2
PALETTE: Final = 3
SEPARATED: Final = 5
YCBCR: Final = 6
SAMPLES: Final = {MINISWHITE: 1, MINISBLACK: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3}
ASSOCIATED_ALPHA: Final = 1  # ExtraSamples: the colours are multiplied with it already
UNASSOCIATED_ALPHA: Final = 2
INKSET_CMYK: Final = 1
APERIO_JPEG2000_YCBCR: Final = 33003  # Aperio's private code; its codestream does not say that it is YCbCr
EIGHT_BITS: Final = 8
COLORMAP_TO_EIGHT_BIT: Final = 8  # the TIFF colour map has 16 bits, shifted


def colour_problem(page: tifffile.TiffPage) -> str | None:
    """Why the page's colours cannot be turned into 8-bit RGB, None where they can."""
    photometric = int(page.photometric)
    if photometric not in SAMPLES:
        return f"its colour model ({photometric}) is not supported"
    bits = page.bitspersample
    if page.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)} or not isinstance(bits, int):
        return f"its samples are {page.dtype or 'of an unknown type'}, expected 8 or 16 bit unsigned"
    if bits < EIGHT_BITS and photometric != PALETTE:
        return f"its samples have {bits} bits, expected 8 or 16"
    if photometric == SEPARATED and int(page.tags.valueof("InkSet", INKSET_CMYK)) != INKSET_CMYK:
        return "its inks are not cyan, magenta, yellow and black"
    if photometric == PALETTE and page.colormap is None:
        return "its colour map is missing"
    samples = int(page.samplesperpixel)
    if samples < SAMPLES[photometric]:
        return f"it has {samples} samples a pixel, its colour model needs {SAMPLES[photometric]}"
    extra = samples - SAMPLES[photometric]
    if extra and (extra > 1 or photometric in {PALETTE, SEPARATED, YCBCR}):
        return f"it has {samples} channels (fluorescence?), expected grey or RGB"
    return None


def to_rgb(page: tifffile.TiffPage, pixels: NDArray[Any], *, aperio: bool = False) -> RgbImage:
    """Turn decoded samples (H, W, samples) of a page into (H, W, 3) uint8; alpha is laid over white.

    ``aperio`` says whether code 33003 is Aperio's, with YCbCr inside, or means JPEG 2000 alone.
    """
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric == PALETTE:
        return _palette(page, pixels)
    if pixels.dtype == np.uint16:
        white = 2 ** int(page.bitspersample) - 1  # 12 bits packed as such have their white at 4095
        pixels = ((np.minimum(pixels, white).astype(np.uint32) * WHITE + white // 2) // white).astype(np.uint8)
    if photometric == SEPARATED:
        inks = pixels.astype(np.uint16)
        product = (WHITE - inks[..., :3]) * (WHITE - inks[..., 3:4])
        return np.asarray((product + WHITE // 2) // WHITE, dtype=np.uint8)
    in_ycbcr = (
        photometric == YCBCR and compression not in JPEG_CODES
    )  # those decoders turn YCbCr into RGB by themselves
    if photometric in {MINISWHITE, MINISBLACK}:
        grey = WHITE - pixels[..., :1] if photometric == MINISWHITE else pixels[..., :1]
        colour = np.repeat(grey, 3, axis=2)
    elif in_ycbcr or (aperio and compression == APERIO_JPEG2000_YCBCR):
        # OpenCV's order is Y, Cr, Cb; the formula is the full-range one of JFIF.
        colour = cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    else:
        colour = pixels[..., :3]
    if pixels.shape[2] > SAMPLES[photometric]:
        kinds = set(page.extrasamples or ())
        if ASSOCIATED_ALPHA in kinds:
            return np.asarray(colour + np.minimum(WHITE - pixels[..., -1:], WHITE - colour), dtype=np.uint8)
        if UNASSOCIATED_ALPHA in kinds:
            return over_white(colour, pixels[..., -1])
    return np.ascontiguousarray(colour, dtype=np.uint8)


def _palette(page: tifffile.TiffPage, pixels: NDArray[Any]) -> RgbImage:
    colours = np.asarray(page.colormap)
    if colours.max(initial=0) > WHITE:  # some writers leave the 16-bit map at 8 bits
        colours = colours >> COLORMAP_TO_EIGHT_BIT
    return np.ascontiguousarray(colours.astype(np.uint8).T[pixels[..., 0]])
