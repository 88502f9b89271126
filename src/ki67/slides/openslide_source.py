"""Everything OpenSlide reads (SVS, NDPI, MRXS, SCN, BIF, DICOM, generic tiled TIFF, …)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import openslide

from ki67.errors import SlideError
from ki67.jobs import current
from ki67.light import WHITE, RgbImage
from ki67.slides.sources import REPAIR, Opened, over_white
from ki67.slides.stated_sizes import sizes_of_properties

PROBE_PX: Final = 16


def detect_vendor(path: Path) -> str | None:
    """OpenSlide's name of the format, None where it does not know the file."""
    try:
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError as error:
        raise SlideError(path, f"is a slide that cannot be read: {one_line(error)}", REPAIR) from error
    return vendor


def open_handle(path: Path) -> openslide.OpenSlide:
    """Open a file that OpenSlide claims to know.

    Raises
    ------
    SlideError
        With OpenSlide's own reason.
    """
    try:
        handle = openslide.OpenSlide(path)
        handle.set_cache(current().tiles.cache(openslide.OpenSlideCache))
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(path, f"is a slide that cannot be opened: {one_line(error)}", REPAIR) from error
    return handle


def open_with_openslide(path: Path) -> Opened:
    """Open a file of a format that OpenSlide knows, and look for damage.

    Raises
    ------
    SlideError
        With OpenSlide's own reason.
    """
    handle = open_handle(path)
    try:
        # Of a damaged file OpenSlide names properties that it then does not hand out.
        properties = {name: text for name in handle.properties if (text := handle.properties.get(name)) is not None}
        source = OpenSlideSource(path, handle)
        source.probe()
    except SlideError:
        handle.close()
        raise
    vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
    return Opened(source, sizes_of_properties(properties, vendor))


def one_line(error: BaseException) -> str:
    """Text of a foreign error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


class OpenSlideSource:
    """Pixels through ``read_region``; transparent pixels become white."""

    def __init__(self, path: Path, handle: openslide.OpenSlide) -> None:
        self.name = f"openslide:{handle.properties.get(openslide.PROPERTY_NAME_VENDOR, 'unknown')}"
        self._path, self._handle = path, handle
        self.level_sizes_px = tuple((int(w), int(h)) for w, h in handle.level_dimensions)
        self._downsamples = tuple(float(value) for value in handle.level_downsamples)

    def read(self, level: int, left_px: int, top_px: int, width_px: int, height_px: int) -> RgbImage:
        """Read a rectangle that lies inside the level.

        Raises
        ------
        SlideError
            Where OpenSlide fails; it then refuses every further read of the slide too.
        """
        # read_region wants level-0 coordinates and divides them by its own (not snapped) downsample.
        downsample = self._downsamples[level]
        corner = (round(left_px * downsample), round(top_px * downsample))
        try:
            with self._handle.read_region(corner, level, (width_px, height_px)) as image:
                rgba = np.asarray(image)
        except openslide.OpenSlideError as error:
            raise SlideError(self._path, f"cannot be read: {one_line(error)}", REPAIR) from error
        alpha = rgba[..., 3]
        if alpha.min() == WHITE:
            return np.ascontiguousarray(rgba[..., :3])
        # openslide-python hands out straight (not premultiplied) alpha.
        return over_white(rgba[..., :3], alpha)

    def read_shrunk(self, *_: int) -> None:
        """Its tiles are OpenSlide's to keep."""

    def probe(self) -> None:
        """Decode a corner, the middle and the far corner of each level, so that damage shows at opening."""
        for level, (width, height) in enumerate(self.level_sizes_px):
            side = min(PROBE_PX, width, height)
            for part in (0.0, 0.5, 1.0):
                self.read(level, int((width - side) * part), int((height - side) * part), side, side)

    def close(self) -> None:
        """Release the file."""
        self._handle.close()
