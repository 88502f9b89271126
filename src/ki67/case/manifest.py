"""A case's manifest, ``run.json``, and what it tells of the installation.

A manifest is input like any other: it is checked here, once, so that nothing later stumbles over it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ki67 import __version__
from ki67.errors import CaseError
from ki67.files import read_json

MANIFEST: Final = "run.json"
MOST_SECONDS = 1e9  # thirty years; a giant whole number is no float any more
MOST_MIB = 2.0**40
FORMAT: Final = 1
BEGIN_AFRESH: Final = "Delete it to begin afresh, or choose another folder with --out."

_LIBRARIES = (
    "imagecodecs",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openslide-bin",
    "openslide-python",
    "pyarrow",
    "scipy",
    "shapely",
    "tifffile",
)


_EITHER = ("SimpleITK-SimpleElastix", "itk-elastix")
"""Packages of which one is enough: both hold elastix."""


def library_versions() -> dict[str, str]:
    """Versions of the program, of Python and of every library that touches a pixel or a number."""
    versions = {"ki67": __version__, "python": platform.python_version()}
    either = {name: found for name in _EITHER if (found := _version(name)) != "missing"}
    return versions | {name: _version(name) for name in _LIBRARIES} | (either or {_EITHER[0]: "missing"})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process so far in MiB; None where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def read_manifest(folder: Path, otherwise: str = BEGIN_AFRESH) -> dict[str, Any]:
    """The manifest of a case's folder; empty where there is none.

    ``otherwise`` is what to do where it cannot be read.

    Raises
    ------
    CaseError
        Where it is damaged, or of another version or another program.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return {}
    manifest = read_json(path, CaseError, otherwise, "a case's manifest")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CaseError(path, "was written by another version of ki67 or by another program", otherwise)
    fault = _fault(manifest)
    if fault:
        raise CaseError(path, f"is damaged ({fault})", otherwise)
    return manifest


def _fault(manifest: Mapping[str, Any]) -> str | None:
    """What is wrong with a manifest; None for nothing."""
    if not isinstance(manifest.get("command"), str):
        return "it names no command"
    # Older versions kept one list of versions for all stages.
    for name in ("inputs", "models", "stages", *(["versions"] if "versions" in manifest else [])):
        if not isinstance(manifest.get(name), dict):
            return f"it has no list of {name}"
    for name in ("inputs", "stages"):
        for key, entry in manifest[name].items():
            if not isinstance(entry, dict):
                return f"{name}.{key} is not an object"
    for name, record in manifest["stages"].items():
        fault = _fault_of_record(record)
        if fault:
            return f"stage {name} {fault}"
    return None


def _fault_of_record(record: Mapping[str, Any]) -> str | None:
    if not isinstance(record.get("state"), str):
        return "has no state"
    for name in ("reads", "writes"):
        names = record.get(name, [])
        if not isinstance(names, list) or not all(isinstance(file, str) for file in names):
            return f"has no list of what it {name}"
    for name in ("outputs", "versions"):
        if not isinstance(record.get(name, {}), dict):
            return f"has no list of {name}"
    # These files are removed when the stage runs again: a name must not lead out of the folder.
    outside = [name for name in written_by(record) if not _stays_inside(name)]
    if outside:
        return f"claims a file outside the folder, {outside[0]!r}"
    seconds = record.get("seconds", 0)
    if not isinstance(seconds, int | float) or not 0 <= seconds < MOST_SECONDS:
        return "has no time"
    memory = record.get("peak_memory_mib")
    if memory is not None and not (isinstance(memory, int | float) and 0 <= memory < MOST_MIB):
        return "has no peak memory that is a number"
    if not isinstance(record.get("parameters", {}), dict):
        return "has no list of parameters"
    return None


def written_by(record: Mapping[str, Any]) -> list[str]:
    """Files that a stage writes, or may write, by its record."""
    return [*dict.fromkeys([*record.get("writes", ()), *record.get("outputs", ())])]


def _stays_inside(name: object) -> bool:
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path != PurePosixPath(".")
