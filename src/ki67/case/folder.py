"""A case's folder: its lock, its manifest, and stages that run once.

A stage is current when its name, version, parameters and the content of everything it reads are what they were,
and everything it wrote is still there unchanged. A current stage is not run again. Before a stage runs, what it wrote
earlier is taken away, and first of all what was made from that, the last things first: whatever stands in the folder
belongs together, at every moment. The manifest is rewritten after every stage, whole or not at all, so that a killed
run continues from the last finished stage. A run that is refused takes the results of earlier runs with it and leaves
the reason in the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ki67.case.log import LOG, CaseLog, is_log
from ki67.case.manifest import FORMAT, MANIFEST, library_versions, peak_memory_mib, read_manifest, written_by
from ki67.case.records import case_record
from ki67.case.view import CaseView
from ki67.errors import BusyError, CancelledError, CaseError, Ki67Error, WriteError
from ki67.files import json_text, read_json, remove_leftovers, sha256_of, write_json
from ki67.jobs import current, span

_LOCK = ".lock"
_OTHER_FOLDER = "Choose another folder with --out."

Summary = dict[str, Any]


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
        Files it writes where there is something to write.
    result
        Whether what it writes is a last word, which must not stay where a later run was refused.
    """

    name: str
    version: int
    outputs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    result: bool = False

    @property
    def writes(self) -> tuple[str, ...]:
        """All files it may write."""
        return (*self.outputs, *self.optional)


