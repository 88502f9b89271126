"""Cases that somebody looks at: each read once, with its corrections, until it changes on the disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from ki67.case.artefacts import SCORE
from ki67.case.corrections import CORRECTIONS, What
from ki67.case.records import SlideRecord
from ki67.case.view import ROLES, CaseView, Role
from ki67.correcting import CorrectedCase, FinishedCase, correct, corrected, sign_out
from ki67.errors import CaseError
from ki67.server.cell_arrays import Automatic, CellArrays, numbers_of
from ki67.server.places import Places
from ki67.server.slide_pool import SlidePool
from ki67.server.stamps import stamp_of
from ki67.server.tiles import Grid, digest_of
from ki67.slides import Slide
from ki67.slides.addresses import SlideUrl

T = TypeVar("T")

MOST_CASES: Final = 6
"""Cases kept in memory; one of 300,000 cells takes some 60 MB."""

ENCODED_BYTES: Final = 48 * 2**20
"""Memory for tiles as they were sent: several people look at one case."""


class OpenCase:
    """One case that is looked at; its methods may be called from several threads.

    Parameters
    ----------
    case_id, folder
        Its name in addresses, and its folder.
    finished
        The case as it was read.
    places
        From where its slides may be read.
    pool
        Open slides.
    """

    def __init__(self, case_id: str, folder: Path, finished: FinishedCase, places: Places, pool: SlidePool) -> None:
        self.case_id, self.folder, self.finished = case_id, folder, finished
        self._places, self._pool = places, pool
        self._lock = threading.RLock()
        self._corrected: tuple[Hashable, CorrectedCase] | None = None
        self._cells: tuple[str, CellArrays] | None = None
        self._made: dict[str, tuple[str, Any]] = {}

    def made(self, name: str, digest: str, make: Callable[[], T]) -> T:
        """Return what was made of the case under this name, or make it where it was made of something else."""
        with self._lock:
            known = self._made.get(name)
            if known is None or known[0] != digest:
                known = self._made[name] = digest, make()
            found: T = known[1]
            return found

    @property
    def view(self) -> CaseView:
        """The case as it was counted."""
        return self.finished.view

    @property
    def has_score(self) -> bool:
        """Whether cells were counted and scored, so that there is something to correct."""
        return self.view.record.state == "done" and self.view.sha256_of(SCORE) is not None

    def is_current(self) -> bool:
        """Whether no run has changed it since it was read."""
        return self.finished.is_current()

    def corrected(self) -> CorrectedCase:
        """The case with the corrections that hold now.

        Raises
        ------
        Ki67Error
            As :func:`ki67.correcting.corrected`.
        """
        with self._lock:
            stamp = stamp_of(self.folder / CORRECTIONS)
            if self.view.regions_ki67 is None:
                self.require_slides()  # the tissue is looked for again
            if self._corrected is None or self._corrected[0] != stamp:
                self._corrected = stamp, corrected(self.folder, self.finished)
            return self._corrected[1]

    def correct(self, what: What, *, by: str, why: str, version: str | None) -> CorrectedCase:
        """Add a correction; as :func:`ki67.correcting.correct`."""
        with self._lock:
            if self.view.regions_ki67 is None:
                self.require_slides()
            found = correct(self.folder, what, by=by, why=why, version=version, known=self.finished)
            return self._keep(found)

    def sign_out(self, *, by: str, version: str | None) -> CorrectedCase:
        """Sign the case out; as :func:`ki67.correcting.sign_out`."""
        with self._lock:
            return self._keep(sign_out(self.folder, by=by, version=version, known=self.finished))

    def _keep(self, found: CorrectedCase) -> CorrectedCase:
        self._corrected = stamp_of(self.folder / CORRECTIONS), found
        return found

    def cells(self) -> CellArrays:
        """Cells with the corrections that hold now."""
        with self._lock:
            found = self.corrected()
            if self._cells is None or self._cells[0] != found.version:
                counted = found.counted or self.finished.counted
                self._cells = found.version, CellArrays.of(self._automatic, counted)
            return self._cells[1]

    @cached_property
    def _automatic(self) -> Automatic:
        """The cell table, before anybody corrected it."""
        table = self.view.read_cells(("cell_id", "probability", "label"))
        return Automatic(
            np.asarray(table["cell_id"], np.int64),
            np.asarray(table["probability"].to_numpy(), np.float32),
            numbers_of(table["label"].to_pylist()),
        )

    @property
    def motion(self) -> NDArray[np.float64]:
        """How corrections nudged the region on the Ki-67 slide, float64 (3, 3)."""
        counted = self.corrected().counted if self.has_score else None
        return np.eye(3) if counted is None else counted.motion

    def record(self, role: Role) -> SlideRecord:
        """What the manifest tells of a slide.

        Raises
        ------
        HTTPException
            404 where the case has none.
        """
        record = self.view.record.inputs.get(role)
        if record is None:
            raise HTTPException(404, f"the case has no {role} slide")
        return record

    def grid(self, role: Role) -> Grid:
        """Levels and tiles of a slide, by the manifest."""
        record = self.record(role)
        return Grid(record.size_px, record.mpp)

    def digest(self, role: Role) -> str:
        """Name of a slide's tiles."""
        record = self.record(role)
        return digest_of(record.fingerprint, record.mpp)

    def require_slides(self) -> None:
        """Refuse what would read slides that may not be read.

        Raises
        ------
        HTTPException
            404, with what to do.
        """
        for role in (role for role in ROLES if role in self.view.record.inputs):
            reason = self.why_not(role)
            if reason is not None:
                raise HTTPException(404, reason)

    def why_not(self, role: Role) -> str | None:
        """Why a slide cannot be shown; None where it can."""
        self.record(role)
        path = self.view.place(role)
        if isinstance(path, SlideUrl):
            return f"{path} is a URL; download the slide and run the command that made the case with the file"
        if not path.exists():
            return f"the slide lies no longer at {path}"
        if not self._places.may_read_slide(path):
            return f"{path} lies outside the folder that is served; start 'ki67 serve' with --slides {path.parent}"
        return None

    @contextmanager
    def slide(self, role: Role) -> Iterator[Slide]:
        """Hold an open slide of the case.

        Raises
        ------
        HTTPException
            404 where it cannot be shown.
        Ki67Error
            Where it cannot be opened, or is another one by now.
        """
        reason = self.why_not(role)
        if reason is not None:
            raise HTTPException(404, reason)
        with self._pool.slide(self.view.place(role), lambda: self.view.open_slide(role)) as slide:
            yield slide


