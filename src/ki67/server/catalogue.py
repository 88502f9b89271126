"""The cases below the folder that is served, in short; damaged ones are named, not left out."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ki67.case.artefacts import SCORE
from ki67.case.corrections import CORRECTIONS, holding, read_log, signed_out
from ki67.case.manifest import MANIFEST
from ki67.case.view import CaseView, read_case
from ki67.errors import Ki67Error
from ki67.server.places import Places
from ki67.server.stamps import stamp_of

DEEPEST: Final = 5
"""Folders between the root and a case."""

MOST_FOLDERS: Final = 20_000
"""Folders that are looked into: a list of more cases than that belongs into a database."""


class Catalogue:
    """Cases in short; what did not change since is not read again."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Hashable, dict[str, Any]]] = {}

    def cases(self) -> list[dict[str, Any]]:
        """Return all cases, by their names."""
        found = {folder: self._entry(folder) for folder in self._folders()}
        with self._lock:
            self._known = {folder: entry for folder, entry in self._known.items() if folder in found}
        return sorted(found.values(), key=lambda entry: str(entry["id"]))

    def _folders(self) -> Iterator[Path]:
        """Folders with a manifest; links that lead out of the root are not followed, hidden folders not entered."""
        waiting, looked = [(self._places.root, 0)], 0
        while waiting and looked < MOST_FOLDERS:
            folder, depth = waiting.pop()
            looked += 1
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue
            if any(entry.name == MANIFEST for entry in entries):
                yield folder
                continue
            below = [Path(entry.path) for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]
            if depth < DEEPEST:
                waiting += [(path, depth + 1) for path in below if not path.is_symlink()]

    def _entry(self, folder: Path) -> dict[str, Any]:
        stamp = tuple(stamp_of(folder / name) for name in (MANIFEST, SCORE, CORRECTIONS))
        with self._lock:
            known = self._known.get(folder)
        if known is None or known[0] != stamp:
            known = stamp, self._read(folder)
            with self._lock:
                self._known[folder] = known
        return known[1]

    def _read(self, folder: Path) -> dict[str, Any]:
        entry = {**_EMPTY, "id": self._places.case_id(folder), "name": self._places.relative(folder) or folder.name}
        entry["modified"] = _modified(folder)
        try:
            view = read_case(folder)
            return entry | in_short(view)
        except Ki67Error as error:
            return entry | {"state": "damaged", "error": str(error), "warnings": [str(error)]}


_EMPTY: Final[dict[str, Any]] = {
    "kind": None,
    "error": None,
    "index_percent": None,
    "corrected_index_percent": None,
    "ci95_percent": None,
    "corrected_ci95_percent": None,
    "cells": None,
    "positive": None,
    "negative": None,
    "warnings": [],
    "signed_out": False,
    "corrections": 0,
}


def in_short(view: CaseView) -> dict[str, Any]:
    """What the list tells of a case.

    Raises
    ------
    Ki67Error
        Where its score or its corrections are damaged.
    """
    record = view.record
    facts: dict[str, Any] = {"kind": record.command, "state": "finished" if record.state == "done" else "unfinished"}
    facts["error"] = record.error
    log = read_log(view.folder)
    hold, _ = holding(log.corrections)
    facts |= {"signed_out": signed_out(log.corrections) is not None, "corrections": len(hold)}
    score_sha256 = view.sha256_of(SCORE)
    if score_sha256 is None:
        return facts
    score = view.score
    names = ("index_percent", "ci95_percent", "cells", "positive", "negative")
    facts |= {name: getattr(score, name) for name in names} | {"warnings": list(score.warnings)}
    if hold and log.result is not None and log.result.score_sha256 == score_sha256:
        facts["corrected_index_percent"] = log.result.index_percent
        facts["corrected_ci95_percent"] = log.result.ci95_percent
    return facts


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _modified(folder: Path) -> str | None:
    times = [stamp[0] for name in (MANIFEST, CORRECTIONS) if (stamp := stamp_of(folder / name)) is not None]
    return datetime.fromtimestamp(max(times) / 1e9, tz=UTC).isoformat(timespec="seconds") if times else None
