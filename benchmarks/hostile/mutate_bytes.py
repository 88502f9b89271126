"""Mutators of bytes: flips, cuts, holes, copies, and numbers that programs stumble over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

Rng = np.random.Generator
Mutator = Callable[[bytes, Rng], bytes]

INTERESTING: Final = (
    0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 31, 32, 63, 64, 127, 128, 255, 256, 511, 1000, 4095, 4096, 32767, 32768,
    65535, 65536, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
TIFF_TAGS: Final = (
    254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296, 301, 305, 317, 320, 322,
    323, 324, 325, 330, 338, 339, 347, 529, 530, 531, 532, 32997, 32998, 34665, 34675, 37724, 50838, 50839, 65420,
    65426,
)  # fmt: skip
COMPRESSIONS: Final = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 33003, 33004, 33005, 33007, 34661, 34712, 34887, 34892, 34925, 34933,
    50000, 50001, 50002, 52546, 65535,
)  # fmt: skip


def pick(rng: Rng, values: Any) -> Any:
    """Return one of the values, kept as it is (NumPy's own choice makes arrays of them)."""
    return values[int(rng.integers(len(values)))]


def flip_bits(data: bytes, rng: Rng) -> bytes:
    """Flip one to thirty bits, mostly few; half of the time near the beginning, where headers are."""
    changed = bytearray(data)
    reach = len(changed) if rng.random() < 0.5 else min(len(changed), 512)
    for _ in range(int(rng.geometric(0.3))):
        changed[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_number(data: bytes, rng: Rng) -> bytes:
    """Overwrite two, four or eight bytes with a number that programs stumble over."""
    changed = bytearray(data)
    size = int(pick(rng, (1, 2, 4, 8)))
    value = int(pick(rng, INTERESTING)) % 2 ** (8 * size)
    reach = len(changed) if rng.random() < 0.3 else min(len(changed), 2048)
    at = int(rng.integers(max(reach - size, 1)))
    changed[at : at + size] = value.to_bytes(size, pick(rng, ("little", "big")))
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """Cut the file anywhere, or take a piece out of it."""
    a, b = sorted(int(v) for v in rng.integers(len(data) + 1, size=2))
    return data[:a] if rng.random() < 0.6 else data[:a] + data[b:]


def blank(data: bytes, rng: Rng) -> bytes:
    """Fill a block with one byte, as a copy with holes has it."""
    a = int(rng.integers(len(data)))
    b = min(len(data), a + int(2 ** rng.uniform(0, 16)))
    return data[:a] + bytes([int(pick(rng, (0, 0, 0, 255, 32)))]) * (b - a) + data[b:]


def copy_block(data: bytes, rng: Rng) -> bytes:
    """Copy a block over another, or between two bytes."""
    a, b = (int(v) for v in rng.integers(len(data), size=2))
    block = data[a : a + int(2 ** rng.uniform(0, 12))]
    return data[:b] + block + data[b + (len(block) if rng.random() < 0.5 else 0) :]


BYTES: Final[tuple[Mutator, ...]] = (flip_bits, set_number, cut, blank, copy_block)
