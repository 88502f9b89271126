"""A case's folder: its manifest ``run.json``, its lock, and stages that run once.

A stage is current when its name, version, parameters and the content of everything it reads are what they were,
and everything it wrote is still there unchanged. A current stage is not run again. The manifest is rewritten after
every stage, whole or not at all, so that a killed run continues from the last finished stage.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ki67 import __version__
from ki67.errors import CaseError, Ki67Error
from ki67.files import remove_leftovers, sha256_of, write_json

MANIFEST = "run.json"
_LOCK = ".lock"
_FORMAT = 1
_LIBRARIES = (
    "imagecodecs",
    "itk-elastix",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openslide-bin",
    "openslide-python",
    "pyarrow",
    "scikit-image",
    "scipy",
    "shapely",
    "tifffile",
)

Summary = dict[str, Any]


def library_versions() -> dict[str, str]:
    """Versions of the program, of Python and of every library that touches a pixel or a number."""
    versions = {"ki67": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    return versions


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process so far in MiB; None where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@dataclass(frozen=True)
class Stage:
    """What a stage is: its name, its version (raised when its result changes), what it writes.

    Parameters
    ----------
    name
        Name in the manifest.
    version
        Raised whenever the same inputs would give another result.
    outputs
        Files it always writes, relative to the case's folder.
    optional
        Files it writes where there is something to write, and removes otherwise.
    """

    name: str
    version: int
    outputs: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass
class Case:
    """An open case folder; use :func:`open_case`."""

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    """Stages that this run went through, in order; the folder may hold others from earlier runs."""

    def path(self, relative: str) -> Path:
        """Absolute place of a file of the case."""
        return self.folder / relative

    def read_json(self, relative: str) -> Any:
        """Content of a JSON file of the case."""
        return json.loads(self.path(relative).read_text(encoding="utf-8"))

    def run_stage(
        self,
        stage: Stage,
        parameters: Mapping[str, Any],
        reads: Sequence[str],
        work: Callable[[], Summary],
    ) -> Summary:
        """Run a stage, or return what it said when it last ran on the same things.

        Parameters
        ----------
        stage
            The stage.
        parameters
            Everything besides files that decides its result (JSON values), slide fingerprints included.
        reads
            Files of the case that it reads, by their relative names.
        work
            Does the work, writes ``stage.outputs`` and returns a JSON object that is kept in the manifest.

        Returns
        -------
        dict
            What ``work`` returned, from this run or from the run that is still current.
        """
        self.used.append(stage.name)
        key = self._key(stage, parameters, reads)
        known = self.manifest["stages"].get(stage.name)
        if known and known["state"] == "done" and known["key"] == key and self._intact(known["outputs"]):
            return dict(known["summary"])
        record: dict[str, Any] = {
            "state": "running",
            "key": key,
            "parameters": dict(parameters),
            "started": _now(),
        }
        self._record(stage.name, record)
        start = time.perf_counter()
        try:
            summary = work()
        except Ki67Error as error:
            self._record(stage.name, record | {"state": "failed", "error": str(error)})
            raise
        missing = [name for name in stage.outputs if not self.path(name).is_file()]
        if missing:
            msg = f"stage {stage.name} did not write {', '.join(missing)}"
            raise RuntimeError(msg)
        record |= {
            "state": "done",
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_mib": peak_memory_mib(),
            "outputs": {
                name: sha256_of(self.path(name))
                for name in (*stage.outputs, *stage.optional)
                if self.path(name).is_file()
            },
            "summary": summary,
        }
        self._record(stage.name, record)
        return dict(summary)

    def summaries(self) -> list[Summary]:
        """What the stages of this run said, in order."""
        return [self.manifest["stages"][name]["summary"] for name in self.used]

    def seconds(self) -> float:
        """Time that the stages of this run took when they ran, in this run or an earlier one."""
        return round(sum(float(self.manifest["stages"][name]["seconds"]) for name in self.used), 3)

    def written(self) -> list[str]:
        """Files that the stages of this run wrote, by their names relative to the folder."""
        return [path for name in self.used for path in self.manifest["stages"][name]["outputs"]]

    def update(self, **entries: Any) -> None:
        """Change entries of the manifest and save it."""
        self.manifest.update(entries)
        write_json(self.path(MANIFEST), self.manifest)

    def _record(self, name: str, record: Mapping[str, Any]) -> None:
        self.manifest["stages"][name] = dict(record)
        write_json(self.path(MANIFEST), self.manifest)

    def _key(self, stage: Stage, parameters: Mapping[str, Any], reads: Sequence[str]) -> str:
        content = {name: sha256_of(self.path(name)) for name in reads}
        facts = [stage.name, stage.version, dict(parameters), content, list(stage.outputs)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _intact(self, outputs: Mapping[str, str]) -> bool:
        return all(self.path(name).is_file() and sha256_of(self.path(name)) == sha for name, sha in outputs.items())


@contextmanager
def open_case(
    folder: str | Path, command: str, inputs: Mapping[str, Mapping[str, Any]], models: Mapping[str, str]
) -> Iterator[Case]:
    """Open or create a case's folder and hold its lock.

    Parameters
    ----------
    folder
        The case's folder; made where it does not exist.
    command
        The command that owns the folder (``score``, ``count``, …).
    inputs
        For each input slide: ``path``, ``mpp``, ``fingerprint`` and what else the manifest shall tell.
    models
        Name and SHA-256 of each model that is used.

    Raises
    ------
    CaseError
        Where another run holds the folder, its manifest is damaged, or it holds another case.
    """
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaseError(root, f"cannot be made ({error.strerror})", "Choose another folder with --out.") from error
    try:
        with FileLock(root / _LOCK, timeout=0):
            remove_leftovers(root)
            case = Case(root, read_manifest(root))
            _refuse_another_case(case, command, inputs)
            case.update(
                format=_FORMAT,
                command=command,
                inputs={name: dict(facts) for name, facts in inputs.items()},
                models=dict(models),
                versions=library_versions(),
                stages=case.manifest.get("stages", {}),
            )
            yield case
    except Timeout as error:
        raise CaseError(
            root, "is in use by another run", "Wait for it to end, or choose another folder with --out."
        ) from error


def read_manifest(
    folder: Path, otherwise: str = "Delete it to begin afresh, or choose another folder with --out."
) -> dict[str, Any]:
    """The manifest of a case's folder; empty where there is none.

    ``otherwise`` is what to do where it cannot be read.

    Raises
    ------
    CaseError
        Where it is damaged or of another version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT or not isinstance(manifest["stages"], dict):
            raise CaseError(path, "was written by another version", otherwise)
    except (ValueError, KeyError, TypeError) as error:
        raise CaseError(path, f"is damaged ({error})", otherwise) from error
    return dict(manifest)


def _refuse_another_case(case: Case, command: str, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    if not case.manifest:
        return
    if case.manifest["command"] != command:
        held = case.manifest["command"]
        raise CaseError(case.folder, f"holds results of 'ki67 {held}'", "Choose another folder with --out.")
    for name, facts in inputs.items():
        held = case.manifest["inputs"].get(name, {})
        if held.get("fingerprint") != facts["fingerprint"]:
            raise CaseError(
                case.folder,
                f"holds the results of another slide ({held.get('path')}, not {facts['path']})",
                "Choose another folder with --out.",
            )


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
