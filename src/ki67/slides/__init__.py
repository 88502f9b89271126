"""Whole slides and plain images: opening, reading any rectangle at any resolution, writing pyramids."""

from ki67.slides.pyramid import write_pyramid

__all__ = ["write_pyramid"]
