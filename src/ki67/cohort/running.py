"""A cohort from its table to its summary: what is to be done, doing it, trying again what may pass."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ki67 import __version__
from ki67.cohort.case_run import CaseEnd, CaseTask, folder_of
from ki67.cohort.cases import WHOLE, CohortCase, Shard, read_cases
from ki67.cohort.dask_workers import cluster_workers, local_workers
from ki67.cohort.ledger import Entry, Ledger, now, open_ledger, read_entries
from ki67.cohort.summary import COHORT, FORMAT, collect
from ki67.cohort.workers import OneWorker, Workers
from ki67.errors import SlideAwayError, SlideError
from ki67.files import json_text, write_json
from ki67.progress import message, track
from ki67.slides.addresses import SlideUrl

DEFAULT_ATTEMPTS: Final = 3
PAUSE_S: Final = 5.0
"""Before another attempt at what did not fail for memory (a full disk, a folder in use): it may pass."""
_UNASKED: Final = "-"
_TOLD: Final = 5


@dataclass(frozen=True)
class CohortOptions:
    """How a cohort is run.

    Parameters
    ----------
    workers
        Cases side by side in this process.
    scheduler
        Address of a Dask scheduler, in place of ``workers``.
    shard
        Part of the cases.
    attempts
        Most attempts at a case that fails for a reason that may pass.
    score_words
        Options of ``ki67 score`` for every case.
    case_minutes
        A case that takes longer is ended, so that one that hangs does not hold its worker for ever; None: no limit.
    """

    workers: int = 1
    scheduler: str | None = None
    shard: Shard = WHOLE
    attempts: int = DEFAULT_ATTEMPTS
    score_words: tuple[str, ...] = ()
    case_minutes: float | None = None


@dataclass(frozen=True)
class Plan:
    """The cases of a shard, parted by what is to be done with them; ``entries`` is what is known of them."""

    cases: list[CohortCase]
    finished: list[CohortCase]
    tasks: list[CaseTask]
    entries: dict[str, Entry]
    missing: list[str]


def plan_cohort(path: Path, out: Path, options: CohortOptions) -> dict[str, Any]:
    """Say what a run would do, without doing any of it.

    Returns
    -------
    dict
        ``cases``, ``finished``, ``to_run``; ``missing``, files that are not there; ``seconds_left``, by the median of
        the cases that are done, None where there are none.

    Raises
    ------
    DataSetError, CohortError
        As :func:`run_cohort`.
    """
    plan = _plan(read_cases(path), out, options)
    seconds = sorted(entry.seconds for entry in plan.entries.values() if entry.state == "done")
    left = seconds[len(seconds) // 2] * len(plan.tasks) / options.workers if seconds else None
    return {
        "cases": len(plan.cases),
        "finished": len(plan.finished),
        "to_run": len(plan.tasks),
        "missing": plan.missing,
        "seconds_left": left,
    }


def run_cohort(path: Path, out: Path, options: CohortOptions) -> dict[str, Any]:
    """Run every case that is not finished, and sum all up; a shard is summed up by ``ki67 cohort collect`` later.

    Parameters
    ----------
    path
        CSV of the cases (:func:`ki67.cohort.cases.read_cases`).
    out
        Folder of the cohort; what is finished in it is not run again.
    options
        How.

    Returns
    -------
    dict
        ``cases``, ``done``, ``failed``, ``already_done``, ``seconds``, ``failures`` (``case``, ``kind``, ``error``);
        of a whole cohort what :func:`ki67.cohort.summary.collect` says as well.

    Raises
    ------
    DataSetError
        Where the CSV file makes no sense.
    BusyError
        Where another run is in the folder.
    CohortError
        Where the folder cannot be used.
    WriteError
        Where the ledger cannot be written.
    """
    cases = read_cases(path)
    out = out.absolute()
    started = time.monotonic()
    with open_ledger(out, options.shard) as ledger:
        write_json(out / COHORT, _head(cases, options))
        plan = _plan(cases, out, options)
        if plan.finished:
            message(f"{len(plan.finished)} of {len(plan.cases)} cases are finished already")
        ends: dict[str, CaseEnd] = {}
        if plan.tasks:
            with _workers(options, out) as workers:
                rounds = _rounds(plan.tasks, workers, ledger, options.attempts)
                ends.update((task.name, end) for task, end in track(rounds, "cases", len(plan.tasks)))
        failures = [
            {"case": case.name, "kind": ends[case.name].kind, "error": ends[case.name].error}
            for case in plan.cases
            if case.name in ends and not ends[case.name].done
        ]
        result = {
            "cases": len(plan.cases),
            "done": len(plan.cases) - len(failures),
            "failed": len(failures),
            "already_done": len(plan.finished),
            "seconds": round(time.monotonic() - started, 1),
            "failures": failures,
        }
        return result | (collect(out) if options.shard.whole else {"out": str(out)})


def case_key(case: CohortCase, score_words: Sequence[str], away: set[str] | None = None) -> str:
    """Say what a case is made from: its line of the table, its files' sizes and times, options, the version.

    ``away`` are hosts known not to answer, which are not asked again; it is added to. What servers say stands behind
    a hyphen, with nothing there where one does not.
    """
    files = [case.he, case.ki67, *([case.regions] if case.regions else [])]
    told = [part for word in score_words for part in (word, word.partition("=")[2]) if part]
    files += [path for part in told if (path := Path(part)).is_file()]
    facts = [None if isinstance(path, SlideUrl) else _file_facts(path, away) for path in files]
    key = _digest([case.to_dict(), [*score_words], facts, __version__])
    served = [_file_facts(path, away) for path in files if isinstance(path, SlideUrl)]
    if not served:
        return key
    return key + _UNASKED if None in served else f"{key}{_UNASKED}{_digest(served)}"


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json_text(facts, sort_keys=True).encode()).hexdigest()[:16]


def _rounds(
    tasks: Sequence[CaseTask], workers: Workers, ledger: Ledger, attempts: int
) -> Iterator[tuple[CaseTask, CaseEnd]]:
    """Run cases and tell how each ended at last; what may pass is tried again after all others.

    A case that may have lacked memory is tried again alone.
    """
    together, alone = list(tasks), list[CaseTask]()
    for attempt in range(1, attempts + 1):
        again: list[tuple[CaseTask, CaseEnd]] = []
        for part, by_itself in ((together, False), (alone, True)):
            for task, end in workers.run(part, alone=by_itself):
                ledger.append(_entry(task, end, attempt))
                if end.temporary and attempt < attempts:
                    message(f"{task.name}: {end.error}; it is tried again")
                    again.append((task, end))
                    continue
                if not end.done:
                    message(f"{task.name} failed: {end.error}")
                yield task, end
        together = [task for task, end in again if not end.wants_memory]
        alone = [task for task, end in again if end.wants_memory]
        if not again:
            return
        if together:
            time.sleep(PAUSE_S)


def _entry(task: CaseTask, end: CaseEnd, attempt: int) -> Entry:
    return Entry(
        time=now(),
        case=task.name,
        key=task.key,
        attempt=attempt,
        state="done" if end.done else "failed",
        temporary=end.temporary,
        code=end.code,
        kind=end.kind,
        error=end.error,
        seconds=end.seconds,
        worker=end.worker,
        result=end.result,
    )


def _workers(options: CohortOptions, out: Path) -> AbstractContextManager[Workers]:
    if options.scheduler is not None:
        return cluster_workers(options.scheduler, out)
    return local_workers(options.workers) if options.workers > 1 else nullcontext(OneWorker())


def _head(cases: Sequence[CohortCase], options: CohortOptions) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "score_words": [*options.score_words],
        "cases": [case.to_dict() for case in cases],
    }


def _plan(cases: Sequence[CohortCase], out: Path, options: CohortOptions) -> Plan:
    entries = read_entries(out)
    own = options.shard.of_cases(cases)
    limit_s = None if options.case_minutes is None else 60 * options.case_minutes
    finished, tasks, missing, kept, away = [], [], [], list[str](), set[str]()
    for case in own:
        key = case_key(case, options.score_words, away)
        known = entries.get(case.name)
        folder = folder_of(out, case.name)
        if known is not None and known.state == "done" and (folder / "score.json").is_file():
            unasked = key.endswith(_UNASKED) and known.key.startswith(key)
            if unasked:
                kept.append(case.name)
            if unasked or known.key == key:
                finished.append(case)
                continue
        files = [case.he, case.ki67, *([case.regions] if case.regions else [])]
        missing += [str(file) for file in files if _file_facts(file, away) is None]
        words = ("score", *case.words, "--out", str(folder), *options.score_words, "--json", "--quiet")
        tasks.append(CaseTask(case.name, key, words, str(Path.cwd()), limit_s))
    if kept:
        names = ", ".join(kept[:_TOLD]) + (" and others" if len(kept) > _TOLD else "")
        message(
            f"{len(kept)} finished cases stay as they are, as their servers do not say what is there now: {names}"
        )
    return Plan(own, finished, tasks, entries, missing)


def _file_facts(path: Path, away: set[str] | None) -> list[int] | list[str] | None:
    if isinstance(path, SlideUrl):
        return _server_facts(path, set() if away is None else away)
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _server_facts(address: SlideUrl, away: set[str]) -> list[str] | None:
    host = address.host or address.url
    if host in away:
        return None
    try:
        return address.content.state
    except SlideAwayError:
        away.add(host)
    except SlideError:
        pass
    return None
