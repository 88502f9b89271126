"""What all requests to one labelling project share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from ki67.labelling.database import Database, open_database
from ki67.labelling.desk import slide_for
from ki67.labelling.overview import progress
from ki67.labelling.readings import slide_of_key
from ki67.labelling.tables import Event, Person
from ki67.labelling.tables import Slide as Row
from ki67.server.accounts import Accounts, AccountSession
from ki67.server.library import ENCODED_BYTES, EncodedTiles
from ki67.server.slide_pool import SlidePool
from ki67.server.stamps import Stamp, stamp_of
from ki67.server.state import tile_readers
from ki67.server.tiles import Grid, digest_of
from ki67.slides import Slide, open_slide

LOOK_AGAIN_S: Final = 20.0
"""So long a browser gets tiles of a slide without the database being asked again whether it may."""


@dataclass(frozen=True)
class SlideRow:
    """Where a slide of the project lies, and how it is read."""

    number: int
    path: Path
    mpp: float | None


@dataclass
class LabellingState:
    """Database, sessions and open slides of one labelling project.

    Parameters
    ----------
    database
        Of the project; closed with this.
    cookie
        Name of the sessions' cookie.
    encrypted
        Whether the server encrypts: the cookie is then never sent without.
    clock
        Seconds since 1970, by which readers are timed.
    """

    database: Database
    cookie: str
    encrypted: bool = False
    clock: Callable[[], float] = time.time
    accounts: Accounts = field(default_factory=Accounts)
    pool: SlidePool = field(default_factory=SlidePool)
    encoded: EncodedTiles = field(default_factory=lambda: EncodedTiles(ENCODED_BYTES))
    readers: ThreadPoolExecutor = field(default_factory=tile_readers)
    _rows: dict[int, SlideRow] = field(default_factory=dict)
    _blinded: dict[str, SlideRow] = field(default_factory=dict)
    _grids: dict[int, tuple[Stamp | None, str, Grid]] = field(default_factory=dict)
    _progress: tuple[int, dict[str, Any]] | None = None

    @classmethod
    def of(cls, folder: Path, cookie: str, *, encrypted: bool = False) -> LabellingState:
        """Serve a project.

        Raises
        ------
        LabellingError
            Where it cannot be opened.
        """
        return cls(open_database(folder), cookie, encrypted)

    @contextmanager
    def acting(self, who: AccountSession) -> Iterator[tuple[Session, Person]]:
        """One transaction in the name of a person; its result is kept when this ends, so answer after that.

        Raises
        ------
        HTTPException
            401 where the person is no longer active, or has another password by now.
        """
        with self.database.session() as session:
            yield session, _active(session, who)

    @contextmanager
    def looking(self, who: AccountSession) -> Iterator[tuple[Session, Person]]:
        """A look at the database in the name of a person; waits for no writer, and keeps nothing.

        Raises
        ------
        HTTPException
            401 where the person is no longer active, or has another password by now.
        """
        with self.database.reading() as session:
            yield session, _active(session, who)

    def row(self, who: AccountSession, number: int) -> SlideRow:
        """Return a slide that a person may look at.

        Raises
        ------
        AbsentError
            Where there is none for this person.
        HTTPException
            401 where the person is no longer active, or has another password by now.
        """
        asked = who.looked_at.get(number)
        if asked is None or time.monotonic() - asked > LOOK_AGAIN_S or number not in self._rows:
            with self.looking(who) as (session, by):
                found: Row = slide_for(session, by, number)
            self._rows[number] = SlideRow(number, Path(found.path), found.mpp)
            who.looked_at[number] = time.monotonic()
        return self._rows[number]

    def blinded(self, who: AccountSession, key: str) -> SlideRow:
        """Return a slide of a reader study that this reader may look at now, by the word that stands for it.

        Raises
        ------
        AbsentError
            Where there is none for this person now.
        HTTPException
            401 where the person is no longer active, or has another password by now.
        """
        asked, ends = who.read.get(key, (-math.inf, -math.inf))
        if time.monotonic() - asked > LOOK_AGAIN_S or self.clock() >= ends or key not in self._blinded:
            with self.looking(who) as (session, by):
                found, ends = slide_of_key(session, by, key, now=self.clock())
            self._blinded[key] = SlideRow(found.id, Path(found.path), found.mpp)
            who.read[key] = time.monotonic(), ends
        return self._blinded[key]

    @contextmanager
    def slide(self, row: SlideRow) -> Iterator[Slide]:
        """Hold an open slide.

        Raises
        ------
        Ki67Error
            Where it cannot be opened.
        """
        with self.pool.slide(row.path, lambda: open_slide(row.path, row.mpp)) as slide:
            yield slide

    def grid(self, row: SlideRow) -> tuple[str, Grid]:
        """Name of a slide's tiles, and their levels."""
        stamp = stamp_of(row.path)
        known = self._grids.get(row.number)
        if known is None or known[0] != stamp:
            with self.slide(row) as slide:
                digest, grid = digest_of(slide.fingerprint(), slide.mpp), Grid(slide.size_px, slide.mpp)
            known = self._grids[row.number] = stamp, digest, grid
        return known[1], known[2]

    def progress(self, who: AccountSession) -> dict[str, Any]:
        """How far the project is; made anew only where something has happened since."""
        with self.looking(who) as (session, _):
            last = session.scalar(sa.select(sa.func.max(Event.id))) or 0
            known = self._progress
            if known is None or known[0] != last:
                known = self._progress = last, progress(session)
            return known[1]

    def close(self) -> None:
        """Release files and the database."""
        self.readers.shutdown(wait=True, cancel_futures=True)
        self.pool.close()
        self.database.close()


def _active(session: Session, who: AccountSession) -> Person:
    person = session.get(Person, who.person)
    if person is None or not person.active or person.password_hash != who.password:
        raise HTTPException(401, "log in first")
    return person
