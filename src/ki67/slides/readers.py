"""Readers of further slide formats, installed as packages of their own.

A package offers one through the entry-point group ``ki67.slide_readers``; it is asked about files (and folders) that
the program does not know itself, so that what is installed never changes how a known format is read. A reader that
fails is named in one line.
"""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from ki67.errors import SlideError
from ki67.light import RgbImage
from ki67.slides.openslide_source import one_line
from ki67.slides.sources import Opened, Source

GROUP: Final = "ki67.slide_readers"
WAY_OUT: Final = "Update that package, or uninstall it"
PROBE_PX: Final = 16


class SlideReader(Protocol):
    """What an entry point of the group ``ki67.slide_readers`` is: an object (a module will do) with these two."""

    def sniff(self, path: Path, head: bytes) -> bool:
        """Tell whether a file (``head``: its first 16 bytes) or a folder (``head`` empty) is of the reader's format.

        Quick, and true only where it is sure.
        """
        ...

    def open(self, path: Path) -> Opened:
        """Open it. A file that is damaged raises :class:`ki67.errors.SlideError`."""
        ...


def open_with_plugin(path: Path, head: bytes) -> Opened | None:
    """Open a file with the first installed reader that knows it; None where there is none.

    Raises
    ------
    SlideError
        The reader's own, or one that names the reader which failed.
    """
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        name = _name(entry)
        try:
            reader: SlideReader = entry.load()
            opened = reader.open(path) if reader.sniff(path, head) else None
            if opened is None:
                continue
            source = GuardedSource(path, name, opened.source)
        except SlideError:
            raise
        except Exception as error:  # foreign code
            raise _failure(path, name, one_line(error)) from error
        source.probe()
        return Opened(source, tuple(opened.stated), tuple(opened.warnings), opened.doubt)
    return None


def _name(entry: EntryPoint) -> str:
    package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
    return f"{entry.name}{package}"


def _failure(path: Path, name: str, what: str) -> SlideError:
    return SlideError(path, f"could not be read by the slide reader {name}: {what}", WAY_OUT)


class GuardedSource:
    """A plug-in's source, of which every answer is looked at before it is believed."""

    def __init__(self, path: Path, plugin: str, source: Source) -> None:
        self.name = f"plug-in:{source.name}"
        self._path, self._plugin, self._source = path, plugin, source
        self.level_sizes_px = tuple((int(width), int(height)) for width, height in source.level_sizes_px)
        if not self.level_sizes_px or min(map(min, self.level_sizes_px)) < 1:
            raise _failure(path, plugin, f"its levels are {self.level_sizes_px}")
        if list(self.level_sizes_px) != sorted(self.level_sizes_px, reverse=True):
            raise _failure(path, plugin, f"its levels do not go from fine to coarse: {self.level_sizes_px}")

    def read(self, level: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        """Read a rectangle that lies inside the level.

        Raises
        ------
        SlideError
            The reader's own, or one that names the reader where it failed.
        """
        try:
            pixels = self._source.read(level, left_px, top_px, width_px, height_px)
        except SlideError:
            raise
        except Exception as error:  # foreign code
            raise _failure(self._path, self._plugin, one_line(error)) from error
        shape = getattr(pixels, "shape", None)
        if shape != (height_px, width_px, 3) or pixels.dtype != np.uint8:
            what = f"it gave {shape} {getattr(pixels, 'dtype', '')}, expected ({height_px}, {width_px}, 3) uint8"
            raise _failure(self._path, self._plugin, what)
        return pixels

    def read_shrunk(self, *_: int) -> None:
        """Everything goes through :meth:`read`, which looks at the answers."""

    def probe(self) -> None:
        """Read two corners of each level, so that a reader that fails is told at opening."""
        for level, (width, height) in enumerate(self.level_sizes_px):
            across, down = min(PROBE_PX, width), min(PROBE_PX, height)
            self.read(level, 0, 0, across, down)
            self.read(level, width - across, height - down, across, down)

    def close(self) -> None:
        """Release the file."""
        self._source.close()
