"""What all requests of one server share."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ki67.processors import usable_processors
from ki67.server.catalogue import Catalogue
from ki67.server.jobs import Jobs
from ki67.server.keys import Keys
from ki67.server.library import EncodedTiles, Library
from ki67.server.places import Places
from ki67.server.slide_pool import SlidePool


def tile_readers() -> ThreadPoolExecutor:
    """Threads that read tiles: decoding leaves Python's lock, and more of them than cores only take turns."""
    return ThreadPoolExecutor(max(2, usable_processors()), thread_name_prefix="tiles")


@dataclass
class State:
    """Cases, slides, jobs and secrets of one server.

    Parameters
    ----------
    places
        What is served.
    keys
        Who may ask.
    """

    places: Places
    keys: Keys
    library: Library
    catalogue: Catalogue
    jobs: Jobs
    readers: ThreadPoolExecutor = field(default_factory=tile_readers)

    @classmethod
    def of(cls, root: Path, slides: tuple[Path, ...] = ()) -> State:
        """Serve a folder."""
        places = Places(Path(os.path.realpath(root)), tuple(Path(os.path.realpath(one)) for one in slides))
        return cls(places, Keys(), Library(places, SlidePool()), Catalogue(places), Jobs(places))

    @property
    def encoded(self) -> EncodedTiles:
        """Tiles as they were sent."""
        return self.library.encoded

    def close(self) -> None:
        """End jobs and release files."""
        self.jobs.close()
        self.readers.shutdown(wait=True, cancel_futures=True)
        self.library.pool.close()
