"""``ki67 doctor``: what is installed, what is missing, what will be used."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ki67.cli.common import Json, Quiet, begin, emit, number
from ki67.cli.machine import look
from ki67.errors import InstallationError, Ki67Error
from ki67.vocabulary import EngineName

_EXTRAS = {
    "train": ("torch", "sklearn", "onnx"),
    "figures": ("matplotlib",),
    "itk": ("itk",),
    "dicom": ("highdicom",),
    "cohort": ("distributed",),
    "url": ("fsspec", "aiohttp"),
}

_MACHINE = {
    "cpu_limit": "processors' worth that the container may use",
    "memory_gib": "memory, GiB",
    "memory_limit_gib": "memory that the container may use, GiB",
    "disk_free_gib": "free in the current folder, GiB",
    "temporary_free_gib": "free in the temporary folder, GiB",
    "gpu": "graphics card",
}


def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell what is installed, what is missing and what will be used."""
    begin(quiet=quiet)
    result = examine()
    lines = [f"{name} {found}" for name, found in result["versions"].items()]
    lines.append(f"threads: {result['threads']}")
    lines += [f"{text}: {number(result['machine'][name])}" for name, text in _MACHINE.items()]
    lines.append(f"models run on: {', '.join(result['onnx_providers'])}")
    lines += [f"registration through: {result['elastix'] or 'nothing'}"]
    lines += [f"reader {name}: {state}" for name, state in result["readers"].items()]
    lines += [f"model {name}: {state}" for name, state in result["models"].items()]
    lines += [f"extra '{name}': {state}" for name, state in result["extras"].items()]
    lines += [f"hint: {text}" for text in result["hints"]]
    lines += [f"problem: {text}" for text in result["problems"]]
    lines.append(
        "all is well" if not result["problems"] else "mend the problems with: pip install --force-reinstall ki67"
    )
    emit(result, as_json=as_json, lines=lines)
    if result["problems"]:
        raise Ki67Error(f"{len(result['problems'])} problem(s) found: {'; '.join(result['problems'])}")


def examine() -> dict[str, Any]:
    """Look at the installation.

    Returns
    -------
    dict
        ``versions``, ``threads``, ``onnx_providers``, ``elastix`` (the package that it comes from, or None),
        ``readers``, ``models``, ``extras``, ``machine`` (:class:`ki67.cli.machine.Machine`), ``hints``, what will
        hurt, and ``problems``; the last is empty where all that scoring needs works.
    """
    from ki67.case.manifest import library_versions

    versions = library_versions()
    problems = [f"{name} is not installed" for name, found in versions.items() if found == "missing"]
    machine, providers = look(), _providers(problems)
    result: dict[str, Any] = {
        "versions": versions,
        "threads": machine.threads,
        "machine": machine.to_dict(),
        "hints": machine.hints(providers),
        "onnx_providers": providers,
        "elastix": _elastix(problems),
        "readers": _readers(problems),
        "models": _models(problems),
        "extras": {
            name: "installed" if all(find_spec(module) for module in modules) else "not installed (optional)"
            for name, modules in _EXTRAS.items()
        },
        "problems": problems,
    }
    return result


def _providers(problems: list[str]) -> list[str]:
    try:
        import onnxruntime
    except ImportError as error:
        problems.append(f"onnxruntime cannot be loaded: {error}")
        return []
    available = set(onnxruntime.get_available_providers())
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


def _elastix(problems: list[str]) -> str | None:
    from ki67.registration.elastix import elastix

    try:
        return elastix().package
    except InstallationError as error:
        problems.append(str(error))
        return None


def _readers(problems: list[str]) -> dict[str, str]:
    readers: dict[str, str] = {}
    try:
        import openslide

        readers["openslide"] = openslide.__library_version__
    except (ImportError, OSError) as error:
        problems.append(f"OpenSlide cannot be loaded: {error}")
    try:
        import imagecodecs
        import tifffile

        readers["tifffile"] = f"{tifffile.__version__} with imagecodecs {imagecodecs.__version__}"
    except ImportError as error:
        problems.append(f"tifffile or imagecodecs cannot be loaded: {error}")
    return readers


def _models(problems: list[str]) -> dict[str, str]:
    from ki67 import cells, idc

    states: dict[str, str] = {}
    cards: dict[str, Callable[[], str]] = {
        "idc": lambda: idc.load_model().sha256,
        "cells, network": lambda: cells.load_engine(EngineName.network).card.sha256,
        "cells, forest": lambda: cells.load_engine(EngineName.forest).card.sha256,
    }
    for name, sha256 in cards.items():
        try:
            states[name] = f"sha256 {sha256()[:16]}, intact"
        except Ki67Error as error:
            states[name] = "unusable"
            problems.append(str(error))
    return states
