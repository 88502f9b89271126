"""The grammar's faults: each writes a hostile file in the place of a sound one, or spoils the place itself."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hostile import mutate, mutate_bytes, mutate_text
from hostile.mutate_bytes import Rng, pick

Write = Callable[[Path, bytes, str, Rng], Path | None]
"""Path, sound bytes, structure; returns another path where that is what the program is given."""

TEXT: Final = frozenset({"json", "csv"})
TIFF: Final = frozenset({"tiff"})


@dataclass(frozen=True)
class Damage:
    """One fault of the grammar."""

    name: str
    write: Write
    structures: frozenset[str] | None = None
    """Formats it makes sense for; None for all."""


def _bytes(change: mutate_bytes.Mutator) -> Write:
    return lambda path, data, _, rng: path.write_bytes(change(data, rng)) and None


def _structured(path: Path, data: bytes, structure: str, rng: Rng) -> None:
    path.write_bytes(mutate.STRUCTURED[structure](data, rng))


def _structured_again(path: Path, data: bytes, structure: str, rng: Rng) -> None:
    path.write_bytes(mutate.mutate(data, structure, rng))


def _with_nul(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + bytes(7) + data[at:]


def _header_flips(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        changed[int(rng.integers(min(len(data), 300)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _swapped(data: bytes, _: Rng) -> bytes:
    if data[:2] in {b"II", b"MM"}:
        return (b"MM" if data[:2] == b"II" else b"II") + data[2:]
    return b"".join(data[place : place + 2][::-1] for place in range(0, len(data), 2))


def _renamed(path: Path, data: bytes, _: str, rng: Rng) -> Path:
    suffixes = (
        ".svs",
        ".tif",
        ".png",
        ".jpg",
        ".dcm",
        ".ndpi",
        ".mrxs",
        ".scn",
        ".bif",
        ".geojson",
        ".csv",
        ".onnx",
        ".txt",
        "",
    )
    other = path.with_name(path.name.split(".")[0] + str(pick(rng, suffixes)))
    other.write_bytes(data)
    return other


def _odd_name(path: Path, data: bytes, _: str, rng: Rng) -> Path:
    stem = str(
        pick(rng, ("a b", "Ki‑67 µm", "-x", "a\nb", "名前", "a'b\"c", "%s%n", "x" * 200, "\udce9", "*", ".hidden"))
    )
    other = path.with_name(stem + "".join(path.suffixes[-1:]))
    other.write_bytes(data)
    return other


def _other_content(path: Path, _: bytes, __: str, rng: Rng) -> None:
    contents = (
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", b"PK\x03\x04" + bytes(60), b"\x7fELF" + bytes(100),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        b"GIF89a\1\0\1\0\0\0\0;", b"BM" + bytes(80), b"RIFF\0\0\0\0WEBPVP8 ", b"null", b"[]", b"{}", b"0",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", bytes(128) + b"DICM",
    )  # fmt: skip
    path.write_bytes(pick(rng, contents))


def _fifo(path: Path, *_: object) -> None:
    os.mkfifo(path)


def _socket_or_device(path: Path, _: bytes, __: str, rng: Rng) -> None:
    path.symlink_to(pick(rng, ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/proc/self/mem", "/proc/1/root")))


def _link_loop(path: Path, *_: object) -> None:
    path.symlink_to(path.name)


def _directory(path: Path, _: bytes, __: str, rng: Rng) -> None:
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside.txt").write_text("x", encoding="utf-8")


def _link(path: Path, data: bytes, *_: object) -> None:
    other = path.with_name("elsewhere")
    other.write_bytes(data)
    path.symlink_to(other)


def _forbidden(path: Path, data: bytes, *_: object) -> None:
    path.write_bytes(data)
    path.chmod(0)


def _ring(data: bytes, rng: Rng) -> bytes:
    order, big, entries, links = mutate.tiff_entries(data)
    changed = bytearray(data)
    target = int(pick(rng, (4 if not big else 8, *links, *(entries[:1] or [8]))))
    first = struct.unpack_from(order + ("Q" if big else "I"), data, links[0])[0]
    struct.pack_into(order + ("Q" if big else "I"), changed, links[-1], int(pick(rng, (first, target))))
    return bytes(changed)


def _tag(data: bytes, tags: tuple[int, ...], rng: Rng, values: tuple[int, ...], part: int = 0) -> bytes:
    """Set the count (part 1) or value of one of the tags, wherever it is found."""
    order, big, entries, _ = mutate.tiff_entries(data)
    changed = bytearray(data)
    places = [at for at in entries if struct.unpack_from(order + "H", data, at)[0] in tags]
    for at in places[:1] if rng.random() < 0.5 else places:
        width, letter = (8, "Q") if big else (4, "I")
        place = at + 4 if part else at + 4 + width
        value = int(pick(rng, values)) % 2 ** (8 * width)
        if not part and struct.unpack_from(order + "H", changed, at + 2)[0] == 3 and order == ">":
            value = (value % 65536) << (8 * width - 16)
        struct.pack_into(order + letter, changed, place, value)
    return bytes(changed)


def _tags(tags: tuple[int, ...], values: tuple[int, ...], part: int = 0) -> Write:
    return _bytes(lambda data, rng: _tag(data, tags, rng, values, part))


def _resolution(data: bytes, rng: Rng) -> bytes:
    """Make the resolution's fractions absurd: nought, one over a great number, uneven."""
    order, big, entries, _ = mutate.tiff_entries(data)
    changed = bytearray(data)
    for at in entries:
        if struct.unpack_from(order + "H", data, at)[0] in {282, 283} and rng.random() < 0.8:
            place = at + 12 if big else struct.unpack_from(order + "I", data, at + 8)[0]
            pair = pick(
                rng,
                ((0, 0), (1, 0), (0, 1), (72, 1), (2**32 - 1, 1), (1, 2**32 - 1), (10000, 1), (40000, 1), (20001, 1)),
            )
            struct.pack_into(order + "II", changed, place, *pair)
    return bytes(changed)


