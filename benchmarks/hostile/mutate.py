"""Mutators that know a format: each takes the bytes of a sound file and a generator, and returns other bytes.

TIFF: entries of its directories. PNG, JPEG, DICOM: chunks, segments and elements. Documents and models: elsewhere.
"""

from __future__ import annotations

import csv
import struct
import zlib
from typing import Final

from hostile.mutate_bytes import (
    BYTES,
    COMPRESSIONS,
    INTERESTING,
    TIFF_TAGS,
    Mutator,
    Rng,
    cut,
    flip_bits,
    pick,
    set_number,
)
from hostile.mutate_text import json_tree, protobuf, table


def tiff_entries(data: bytes) -> tuple[str, bool, list[int], list[int]]:
    """Byte order, whether BigTIFF, places of all entries, and places of the offsets of following directories."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at, width = (8, 8) if big else (4, 4)
    entries, links = [], [at]
    following = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
    for _ in range(20):
        if not 0 < following < len(data) - 8:
            break
        count = struct.unpack_from(order + ("Q" if big else "H"), data, following)[0]
        size, start = (20, following + 8) if big else (12, following + 2)
        if count > 500 or start + count * size + width > len(data):
            break
        entries += [start + number * size for number in range(count)]
        links.append(start + count * size)
        following = struct.unpack_from(order + ("Q" if big else "I"), data, links[-1])[0]
    return order, big, entries, links


def tiff(data: bytes, rng: Rng) -> bytes:
    """Change entries of a TIFF's directories, and the links between directories."""
    order, big, entries, links = tiff_entries(data)
    if not entries:
        return flip_bits(data, rng)
    changed = bytearray(data)
    width, letter = (8, "Q") if big else (4, "I")
    for _ in range(int(rng.geometric(0.5))):
        at = int(pick(rng, entries))
        value_at = at + (12 if big else 8)
        kind = int(rng.integers(9))
        if kind == 0:
            struct.pack_into(order + "H", changed, at, int(pick(rng, TIFF_TAGS)))
        elif kind == 1:
            struct.pack_into(order + "H", changed, at + 2, int(rng.integers(0, 20)))
        elif kind == 2:
            struct.pack_into(order + letter, changed, at + 4, int(pick(rng, INTERESTING)) % 2 ** (8 * width))
        elif kind in {3, 4, 5}:
            value = int(pick(rng, INTERESTING)) % 2 ** (8 * width)
            if struct.unpack_from(order + "H", changed, at)[0] == 259 and rng.random() < 0.8:
                value = int(pick(rng, COMPRESSIONS))
            if order == ">" and not big and struct.unpack_from(order + "H", changed, at + 2)[0] == 3:
                value = value % 65536 << 16
            struct.pack_into(order + letter, changed, value_at, value)
        elif kind == 6:
            other = int(pick(rng, entries))
            size = 20 if big else 12
            changed[at : at + size], changed[other : other + size] = (
                changed[other : other + size],
                changed[at : at + size],
            )
        elif kind == 7:
            target = int(pick(rng, (*entries, *links, 0, 8, 16, len(data), len(data) - 4)))
            struct.pack_into(order + letter, changed, int(pick(rng, links)), target)
        else:
            _nudge_offset(changed, order, at, value_at, rng)
    return bytes(changed)


def _nudge_offset(changed: bytearray, order: str, at: int, value_at: int, rng: Rng) -> None:
    """Change one number in an array that lies elsewhere: tile offsets and sizes, resolutions, descriptions."""
    place = struct.unpack_from(order + "I", changed, value_at)[0]
    count = struct.unpack_from(order + "I", changed, at + 4)[0]
    place += 4 * int(rng.integers(max(min(count, 100_000), 1)))
    if place + 4 <= len(changed):
        struct.pack_into(order + "I", changed, place, int(pick(rng, INTERESTING)) % 2**32)


