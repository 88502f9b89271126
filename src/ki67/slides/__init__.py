"""Whole slides and plain images: opening, reading any rectangle at any resolution, writing pyramids."""

from ki67.slides.opening import open_slide
from ki67.slides.pyramid import write_pyramid
from ki67.slides.slide import Level, Slide, read_ahead

__all__ = ["Level", "Slide", "open_slide", "read_ahead", "write_pyramid"]
