"""Whether the directories of a TIFF can be followed at all, looked at before any library walks them.

A file is what somebody sent. Directories that point back at one another keep a reader busy for ever, and a directory
that announces more than the file holds makes it ask for memory without end; both are told here, at the cost of
reading each directory once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ki67.errors import SlideError
from ki67.slides.sources import CONVERT, REPAIR

TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGEST_TAG_COUNT: Final = 4096  # what tifffile reads too
MOST_DIRECTORIES: Final = 10_000  # a slide has a dozen, the longest stack of planes seen some thousand
SUB_DIRECTORIES: Final = 330
HAMAMATSU: Final = 65420
# Width, length, tile width and length, and where the pixels lie and how long they are, as strips and as tiles.
TILE_WIDTH, TILE_LENGTH = 322, 323
LARGEST_TILE_PX: Final = 2**26  # 8192 x 8192; whoever decodes it holds it whole
STRUCTURAL_TAGS: Final = {256, 257, 258, 273, 278, 279, 322, 323, 324, 325, SUB_DIRECTORIES}
ITEM_BYTES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
OFFSET_FORMATS: Final = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Form:
    """How numbers are laid out in a kind of TIFF."""

    order: str
    count: str
    entry: str
    offset: str

    @classmethod
    def of(cls, head: bytes, *, hamamatsu: bool = False) -> _Form:
        order = "<" if head.startswith(b"II") else ">"
        if head[2:4] in {b"+\0", b"\0+"}:
            return cls(order, order + "Q", order + "HHQ8s", order + "Q")
        # NDPI is a classic TIFF whose offsets of directories have eight bytes.
        return cls(order, order + "H", order + "HHI4s", order + ("Q" if hamamatsu else "I"))

    @property
    def inline_bytes(self) -> int:
        return 8 if self.entry.endswith("8s") else 4


def check_structure(path: Path) -> bool:
    """Follow every directory of a TIFF once; tell whether it is Hamamatsu's own kind (NDPI).

    Raises
    ------
    SlideError
        Directories in a ring or without end, without tags or with an absurd number of them, or values that lie
        beyond the end of the file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(16)
        form = _Form.of(head)
        hamamatsu = _is_hamamatsu(stream, form, size)
        form = _Form.of(head, hamamatsu=hamamatsu)
        stream.seek(8 if form.inline_bytes == 8 else 4)
        offset = _number(path, stream, form.offset, size)
        main: set[int] = set()
        below: set[int] = set()
        while offset:
            if offset in main:
                raise _ring(path, offset)
            main.add(offset)
            offset, inner = _directory(path, stream, form, offset, size)
            while inner:
                sub = inner.pop()
                if sub not in below:
                    below.add(sub)
                    # What a sub-directory says of the next one is passed over, here as by every reader.
                    inner += _directory(path, stream, form, sub, size)[1]
            if len(main) + len(below) > MOST_DIRECTORIES:
                raise SlideError(path, f"holds more than {MOST_DIRECTORIES} directories, expected a slide", REPAIR)
    if main & below:
        raise _ring(path, min(main & below))
    return hamamatsu


def _ring(path: Path, offset: int) -> SlideError:
    return SlideError(path, f"is damaged: its directories form a ring (at byte {offset})", REPAIR)


def _is_hamamatsu(stream: BinaryIO, form: _Form, size: int) -> bool:
    """Whether the first directory holds Hamamatsu's own tag."""
    if form.offset != "<I":
        return False
    for offset_format in ("<Q", "<I"):
        stream.seek(4)
        raw = stream.read(struct.calcsize(offset_format))
        if len(raw) < struct.calcsize(offset_format):
            return False
        (offset,) = struct.unpack(offset_format, raw)
        if not 0 < offset < size:
            continue
        stream.seek(offset)
        raw = stream.read(2)
        count = struct.unpack("<H", raw)[0] if len(raw) == 2 else 0
        entries = stream.read(12 * min(count, LARGEST_TAG_COUNT))
        if any(struct.unpack_from("<H", entries, at)[0] == HAMAMATSU for at in range(0, len(entries) - 11, 12)):
            return True
    return False


def _directory(path: Path, stream: BinaryIO, form: _Form, offset: int, size: int) -> tuple[int, list[int]]:
    """Check one directory; return where the next one begins, and where those below it do."""
    if offset >= size:
        found = f"is cut short: it has {size} bytes, a further level begins at byte {offset}"
        raise SlideError(path, found, REPAIR)
    stream.seek(offset)
    count = _number(path, stream, form.count, size)
    if not 0 < count <= LARGEST_TAG_COUNT:
        found = f"is damaged: its directory at byte {offset} has {count} tags, expected 1 to {LARGEST_TAG_COUNT}"
        raise SlideError(path, found, REPAIR)
    entry_bytes = struct.calcsize(form.entry)
    raw = stream.read(count * entry_bytes)
    if len(raw) < count * entry_bytes:
        raise SlideError(path, f"is cut short within its directory at byte {offset}", REPAIR)
    following, below = _number(path, stream, form.offset, size), []
    tile = {TILE_WIDTH: 0, TILE_LENGTH: 0}
    for tag, kind, items, value in struct.iter_unpack(form.entry, raw):
        needed = items * ITEM_BYTES.get(kind, 1)
        inline = needed <= form.inline_bytes
        place = 0 if inline else struct.unpack(form.order + ("Q" if len(value) == 8 else "I"), value)[0]
        if tag in tile and kind in OFFSET_FORMATS and items == 1:
            sizes = _offsets(stream, form.order + OFFSET_FORMATS[kind], items, value if inline else place)
            tile[tag] = next(iter(sizes), 0)
        if tag in STRUCTURAL_TAGS:
            if place + needed > max(size, form.inline_bytes):
                found = f"is cut short or damaged: tag {tag} lies beyond its end at byte {size}"
                raise SlideError(path, found, REPAIR)
            if tag == SUB_DIRECTORIES and kind in OFFSET_FORMATS:
                below += _offsets(stream, form.order + OFFSET_FORMATS[kind], items, value if inline else place)
    width, height = tile[TILE_WIDTH], tile[TILE_LENGTH]
    if width * height > LARGEST_TILE_PX:
        found = (
            f"has tiles of {width} x {height} px, at most {LARGEST_TILE_PX // 10**6} million pixels are read at once"
        )
        raise SlideError(path, found, CONVERT)
    return following, below


def _offsets(stream: BinaryIO, number: str, items: int, value: bytes | int) -> list[int]:
    items = min(items, MOST_DIRECTORIES + 1)
    length = items * struct.calcsize(number)
    if isinstance(value, int):
        stream.seek(value)
        value = stream.read(length)
    whole = min(length, len(value)) // struct.calcsize(number) * struct.calcsize(number)
    return [offset for (offset,) in struct.iter_unpack(number, value[:whole])]


def _number(path: Path, stream: BinaryIO, number: str, size: int) -> int:
    raw = stream.read(struct.calcsize(number))
    if len(raw) < struct.calcsize(number):
        raise SlideError(path, f"is cut short: it has {size} bytes, a directory goes on beyond them", REPAIR)
    return int(struct.unpack(number, raw)[0])
