"""One limit on the memory of decoded tiles for all slides that a long-lived program has open."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import openslide

from ki67.slides.tile_cache import TileCache

OPENSLIDE_SHARE: Final = 0.5
"""Of the budget: OpenSlide keeps its tiles where nothing else reaches them."""


class TileBudget:
    """Room for decoded tiles that slides share (:meth:`ki67.slides.Slide.share`).

    Parameters
    ----------
    limit_bytes
        Memory for the tiles of all of them; half of it for slides that OpenSlide reads.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.decoded = TileCache(round(limit_bytes * (1 - OPENSLIDE_SHARE)))
        self.openslide = openslide.OpenSlideCache(round(limit_bytes * OPENSLIDE_SHARE))


@runtime_checkable
class SharesTiles(Protocol):
    """A source that keeps tiles it has decoded."""

    def share(self, budget: TileBudget) -> None:
        """Keep them within a budget that several slides share."""
        ...
