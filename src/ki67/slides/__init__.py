"""Whole slides and plain images: opening, reading any rectangle at any resolution, tissue, writing pyramids."""

from ki67.slides.frame import GlassPlace, PixelFrame
from ki67.slides.opening import READING_VERSION, open_slide
from ki67.slides.pyramid import write_pyramid
from ki67.slides.sameness import same_picture
from ki67.slides.slide import Level, Slide, read_ahead
from ki67.slides.tissue import TissueMask, tissue_mask

__all__ = [
    "READING_VERSION",
    "GlassPlace",
    "Level",
    "PixelFrame",
    "Slide",
    "TissueMask",
    "open_slide",
    "read_ahead",
    "same_picture",
    "tissue_mask",
    "write_pyramid",
]