@dataclass
class Case:
    """An open case folder; use :func:`open_case`."""

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    """Stages that this run went through, in order; the folder may hold others from earlier runs."""
    files: frozenset[str] = frozenset()
    """All that a run may write; empty for no limit."""
    log: CaseLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = CaseLog(self.folder)

    def path(self, relative: str) -> Path:
        """Absolute place of a file of the case."""
        return self.folder / relative

    def read_json(self, relative: str) -> Any:
        """Content of a JSON file of the case."""
        return read_json(self.path(relative), CaseError, "Run the same command again.")

    def run_stage(
        self,
        stage: Stage,
        parameters: Mapping[str, Any],
        reads: Sequence[str],
        work: Callable[[], Summary],
        provider: str | None = None,
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
        provider
            What runs its model (ONNX Runtime's name of it), kept in the manifest; None where it has none.

        Returns
        -------
        dict
            What ``work`` returned, from this run or from the run that is still current.
        """
        unlisted = set(stage.writes) - self.files if self.files else set()
        if unlisted:
            msg = f"stage {stage.name} writes {', '.join(sorted(unlisted))}, which its case does not list"
            raise RuntimeError(msg)
        current().stop_if_cancelled()
        self.used.append(stage.name)
        key = self._key(stage, parameters, reads)
        if self._has(stage.name, key):
            self.log.note("stage current", stage=stage.name)
            return self.summary(stage.name)
        last_words = [] if stage.result else self._results()
        self._take_away([*last_words, stage.name, *self._made_from(stage.writes)])
        self._remove(stage.writes)
        record: dict[str, Any] = {
            "state": "running",
            "version": stage.version,
            "key": key,
            "parameters": dict(parameters),
            "reads": list(reads),
            "writes": list(stage.writes),
            "result": stage.result,
            "started": _now(),
            "versions": library_versions(),
            "provider": provider,
        }
        self._record(stage.name, record)
        self.log.note("stage begun", stage=stage.name, provider=provider)
        start = time.perf_counter()
        try:
            with span(stage.name):
                summary = work()
        except CancelledError:
            raise
        except Exception as error:
            self._remove(stage.writes)
            # The reason that counts is the first one, even where the disk takes no more.
            with contextlib.suppress(WriteError):
                self._record(stage.name, record | {"state": "failed", "error": told(error)})
            raise
        missing = [name for name in stage.outputs if not self.path(name).is_file()]
        if missing:
            msg = f"stage {stage.name} did not write {', '.join(missing)}"
            raise RuntimeError(msg)
        record |= {
            "state": "done",
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_mib": peak_memory_mib(),
            "outputs": {name: sha256_of(self.path(name)) for name in stage.writes if self.path(name).is_file()},
            "summary": summary,
        }
        self._record(stage.name, record | {"seal": _seal(record)})
        cost = {name: record[name] for name in ("seconds", "peak_memory_mib")}
        self.log.note("stage done", stage=stage.name, **cost, warnings=summary.get("warnings", []))
        return dict(summary)

    def is_current(self, stage: Stage, parameters: Mapping[str, Any], reads: Sequence[str]) -> bool:
        """Whether :meth:`run_stage` would return what the stage said, and not run it."""
        return self._has(stage.name, self._key(stage, parameters, reads))

    def take_away(self, name: str) -> None:
        """Take away what a stage wrote, where it ran, and all that was made from it."""
        if name in self._stages:
            self._take_away([name])
            self.update()

    def keep_only_used(self, *coming: str) -> None:
        """Take away what earlier runs left by stages that this run neither went through nor is coming to.

        Such as the region of an earlier count, where this one counts all tissue.
        """
        others = [name for name in self._stages if name not in {*self.used, *coming}]
        if others:
            self._take_away(others)
            self.update()

    def summary(self, name: str) -> Summary:
        """What a stage that ended said."""
        return dict(self._stages[name]["summary"])

    def view(self) -> CaseView:
        """What the folder holds now, to read."""
        record = case_record(self.folder, self.manifest, "Run the same command again.")
        return CaseView(self.folder, record)

    def summaries(self) -> list[Summary]:
        """What the stages of this run said, in order."""
        return [self._stages[name]["summary"] for name in self.used]

    def seconds(self) -> float:
        """Time that the stages of this run took when they ran, in this run or an earlier one."""
        return round(sum(float(self._stages[name]["seconds"]) for name in self.used), 3)

    def written(self) -> list[str]:
        """Files that the stages of this run wrote, by their names relative to the folder."""
        return [path for name in self.used for path in self._stages[name]["outputs"]]

    def update(self, **entries: Any) -> None:
        """Change entries of the manifest and save it."""
        self.manifest.update(entries)
        write_json(self.path(MANIFEST), self.manifest)

    def begin(self, head: Mapping[str, Any]) -> None:
        """Begin a run; results of a run on other things or with other models go first."""
        if any(_plain(self.manifest.get(name)) != _plain(entry) for name, entry in head.items()):
            self._take_away(self._results())
        self.manifest.pop("error", None)
        self._keep_versions_by_stage()
        self.update(**head, format=FORMAT, stages=self._stages, state="running")

    def refuse(self, error: Exception) -> None:
        """End a run without a result: those of earlier runs go, and the manifest says why."""
        self._take_away([name for name in self._results() if self._stages[name]["state"] != "failed"])
        with contextlib.suppress(WriteError):
            self.update(state="failed", error=told(error))

    def _keep_versions_by_stage(self) -> None:
        """Give an older manifest's one list of versions to the stages that ran under it."""
        versions = self.manifest.pop("versions", None)
        for record in self._stages.values():
            if versions is not None:
                record.setdefault("versions", versions)

    @property
    def _stages(self) -> dict[str, dict[str, Any]]:
        stages: dict[str, dict[str, Any]] = self.manifest.setdefault("stages", {})
        return stages

    def _results(self) -> list[str]:
        """Stages whose files are a last word; of an older version's record it is not known that they are none."""
        return [name for name, record in self._stages.items() if record.get("result", "reads" not in record)]

    def _record(self, name: str, record: Mapping[str, Any]) -> None:
        self._stages[name] = dict(record)
        write_json(self.path(MANIFEST), self.manifest)

    def _key(self, stage: Stage, parameters: Mapping[str, Any], reads: Sequence[str]) -> str:
        content = {name: sha256_of(self.path(name)) for name in reads}
        facts = [stage.name, stage.version, dict(parameters), content, list(stage.outputs)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _has(self, name: str, key: str) -> bool:
        known = self._stages.get(name)
        if known is None or known["state"] != "done" or known.get("key") != key or known.get("seal") != _seal(known):
            return False
        return all(
            self.path(name).is_file() and sha256_of(self.path(name)) == sha for name, sha in known["outputs"].items()
        )

    def _made_from(self, files: Iterable[str]) -> list[str]:
        """Stages that read any of these files, or wrote one of them before; an older record does not say what."""
        wanted = set(files)
        return [
            name
            for name, record in self._stages.items()
            if "reads" not in record or wanted & {*record["reads"], *written_by(record)}
        ]

    def _take_away(self, stages: Iterable[str], gone: set[str] | None = None) -> None:
        """Remove what stages wrote and forget them, after all that was made from it."""
        gone = set() if gone is None else gone
        for name in stages:
            if name in self._stages and name not in gone:
                gone.add(name)
                files = written_by(self._stages[name])
                self._take_away(self._made_from(files), gone)
                self._remove(files)
                del self._stages[name]

    def _remove(self, files: Iterable[str]) -> None:
        paths = [self.path(name) for name in files]
        for path in reversed(paths):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise CaseError(path, f"cannot be taken away ({error.strerror})", _OTHER_FOLDER) from error
        remove_leftovers(paths)


@contextmanager
def open_case(
    folder: str | Path,
    command: str,
    inputs: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, str],
    files: Iterable[str] = (),
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
    files
        Names of all files that a run may write; one that is there, but not from a run, is another's.

    Raises
    ------
    BusyError
        Where another run holds the folder.
    CaseError
        Where it cannot be used, its manifest is damaged, or it holds another case or another's files.
    """
    root = _made(folder)
    with locked(root):
        case = Case(root, read_manifest(root), files=frozenset(files))
        _refuse_another_case(case, command, inputs)
        _refuse_others_files(case, files)
        remove_leftovers([root / name for name in (*files, MANIFEST)])
        head: dict[str, Any] = {
            "command": command,
            "inputs": {name: dict(facts) for name, facts in inputs.items()},
            "models": dict(models),
        }
        case.begin(head)
        with _logged(case, command):
            try:
                yield case
            except CancelledError:
                raise
            except Exception as error:
                case.refuse(error)
                raise
            case.update(state="done")


@contextmanager
def _logged(case: Case, command: str) -> Iterator[None]:
    """Note in the case's log that a run begins, and how it ends."""
    case.log.begin(command)
    try:
        yield
    except BaseException as error:
        failed = isinstance(error, Exception) and not isinstance(error, CancelledError)
        case.log.note("run failed" if failed else "run stopped", error=told(error))
        raise
    case.log.note("run done")


def told(error: BaseException) -> str:
    """What the manifest says of an error."""
    return str(error) if isinstance(error, Ki67Error) else f"{type(error).__name__}: {error}"


def _made(folder: str | Path) -> Path:
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaseError(root, f"cannot be made ({error.strerror})", _OTHER_FOLDER) from error
    if root.resolve().parent == root.resolve():
        raise CaseError(root, "is the root of the file system", _OTHER_FOLDER)
    return root


@contextmanager
def reopen_case(folder: str | Path, command: str, files: Iterable[str] = ()) -> Iterator[Case]:
    """Open a case that a run has made, to add to it; all its stages that ended count as gone through.

    Unlike :func:`open_case` it takes nothing away where the work fails. ``command`` is what the log calls it.

    Raises
    ------
    BusyError
        Where another run holds the folder.
    CaseError
        Where the folder holds no case, or it cannot be read.
    """
    root = Path(folder)
    if not (root / MANIFEST).is_file():
        raise CaseError(root, f"is no case, it has no {MANIFEST}", "Run 'ki67 score' or 'ki67 count' with it first.")
    with locked(root):
        case = Case(root, read_manifest(root), files=frozenset(files))
        stages = case.manifest["stages"]
        case.used = [name for name, record in stages.items() if record["state"] == "done"]
        with _logged(case, command):
            yield case


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a case's folder against other runs.

    Raises
    ------
    BusyError
        Where another run holds it.
    CaseError
        Where it cannot be locked.
    """
    lock = FileLock(root / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(root, "is in use by another run", f"Wait for it to end. {_OTHER_FOLDER}") from error
    except (OSError, NotImplementedError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CaseError(root / _LOCK, f"cannot be locked ({reason})", f"Remove it. {_OTHER_FOLDER}") from error
    try:
        yield
    finally:
        lock.release()


def _refuse_another_case(case: Case, command: str, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    if not case.manifest:
        return
    if case.manifest["command"] != command:
        held = case.manifest["command"]
        raise CaseError(case.folder, f"holds results of 'ki67 {held}'", _OTHER_FOLDER)
    for name, facts in inputs.items():
        held = case.manifest["inputs"].get(name, {})
        if held.get("fingerprint") != facts["fingerprint"]:
            raise CaseError(
                case.folder,
                f"holds the results of another slide ({held.get('path')}, not {facts['path']})",
                _OTHER_FOLDER,
            )


def _refuse_others_files(case: Case, files: Iterable[str]) -> None:
    """Refuse to write over what no run of this program wrote."""
    own = {name for record in case.manifest.get("stages", {}).values() for name in written_by(record)}
    # Records of older versions name what they wrote only once they are done.
    known = case.manifest and any("writes" not in record for record in case.manifest["stages"].values())
    unknown = [] if known else [name for name in files if name not in own]
    for name in unknown if case.manifest or is_log(case.path(LOG)) else [*unknown, LOG]:
        if os.path.lexists(case.path(name)):
            raise CaseError(
                case.path(name), "was not written by this program, which would write over it", _OTHER_FOLDER
            )


def _seal(record: Mapping[str, Any]) -> str:
    """Digest of what a finished stage said, so that a manifest changed by hand is not taken at its word."""
    facts = [record.get(name) for name in ("key", "outputs", "summary", "seconds")]
    return hashlib.sha256(_plain(facts).encode()).hexdigest()


def _plain(value: Any) -> str:
    """One text for what is equal in the manifest."""
    return json_text(value, sort_keys=True)


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
