"""Who is logged in to a labelling project: sessions of browsers, and how often a password may be guessed."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ki67.server.keys import LONGEST_IDLE_S, READS_AT_ONCE, SECRET_BYTES

MOST_SESSIONS: Final = 1000
GUESSES_OF_A_NAME: Final = 5
GUESSES_FROM_AN_ADDRESS: Final = 20
WITHIN_S: Final = 60.0
"""So many wrong passwords a minute for one name, or from one address, then none is looked at for a while. A password
has ten characters or more, so 7,200 guesses a day find none that is not on a short list; and nobody is shut out for
long by somebody else's guessing."""

MOST_WATCHED: Final = 10_000
"""Names and addresses whose wrong guesses are remembered."""

HASHES_AT_ONCE: Final = 2
"""Passwords looked at together: each takes a processor for a tenth of a second and 64 MB."""


@dataclass
class AccountSession:
    """One browser of a person who has logged in.

    Parameters
    ----------
    person
        Number of the person.
    csrf
        What requests that change something carry, so that another site's page cannot make them.
    name
        Digest of what the cookie says, by which it is found.
    password
        The hash of the person's password by which it began: with another, wherever it was set, the session is over.
    """

    person: int
    csrf: str
    name: str
    password: str
    last_used: float
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READS_AT_ONCE))
    looked_at: dict[int, float] = field(default_factory=dict)
    """Slides that this person was found to be allowed to see, and when."""
    read: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Blinded slides that this person was found to be allowed to see, when, and until when at the latest."""


class Guesses:
    """Wrong guesses of one kind, by name or by address."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most, self._clock = most, clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def blocked_s(self, key: str) -> float:
        """Seconds before another guess is looked at; 0 where it is at once."""
        wrong = self._wrong.get(key)
        if wrong is None or len(wrong) < self._most:
            return 0.0
        return max(0.0, wrong[0] + WITHIN_S - self._clock())

    def begin(self, key: str) -> None:
        """Count a guess before it is looked at, so that many at once are not free."""
        self._wrong.setdefault(key, deque(maxlen=self._most)).append(self._clock())
        self._wrong.move_to_end(key)
        while len(self._wrong) > MOST_WATCHED:
            self._wrong.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Take back the last guess: it was right."""
        wrong = self._wrong.get(key)
        if wrong:
            wrong.pop()


class Accounts:
    """Sessions of one run of the server; nothing of it is kept on disk. Its methods may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, AccountSession] = OrderedDict()
        self._names = Guesses(GUESSES_OF_A_NAME, clock)
        self._addresses = Guesses(GUESSES_FROM_AN_ADDRESS, clock)
        self.hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)

    def may_guess(self, name: str, address: str) -> float:
        """Count a guess; seconds to wait before it is looked at, 0 where it is at once."""
        with self._lock:
            wait_s = max(self._names.blocked_s(_folded(name)), self._addresses.blocked_s(address))
            if not wait_s:
                self._names.begin(_folded(name))
                self._addresses.begin(address)
            return wait_s

    def forgive(self, name: str, address: str) -> None:
        """Take back what :meth:`may_guess` counted: the password was right."""
        with self._lock:
            self._names.forgive(_folded(name))
            self._addresses.forgive(address)

    def enter(self, person: int, password: str, name: str, address: str, before: str) -> tuple[str, AccountSession]:
        """Begin a session of somebody whose password was right.

        Parameters
        ----------
        person
            Number of the person.
        password
            Hash of the password, as the database keeps it.
        name, address
            As they were given to :meth:`may_guess`.
        before
            What the browser's cookie said until now: that session ends, and its name is never taken on.

        Returns
        -------
        tuple
            What the cookie says from now on, and the session.
        """
        cookie = secrets.token_urlsafe(SECRET_BYTES)
        csrf = secrets.token_urlsafe(SECRET_BYTES)
        session = AccountSession(person, csrf, _digest(cookie), password, self._clock())
        self.forgive(name, address)
        with self._lock:
            self._sessions.pop(_digest(before), None)
            self._sessions[session.name] = session
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie, session

    def by_cookie(self, cookie: str) -> AccountSession | None:
        """Session that a cookie names; None where there is none, or it was not used for long."""
        with self._lock:
            session = self._sessions.get(_digest(cookie))
            if session is None:
                return None
            if self._clock() - session.last_used > LONGEST_IDLE_S:
                del self._sessions[session.name]
                return None
            session.last_used = self._clock()
            self._sessions.move_to_end(session.name)
            return session

    def leave(self, session: AccountSession) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(session.name, None)

    def leave_all(self, person: int, but: AccountSession | None = None) -> None:
        """End all sessions of a person, as after a change of the password."""
        with self._lock:
            for name, session in list(self._sessions.items()):
                if session.person == person and session is not but:
                    del self._sessions[name]


def _folded(name: str) -> str:
    return name.strip().casefold()[:200]


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()