def png(data: bytes, rng: Rng) -> bytes:
    """Change a PNG's chunks and mend their checksums, so that the damage is not found by these."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number = int(rng.integers(len(chunks)))
    kind, body = chunks[number]
    choice = int(rng.integers(5))
    if choice == 0:
        chunks.insert(int(rng.integers(len(chunks) + 1)), chunks[number])
    elif choice == 1:
        del chunks[number]
    elif choice == 2:
        extra = pick(rng, (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"tRNS", b"gAMA", b"pHYs", b"acTL", b"PLTE", b"eXIf"))
        chunks.insert(1, (extra, pick(rng, (b"", b"a\0\0" + zlib.compress(bytes(10**7)), bytes(300), b"\xff" * 13))))
    elif body:
        body = set_number(body, rng) if rng.random() < 0.7 else flip_bits(body, rng)
        chunks[number] = (kind, body)
    out = data[:8]
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out


def jpeg(data: bytes, rng: Rng) -> bytes:
    """Change a JPEG's segments: their lengths, their bodies, their order."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = struct.unpack_from(">H", data, at + 2)[0]
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    scan = data[at:]
    if not segments:
        return flip_bits(data, rng)
    number = int(rng.integers(len(segments)))
    choice = int(rng.integers(5))
    if choice == 0:
        segments.insert(int(rng.integers(len(segments) + 1)), segments[number])
    elif choice == 1:
        del segments[number]
    elif choice == 2:
        marker = bytes([0xFF, int(pick(rng, (0xC1, 0xC2, 0xC3, 0xC9, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xD8, 0xD9)))])
        segments[number] = marker + segments[number][2:]
    elif choice == 3:
        segments[number] = segments[number][:4] + set_number(segments[number][4:] or b"\0\0", rng)
    else:
        scan = flip_bits(scan, rng) if rng.random() < 0.5 else cut(scan, rng)
    return data[:2] + b"".join(segments) + scan


def dicom(data: bytes, rng: Rng) -> bytes:
    """Change an explicit little-endian element of a DICOM header: its tag, kind, length or value."""
    places = []
    at = 132
    while at + 8 <= len(data) and len(places) < 400:
        vr = data[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            break
        if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF"}:
            head, length = 12, struct.unpack_from("<I", data, at + 8)[0]
        else:
            head, length = 8, struct.unpack_from("<H", data, at + 6)[0]
        places.append((at, head, length))
        if length == 2**32 - 1:
            at += head + 8  # into the first item of a sequence
            continue
        at += head + length
    if not places:
        return flip_bits(data, rng)
    changed = bytearray(data)
    for _ in range(int(rng.geometric(0.5))):
        at, head, length = places[int(rng.integers(len(places)))]
        choice = int(rng.integers(4))
        if choice == 0:
            changed[at + 4 : at + 6] = pick(rng, (b"SQ", b"UI", b"DS", b"IS", b"OB", b"US", b"UL", b"FD", b"LO"))
        elif choice == 1:
            size = 4 if head == 12 else 2
            value = int(pick(rng, INTERESTING)) % 2 ** (8 * size)
            changed[at + head - size : at + head] = value.to_bytes(size, "little")
        elif choice == 2 and 0 < length < 256:
            text = pick(rng, (b"0", b"-1", b"1e99", b"nan", b"\\", b"", b"99999999", b"\0\0", b"\xff\xff\xff\xff"))
            changed[at + head : at + head + length] = text[:length].ljust(length, b" ")
        else:
            changed[at : at + 4] = struct.pack("<HH", *(int(v) for v in rng.integers(0, 0x80, size=2)))
    return bytes(changed)


STRUCTURED: Final[dict[str, Mutator]] = {
    "tiff": tiff,
    "png": png,
    "jpeg": jpeg,
    "dicom": dicom,
    "json": json_tree,
    "csv": table,
    "onnx": protobuf,
    "bytes": flip_bits,
}


def mutate(data: bytes, kind: str, rng: Rng) -> bytes:
    """Change a file once or a few times: mostly where its structure is, now and then anywhere."""
    for _ in range(int(rng.geometric(0.6))):
        mutator = STRUCTURED[kind] if rng.random() < 0.7 else pick(rng, BYTES)
        if data:
            try:
                data = mutator(data, rng)
            except (struct.error, IndexError, KeyError, TypeError, ValueError, RecursionError, csv.Error):
                data = flip_bits(data, rng)  # an earlier change left no structure to go by
    return data
