"""Which DICOM files of a folder are one slide, and whether a file's colours are what it says.

OpenSlide reads the pixels. What is read here is the head of each file, element by element, skipping every value that
is not asked for.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from ki67.errors import SlideError
from ki67.slides.codestream import jpeg_head
from ki67.slides.sources import REPAIR

PREAMBLE_BYTES: Final = 128
DICOM_MAGIC: Final = b"DICM"
WHOLE_SLIDE_CLASS: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
PLAIN_SYNTAXES: Final = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}  # without frames
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
JPEG_SYNTAXES: Final = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}

_SYNTAX, _CLASS, _TYPE = (0x0002, 0x0010), (0x0008, 0x0016), (0x0008, 0x0008)
_SERIES, _CONCATENATION = (0x0020, 0x000E), (0x0020, 0x9161)
_PHOTOMETRIC, _COLUMNS, _ROWS = (0x0028, 0x0004), (0x0048, 0x0006), (0x0048, 0x0007)
_CONTAINER, _SOP = (0x0040, 0x0512), (0x0008, 0x0018)
_WANTED: Final = {_SYNTAX, _CLASS, _TYPE, _SERIES, _CONCATENATION, _PHOTOMETRIC, _COLUMNS, _ROWS, _CONTAINER, _SOP}
_LAST_GROUP: Final = 0x0048  # of what is wanted; elements come in ascending order
_LONG_KINDS: Final = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
_ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_DEEPEST: Final = 32
_LONGEST_VALUE: Final = 4096
_ENCAPSULATED: Final = re.compile(rb"\xe0\x7f\x10\x00O[BW]\0\0\xff\xff\xff\xff")
_HEAD_OF_FRAME: Final = 65536
_LARGEST_HEAD: Final = 256 * 2**20  # what precedes the pixels; places of a million frames are 200 MB
WAY_OUT: Final = "Name a file of the one meant"


@dataclass(frozen=True, slots=True)
class DicomHead:
    """What one DICOM file says of itself."""

    path: Path
    series: str
    container: str
    instance: str
    concatenation: str
    is_volume: bool
    size_px: tuple[int, int]
    photometric: str
    syntax: str


def dicom_slide_in(folder: Path, formats: str) -> Path:
    """Return a file of the one DICOM slide in a folder; OpenSlide finds the others of its series from it.

    Raises
    ------
    SlideError
        No slide, several (all are named), or two different pictures of one size in one.
    """
    heads, others = [], []
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SlideError(folder, f"cannot be read: {error.strerror}", "Check its permissions") from error
    for file in files:
        if file.is_file():
            head = read_head(file)
            if head is not None and head.is_volume:
                heads.append(head)
            elif head is None and file.suffix.lower() in OTHER_SLIDES:
                others.append(file.name)
    slides: dict[tuple[str, str], list[DicomHead]] = defaultdict(list)
    for head in heads:
        slides[head.series, head.container].append(head)
    names = [min(head.path.name for head in slide) for slide in slides.values()] + others
    if len(names) > 1:
        left = len(names) - MOST_NAMED
        shown = ", ".join(names[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")
        raise SlideError(folder, f"holds {len(names)} slides ({shown}), expected one", WAY_OUT)
    if others:
        raise SlideError(folder, f"is a folder without a DICOM slide; it holds {others[0]}", "Name that file")
    if not slides:
        raise SlideError(folder, "is a folder without a DICOM slide in it", formats)
    (slide,) = slides.values()
    _refuse_two_pictures(folder, slide)
    return max(slide, key=lambda head: head.size_px[0]).path


OTHER_SLIDES: Final = {".mrxs", ".svs", ".ndpi", ".scn", ".bif", ".vms", ".vmu", ".tif", ".tiff", ".svslide", ".czi"}
MOST_NAMED: Final = 6


def check_dicom(path: Path) -> None:
    """Refuse a DICOM file with wrong colours, or beside which another picture claims to be the same slide.

    Raises
    ------
    SlideError
        Naming the files, or what the file and its JPEG stream say.
    """
    head = read_head(path)
    if head is None:
        return
    slide = [head]
    for file in sorted(path.parent.iterdir()):
        if not file.is_dir() and not file.is_file():  # OpenSlide would open it and wait for ever
            found = f"lies beside {file.name}, which is no file but a pipe, socket or device"
            raise SlideError(path, found, "Put the files of the slide into a folder of their own")
        other = read_head(file) if file.is_file() and file.name != path.name else None
        if other is not None and other.series == head.series:
            slide.append(other)
    if head.is_volume:
        _refuse_two_pictures(path, [part for part in slide if part.is_volume])
    for part in slide:
        _check_frames(part)


def _refuse_two_pictures(path: Path, slide: Sequence[DicomHead]) -> None:
    by_size: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for head in slide:
        if min(head.size_px) > 0:
            by_size[head.size_px].setdefault(head.concatenation or head.instance, head.path.name)
    for (width, height), pictures in by_size.items():
        if len(pictures) > 1:
            names = ", ".join(sorted(pictures.values())[:MOST_NAMED])
            found = f"holds {len(pictures)} different pictures of {width} x {height} px in one series ({names})"
            raise SlideError(path, found, "Put the one meant into a folder of its own")


def _check_frames(head: DicomHead) -> None:
    """Look at the table of frames, and compare the colour model with what the first JPEG frame says."""
    if head.syntax in PLAIN_SYNTAXES:
        return
    first, problem = _frames_of(head.path)
    if problem:
        raise SlideError(head.path, f"is damaged: {problem}", REPAIR)
    if head.syntax not in JPEG_SYNTAXES or head.photometric not in {"RGB", "YBR_FULL", "YBR_FULL_422"}:
        return
    frame = jpeg_head(first)
    stream = frame.colours if frame else None
    says = "rgb" if head.photometric == "RGB" else "ycbcr"
    if stream is not None and stream != says:
        names = {"rgb": "RGB", "ycbcr": "YCbCr"}
        found = f"says {head.photometric}, but its JPEG frames hold {names[stream]}: its colours would come out wrong"
        raise SlideError(head.path, found, "Have PhotometricInterpretation put right by who converted it")


def _frames_of(path: Path) -> tuple[bytes, str | None]:
    """Head of the first frame of encapsulated pixels, and what is wrong with the table of the others' places.

    libdicom follows that table without looking, and ends the program where it leads out of the file.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = _ENCAPSULATED.search(data, 0, _LARGEST_HEAD)
        if start is None:
            return b"", "its pixels cannot be found"
        at = start.end()
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        first = at + 8 + length
        if length % 4 or first + 8 > len(data):
            return b"", f"its table of frames has {length} bytes and does not end within the file"
        offsets = np.frombuffer(data[at + 8 : first], "<u4").astype(np.int64)
        if len(offsets) and (offsets[0] != 0 or np.diff(offsets).min(initial=1) <= 0):
            return b"", "the places in its table of frames do not ascend"
        if len(offsets) and first + int(offsets[-1]) + 8 > len(data):
            return b"", "its table of frames leads beyond the end of the file"
        return data[first + 8 : first + 8 + _HEAD_OF_FRAME], None