def _text(change: Callable[[str, Rng], bytes]) -> Write:
    return lambda path, data, _, rng: path.write_bytes(change(data.decode(), rng)) and None


def _encoded(text: str, rng: Rng) -> bytes:
    odd = text.replace("IDC", "Ü IDC").replace("he_x", "hé_x", int(rng.integers(2)))
    encoding = pick(rng, ("utf-16", "utf-16-be", "utf-32", "latin-1", "cp037", "utf-7", "utf-8-sig"))
    data: bytes = odd.encode(encoding, "replace")
    return data


def _endings(text: str, rng: Rng) -> bytes:
    mark = str(pick(rng, ("\r", "\r\n", "\x85", "\u2028", "\x0b", "\n\n")))
    return text.replace("\n", mark).replace("},", "}," + mark).encode()


def _nested(text: str, rng: Rng) -> bytes:
    depth = int(pick(rng, (100, 1000, 100_000)))
    return str(pick(rng, ("[" * depth + text + "]" * depth, '{"a":' * depth + text + "}" * depth))).encode()


def _twice(text: str, rng: Rng) -> bytes:
    """Duplicated keys, with another value each."""
    keys = [
        key
        for key in ("type", "features", "geometry", "coordinates", "properties", "sha256", "mpp", "stages", "format")
        if f'"{key}"' in text
    ]
    key = str(pick(rng, keys or ["x"]))
    other = json.dumps(pick(rng, (None, 0, "x", [], {}, [[0, 0]], -1)))
    return text.replace(f'"{key}"', f'"{key}": {other}, "{key}"', int(rng.integers(1, 4))).encode()


