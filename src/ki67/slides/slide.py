"""A slide: its size, its levels, and any rectangle of it at any resolution."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

from ki67.geometry import RectUm
from ki67.html import image_of, page_of, table_of
from ki67.jobs import Pool, current, span
from ki67.light import WHITE, RgbImage
from ki67.slides.addresses import SlideUrl
from ki67.slides.frame import PixelFrame
from ki67.slides.pixel_size import PixelSize
from ki67.slides.resampling import Axis, resample
from ki67.slides.sources import Source

if TYPE_CHECKING:
    from ki67.slides.tissue import TissueMask

# Source pixels averaged in one go (48 MB as bytes, 200 MB as float32 at the worst): larger reads go piece by piece.
BLOCK_PX: Final = 16_000_000
# A level up to this much coarser than asked for still counts as "not coarser": mpp values are rounded in files.
SAME_MPP: Final = 1.0 + 1e-4
FINGERPRINT_SAMPLES: Final = 64
THUMBNAIL_PX: Final = 400  # longer side in a notebook
FINGERPRINT_SAMPLE_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide; ``downsample`` is level-0 pixels per pixel of this level."""

    size_px: tuple[int, int]
    downsample: float
    mpp: float


def snapped_downsample(full_px: tuple[int, int], level_px: tuple[int, int]) -> float:
    """Level-0 pixels per pixel of a level, from the two sizes.

    Writers halve or quarter and round the size, so 1001 px become 500 or 501: the quotient 2.002 or 1.998 would
    shift the far edge by a pixel. The whole number that explains both sizes is taken, a power of two before others;
    only where there is none, the mean quotient.
    """
    ratios = [full / level for full, level in zip(full_px, level_px, strict=True)]
    mean = sum(ratios) / 2
    low, high = int(np.floor(min(ratios))), int(np.ceil(max(ratios)))
    powers = [2**exponent for exponent in range(max(high, 1).bit_length() + 1)]
    nearby = sorted(range(max(1, low - 1), high + 2), key=lambda whole: abs(whole - mean))
    for whole in [*sorted(powers, key=lambda power: abs(power - mean)), *nearby]:
        explained = all(
            level in {full // whole, -(-full // whole)} for full, level in zip(full_px, level_px, strict=True)
        )
        if explained:
            return float(whole)
    return mean


class Slide:
    """An open slide; reads may come from several threads. Use it as a context manager or call :meth:`close`.

    Attributes
    ----------
    path
        The file or folder, or a URL (:class:`ki67.slides.addresses.SlideUrl`).
    reader
        What decodes the pixels (``"tifffile"``, ``"openslide:hamamatsu"``, ``"png"``, …).
    mpp
        µm per pixel of level 0.
    mpp_source
        ``"file"`` or ``"given"``.
    pixel_size
        That size, where it is from, and what the file says by itself.
    frame
        How other programs count pixels on this slide; every file for or from them goes through it.
    size_px
        Width and height of level 0.
    levels
        From fine to coarse.
    warnings
        What of the file a user should know before trusting a number from it, as sentences.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        pixel_size: PixelSize,
        frame: PixelFrame,
        warnings: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.reader = source.name
        self.pixel_size = pixel_size
        self.mpp = pixel_size.mpp
        self.mpp_source = pixel_size.source
        self.frame = frame
        self.warnings = (*pixel_size.warnings, *warnings)
        self.size_px = source.level_sizes_px[0]
        downsamples = [snapped_downsample(self.size_px, size) for size in source.level_sizes_px]
        self.levels = tuple(
            Level(size, downsample, self.mpp * downsample)
            for size, downsample in zip(source.level_sizes_px, downsamples, strict=True)
        )
        self._source = source

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the place, not the pixels: another process opens the file again."""
        given = self.mpp if self.mpp_source == "given" else None
        return _open_again, (self.path.absolute(), given, self.pixel_size.contradicts)

    def _repr_html_(self) -> str:
        bounds = self.bounds_um
        mpp = max(self.mpp, max(bounds.width_um, bounds.height_um) / THUMBNAIL_PX)
        width, height = self.size_px
        facts = {
            "File": self.path.name,
            "Size": f"{width:,} x {height:,} px, {bounds.width_um / 1000:.2f} x {bounds.height_um / 1000:.2f} mm",
            "Pixel": f"{self.mpp:.4g} µm ({self.mpp_source})",
            "Reader": self.reader,
        }
        return page_of([image_of(self.thumbnail(mpp), f"Slide {self.path.name}"), table_of(facts)])

    def __repr__(self) -> str:
        width, height = self.size_px
        return f"Slide({str(self.path)!r}, {width} x {height} px at {self.mpp:g} µm, {self.reader})"

    @property
    def named_warnings(self) -> tuple[str, ...]:
        """The warnings, each with the file it is about, for places where several slides meet."""
        name = self.path.name
        return tuple(text if name in text else f"{name}: {text}" for text in self.warnings)

    @property
    def bounds_um(self) -> RectUm:
        """The whole slide, in µm."""
        return RectUm(0.0, 0.0, self.size_px[0] * self.mpp, self.size_px[1] * self.mpp)

    @property
    def shown_um(self) -> RectUm:
        """The part that was scanned and that other programs show, in µm; outside it lies nothing."""
        if self.frame.shown_px is None:
            return self.bounds_um
        (x_px, y_px), (width_px, height_px) = self.frame.origin_px, self.frame.shown_px
        return RectUm(x_px * self.mpp, y_px * self.mpp, width_px * self.mpp, height_px * self.mpp)

    @cached_property
    def tissue(self) -> TissueMask:
        """Its tissue (:func:`ki67.slides.tissue_mask`), found when first asked for."""
        from ki67.slides.tissue import tissue_mask

        return tissue_mask(self)

    def read(self, region_um: RectUm, mpp: float) -> RgbImage:
        """Read a rectangle at a resolution, averaged from the nearest finer level.

        Pixel (r, c) covers x from ``x_um + c * mpp`` to ``x_um + (c + 1) * mpp``, likewise y. Beyond the slide and
        where the slide is transparent it is white. Finer than level 0 is interpolated linearly.

        Parameters
        ----------
        region_um
            The rectangle in the slide's frame; it may reach beyond the slide.
        mpp
            µm per pixel of the result.

        Returns
        -------
        NDArray
            (round(height_um / mpp), round(width_um / mpp), 3) uint8, at least one pixel each way.

        Raises
        ------
        SlideError
            Where the file is damaged.
        """
        if not mpp > 0:
            msg = f"a read needs a positive resolution, got {mpp} µm per pixel"
            raise ValueError(msg)
        with span(f"read at {mpp:g} µm"):
            return self._read(region_um, mpp)

    def _read(self, region_um: RectUm, mpp: float) -> RgbImage:
        index = self._level_for(mpp)
        level_mpp = self.levels[index].mpp
        step = mpp / level_mpp
        columns = Axis(region_um.x_um / level_mpp, step, max(1, round(region_um.width_um / mpp)))
        rows = Axis(region_um.y_um / level_mpp, step, max(1, round(region_um.height_um / mpp)))
        if _in_one_block(rows, columns):
            return self._averaged(index, rows, columns)
        pixels = np.empty((rows.count, columns.count, 3), dtype=np.uint8)
        self._fill(pixels, index, rows, columns)
        return pixels

    def thumbnail(self, mpp: float) -> RgbImage:
        """Read the whole slide at a resolution: (H, W, 3) uint8."""
        return self.read(self.bounds_um, mpp)

    def fingerprint(self) -> dict[str, int | str]:
        """Tell this slide from others in a second or less, however large it is.

        Returns
        -------
        dict
            ``bytes``: size of the file (of all files of a slide that is a folder or has one beside it);
            ``sampled_sha256``: SHA-256 over sizes and 64 evenly spread samples of 64 KiB of each file.
        """
        files = _files_of(self.path)
        digest = hashlib.sha256()
        total = 0
        for file in files:
            size = file.stat().st_size
            total += size
            digest.update(size.to_bytes(8, "little"))
            span = max(0, size - FINGERPRINT_SAMPLE_BYTES)
            offsets = sorted({span * i // (FINGERPRINT_SAMPLES - 1) for i in range(FINGERPRINT_SAMPLES)})
            for sample in _samples(file, offsets):
                digest.update(sample)
        return {"bytes": total, "sampled_sha256": digest.hexdigest()}

    def close(self) -> None:
        """Release the file."""
        self._source.close()

    def _level_for(self, mpp: float) -> int:
        fine_enough = [i for i, level in enumerate(self.levels) if level.mpp <= mpp * SAME_MPP]
        return max(fine_enough, key=lambda i: self.levels[i].mpp) if fine_enough else 0

    def _fill(self, out: RgbImage, level: int, rows: Axis, columns: Axis) -> None:
        width, height = self.levels[level].size_px
        if _beside(rows, height) or _beside(columns, width):
            out[:] = WHITE
        elif _in_one_block(rows, columns):
            out[:] = self._averaged(level, rows, columns)
        elif rows.count >= columns.count:
            half = rows.count // 2
            self._fill(out[:half], level, rows.part(0, half), columns)
            self._fill(out[half:], level, rows.part(half, rows.count - half), columns)
        else:
            half = columns.count // 2
            self._fill(out[:, :half], level, rows, columns.part(0, half))
            self._fill(out[:, half:], level, rows, columns.part(half, columns.count - half))

    def _averaged(self, level: int, rows: Axis, columns: Axis) -> RgbImage:
        shrunk = self._shrunk(level, rows, columns)
        if shrunk is not None:
            return shrunk
        (top, bottom), (left, right) = rows.source_range, columns.source_range
        width, height = self.levels[level].size_px
        return resample(self._block(level, left, top, right, bottom), rows, columns, (height, width))

    def _shrunk(self, level: int, rows: Axis, columns: Axis) -> RgbImage | None:
        """A read whose pixels are whole squares of the source's, where the source can average its tiles by itself."""
        factor = rows.whole_step
        if factor is None or factor == 1 or factor != columns.whole_step:
            return None
        left, top = columns.first_step, rows.first_step
        width, height = (side // factor for side in self.levels[level].size_px)
        if left is None or top is None or left + columns.count > width or top + rows.count > height:
            return None
        return self._source.read_shrunk(level, factor, left, top, columns.count, rows.count)

    def _block(self, level: int, left: int, top: int, right: int, bottom: int) -> RgbImage:
        width, height = self.levels[level].size_px
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if (x0, y0, x1, y1) == (left, top, right, bottom):
            return self._source.read(level, left, top, right - left, bottom - top)
        block = np.full((bottom - top, right - left, 3), WHITE, dtype=np.uint8)
        if x1 > x0 and y1 > y0:
            block[y0 - top : y1 - top, x0 - left : x1 - left] = self._source.read(level, x0, y0, x1 - x0, y1 - y0)
        return block


def _open_again(path: Path, mpp: float | None, overrides_file: bool) -> Slide:
    from ki67.slides.opening import open_slide

    return open_slide(path, mpp, overrides_file=overrides_file)


def _beside(axis: Axis, length: int) -> bool:
    """Whether nothing of an axis lies on a level of this length."""
    first, end = axis.source_range
    return end <= 0 or first >= length


def _in_one_block(rows: Axis, columns: Axis) -> bool:
    """Whether a read is small enough, or cannot be divided."""
    (top, bottom), (left, right) = rows.source_range, columns.source_range
    return (bottom - top) * (right - left) <= BLOCK_PX or max(rows.count, columns.count) == 1


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    companion = path.with_suffix("")  # MIRAX keeps its pixels in a folder of the same name
    beside = sorted(file for file in companion.rglob("*") if file.is_file()) if companion.is_dir() else []
    return [path, *beside] if path.suffix.lower() == ".mrxs" else [path]


def _samples(file: Path, offsets: Sequence[int]) -> Iterator[bytes]:
    if isinstance(file, SlideUrl):
        yield from file.content.samples(offsets, FINGERPRINT_SAMPLE_BYTES)
        return
    with file.open("rb") as stream:
        for offset in offsets:
            stream.seek(offset)
            yield stream.read(FINGERPRINT_SAMPLE_BYTES)


def read_ahead(slide: Slide, rects: Sequence[RectUm], mpp: float) -> Iterator[tuple[RectUm, RgbImage]]:
    """Read rectangles in order while the caller works on the one before.

    At most two reads for each of the job's workers wait, so memory does not depend on the number of rectangles. An
    error in a read is raised when its turn comes; leaving the loop early cancels what has not begun.

    Parameters
    ----------
    slide, rects, mpp
        What to read, as in :meth:`Slide.read`.

    Yields
    ------
    tuple
        The rectangle and its pixels.
    """
    count = current().workers
    waiting: deque[tuple[RectUm, Future[RgbImage]]] = deque()
    pool = Pool("read-ahead", count)
    try:
        for rect in rects:
            waiting.append((rect, pool.submit(slide.read, rect, mpp)))
            if len(waiting) > 2 * count:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
