"""What a machine, or the container in it, gives a program: processors, memory, disk, a graphics card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ki67.jobs import MOST_WORKERS
from ki67.processors import CGROUPS, cpu_limit, usable_processors

CASE_GIB: Final = 1.5
"""Memory that a case takes besides its threads: with two of them 1.7 GB for 48 mm² of carcinoma at 0.25 µm."""

THREAD_GIB: Final = 0.25
"""Of each thread that counts cells."""

LEAST_DISK_GIB: Final = 2.0
"""A case writes less than 0.5 GB, its displacement field included; a cohort as many times more."""

_GIB: Final = 2**30
_NO_LIMIT: Final = 1 << 60
"""The first version of control groups tells of no limit by a number near 2^63."""

_GPUS: Final = (("NVIDIA", "/proc/driver/nvidia/version"), ("AMD", "/dev/kfd"), ("WSL", "/dev/dxg"))


@dataclass(frozen=True)
class Machine:
    """What there is.

    Parameters
    ----------
    threads
        Processors that the process uses, no more than the container's limit.
    cpu_limit
        Processors' worth of time that the container may use; None for no limit.
    memory_gib
        Of the machine; None where the system does not tell.
    memory_limit_gib
        Of the container; None for no limit.
    disk_free_gib, temporary_free_gib
        Free where the command was started and where temporary files go; None where it is not known.
    gpu
        Maker of a graphics card whose driver is there; None for none.
    """

    threads: int
    cpu_limit: float | None
    memory_gib: float | None
    memory_limit_gib: float | None
    disk_free_gib: float | None
    temporary_free_gib: float | None
    gpu: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def hints(self, providers: Sequence[str]) -> list[str]:
        """What will hurt, and what to do; ``providers`` are what ONNX Runtime can run models on."""
        hints = []
        needed = CASE_GIB + THREAD_GIB * min(self.threads, MOST_WORKERS)
        memory = min((size for size in (self.memory_gib, self.memory_limit_gib) if size is not None), default=None)
        if memory is not None and memory < needed:
            hints.append(
                f"{memory:.1f} GiB of memory is less than a large case takes on {self.threads} processors "
                f"({needed:g} GiB); on fewer (taskset) it takes less"
            )
        for name, free in (
            ("the current folder", self.disk_free_gib),
            ("the temporary folder", self.temporary_free_gib),
        ):
            if free is not None and free < LEAST_DISK_GIB:
                hints.append(f"{free:.1f} GiB are free in {name}, expected {LEAST_DISK_GIB:g}")
        if self.gpu is not None and all(name == "CPUExecutionProvider" for name in providers):
            hints.append(f"there is a graphics card ({self.gpu}), but ONNX Runtime has no provider for it")
        return hints


def look(cgroups: Path = CGROUPS) -> Machine:
    """Look at the machine; ``cgroups`` is where the system tells of a container's limits."""
    return Machine(
        threads=usable_processors(),
        cpu_limit=cpu_limit(cgroups),
        memory_gib=_memory(),
        memory_limit_gib=_memory_limit(cgroups),
        disk_free_gib=_free(Path.cwd()),
        temporary_free_gib=_free(Path(tempfile.gettempdir())),
        gpu=next((name for name, place in _GPUS if Path(place).exists()), None),
    )


def _memory_limit(cgroups: Path) -> float | None:
    words = _words(cgroups / "memory.max") or _words(cgroups / "memory/memory.limit_in_bytes")
    if len(words) != 1 or not words[0].isdigit() or int(words[0]) >= _NO_LIMIT:
        return None
    return int(words[0]) / _GIB


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    except (AttributeError, ValueError, OSError):
        return None


def _free(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / _GIB
    except OSError:
        return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