def _numbers(text: str, rng: Rng) -> bytes:
    """NaN, infinities, negative and giant numbers in the place of some."""
    parts = mutate_text.re_split(text)
    places = [place for place, part in enumerate(parts) if part and part[0].isdigit()]
    for place in rng.choice(places, min(len(places), int(rng.integers(1, 4)))) if places else ():
        parts[int(place)] = str(
            pick(rng, ("NaN", "Infinity", "-Infinity", "-1", "1e400", "-5", "9" * 400, "1e-400", "0", "0x1F"))
        )
    return "".join(parts).encode()


DAMAGES: Final = (
    Damage("cut off", _bytes(lambda data, rng: data[: int(rng.integers(len(data)))])),
    Damage("a piece missing", _bytes(mutate_bytes.cut)),
    Damage("bits of the header", _bytes(_header_flips)),
    Damage("bits anywhere", _bytes(mutate_bytes.flip_bits)),
    Damage("a block of zeros", _bytes(mutate_bytes.blank)),
    Damage("a block moved", _bytes(mutate_bytes.copy_block)),
    Damage("bytes swapped", _bytes(_swapped)),
    Damage("another ending", _renamed),
    Damage("an odd name", _odd_name),
    Damage("other content", _other_content),
    Damage("empty", _bytes(lambda *_: b"")),
    Damage("zeros", _bytes(lambda data, _: bytes(len(data)))),
    Damage("NUL bytes in it", _bytes(_with_nul)),
    Damage("noise", _bytes(lambda data, rng: rng.bytes(len(data)))),
    Damage("twice in a row", _bytes(lambda data, _: data + data)),
    Damage("junk after it", _bytes(lambda data, rng: data + rng.bytes(int(rng.integers(1, 5000))))),
    Damage("junk before it", _bytes(lambda data, rng: rng.bytes(int(rng.integers(1, 9))) + data)),
    Damage("compressed", _bytes(lambda data, _: gzip.compress(data))),
    Damage("a pipe", _fifo),
    Damage("a device", _socket_or_device),
    Damage("a link to itself", _link_loop),
    Damage("a folder", _directory),
    Damage("a link", _link),
    Damage("not there", lambda *_: None),
    Damage("no permission", _forbidden),
    Damage("its structure", _structured),
    Damage("its structure, twice", _structured_again),
    Damage("a number", _bytes(mutate_bytes.set_number)),
    Damage("a ring of directories", _bytes(_ring), TIFF),
    Damage("sizes", _tags((256, 257, 322, 323, 277, 258, 278), mutate_bytes.INTERESTING), TIFF),
    Damage("counts", _tags((324, 325, 273, 279, 258, 270, 330), mutate_bytes.INTERESTING, 1), TIFF),
    Damage("compression", _tags((259,), mutate_bytes.COMPRESSIONS), TIFF),
    Damage("colours", _tags((262, 284, 317, 339), (*range(9), 32803, 34892, 65535)), TIFF),
    Damage("pixel size", _bytes(_resolution), TIFF),
    Damage("encoding", _text(_encoded), TEXT),
    Damage("line ends", _text(_endings), TEXT),
    Damage("NaN and the like", _text(_numbers), TEXT),
    Damage("nesting", _text(_nested), frozenset({"json"})),
    Damage("keys twice", _text(_twice), frozenset({"json"})),
)  # fmt: skip


def choose(count: int, structures: dict[str, str], rng: Rng) -> list[tuple[str, Damage]]:
    """Return format and damage of each input: all pairs in turn, so that each occurs before one comes again."""
    pairs = [
        (name, damage)
        for name, structure in structures.items()
        for damage in DAMAGES
        if damage.structures is None or structure in damage.structures
    ]
    order: list[int] = []
    while len(order) < count:
        order += rng.permutation(len(pairs)).tolist()
    return [pairs[place] for place in order[:count]]


def seeded(seed: int, number: int) -> Rng:
    """Return the generator of one input, so that it can be made again alone."""
    return np.random.default_rng([seed, number])