def read_head(path: Path) -> DicomHead | None:
    """Read the head of a DICOM file; None where it is none."""
    try:
        with path.open("rb") as stream:
            if stream.read(PREAMBLE_BYTES + len(DICOM_MAGIC))[PREAMBLE_BYTES:] != DICOM_MAGIC:
                return None
            values = _Elements(stream, path.stat().st_size).values()
    except (OSError, struct.error):
        return None

    def text(tag: tuple[int, int]) -> str:
        return values.get(tag, b"").decode("ascii", "replace").strip("\0 ")

    columns, rows = (int.from_bytes(values.get(tag, b"")[:4], "little") for tag in (_COLUMNS, _ROWS))
    return DicomHead(
        path,
        text(_SERIES),
        text(_CONTAINER),
        text(_SOP) or path.name,
        text(_CONCATENATION),
        text(_CLASS) == WHOLE_SLIDE_CLASS and "VOLUME" in text(_TYPE).split("\\"),
        (columns, rows),
        text(_PHOTOMETRIC),
        text(_SYNTAX),
    )


class _Elements:
    """Elements of a DICOM stream in their order."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._explicit = True

    def values(self) -> dict[tuple[int, int], bytes]:
        """Values that are wanted, by tag; what cannot be followed ends the reading."""
        values: dict[tuple[int, int], bytes] = {}
        in_meta = True
        while True:
            place = self._stream.tell()
            head = self._next()
            if head is None:
                return values
            tag, length = head
            if in_meta and tag[0] != 0x0002:
                in_meta = False
                syntax = values.get(_SYNTAX, b"").decode("ascii", "replace").strip("\0 ")
                if syntax in {EXPLICIT_BIG, DEFLATED}:
                    return values
                if syntax == IMPLICIT_LITTLE:
                    self._explicit = False
                    self._stream.seek(place)
                    continue
            if tag[0] > _LAST_GROUP:
                return values
            if tag in _WANTED and length <= _LONGEST_VALUE:
                values[tag] = self._stream.read(length)
            else:
                self._skip(length, 0)

    def _next(self) -> tuple[tuple[int, int], int] | None:
        raw = self._stream.read(8)
        if len(raw) < 8:
            return None
        group, element = struct.unpack_from("<HH", raw)
        if not self._explicit or group == 0xFFFE:
            return (group, element), int(struct.unpack_from("<I", raw, 4)[0])
        if raw[4:6] not in _LONG_KINDS:
            return (group, element), int(struct.unpack_from("<H", raw, 6)[0])
        more = self._stream.read(4)
        return ((group, element), int(struct.unpack("<I", more)[0])) if len(more) == 4 else None

    def _skip(self, length: int, depth: int) -> None:
        if length != _UNKNOWN_LENGTH:
            self._stream.seek(min(self._stream.tell() + length, self._size))
            return
        while depth < _DEEPEST:
            head = self._next()
            if head is None or head[0] in {_SEQUENCE_END, _ITEM_END}:
                return
            self._skip(head[1], depth + 1)
        self._stream.seek(self._size)
