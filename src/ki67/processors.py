"""How many processors this process may use: those it is kept to, and no more than its container's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
"""Where Linux tells of the limits of control groups, which containers are."""

_OWN_GROUP: Final = "/proc/self/cgroup"

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""What tells libraries how many threads of their own to start; they read it when they are loaded."""


def usable_processors() -> int:
    """Processors that the process may use; all of the machine where the system cannot tell (macOS, Windows).

    Of a quota of one and a half processors the second is used too.
    """
    limit = cpu_limit()
    return kept_to() if limit is None else max(1, min(kept_to(), math.ceil(limit)))


def kept_to() -> int:
    """Processors that the process may run on, whatever share of their time it gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_limit(cgroups: Path = CGROUPS, own_group: str | None = None) -> float | None:
    """Processors' worth of time that the process may use; None for no limit.

    Parameters
    ----------
    cgroups
        Where the system tells of limits.
    own_group
        Content of ``/proc/self/cgroup``: the groups of the process, for either version of control groups. What is
        around a group limits it too. None reads it.
    """
    groups = {PurePosixPath("/")}
    for line in (_text(Path(_OWN_GROUP)) if own_group is None else own_group).splitlines():
        _, kinds, group = (*line.split(":", 2), "", "")[:3]
        if not kinds or "cpu" in kinds.split(","):
            groups |= {PurePosixPath(group), *PurePosixPath(group).parents}
    folders = [root / str(group).lstrip("/") for group in groups for root in (cgroups, cgroups / "cpu")]
    return min((quota for folder in folders if (quota := _quota(folder)) is not None), default=None)


def keep_libraries_to_quota() -> None:
    """Have libraries that know nothing of quotas start no more threads than the container's allows.

    For a command, before they are loaded; what the environment says already holds.
    """
    if usable_processors() < kept_to():
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(usable_processors()))


def _quota(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    if not words:
        words = [*_text(folder / "cpu.cfs_quota_us").split(), *_text(folder / "cpu.cfs_period_us").split()]
    if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit() or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