class Library:
    """Cases by their names in addresses."""

    def __init__(self, places: Places, pool: SlidePool) -> None:
        self.places, self.pool = places, pool
        self.encoded = EncodedTiles(ENCODED_BYTES)
        self._lock = threading.Lock()
        self._cases: OrderedDict[str, OpenCase] = OrderedDict()

    def case(self, case_id: str) -> OpenCase:
        """Return a case, read anew where a run has changed it.

        Raises
        ------
        HTTPException
            404 where there is none of that name, 409 where it is damaged.
        """
        folder = self.places.case_folder(case_id)
        with self._lock:
            known = self._cases.get(case_id)
            if known is not None and known.is_current():
                self._cases.move_to_end(case_id)
                return known
            try:
                found = OpenCase(case_id, folder, FinishedCase.read(folder), self.places, self.pool)
            except CaseError as error:
                raise HTTPException(404 if not (folder / "run.json").exists() else 409, str(error)) from error
            self._cases[case_id] = found
            while len(self._cases) > MOST_CASES:
                self._cases.popitem(last=False)
            return found


class EncodedTiles:
    """Tiles as they were sent, the least recently used making room."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return a tile; two who ask for a new one at the same moment both make it."""
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
                return found
        tile = make()
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += len(tile)
            while self._bytes > self._limit_bytes:
                _, old = self._tiles.popitem(last=False)
                self._bytes -= len(old)
        return tile
