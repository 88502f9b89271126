"""Who may ask: one secret for the link and for scripts, one session for each browser that came by a link."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

SECRET_BYTES: Final = 32
LONGEST_IDLE_S: Final = 12 * 3600.0
"""A working day: a session that nobody used for so long ends."""

MOST_SESSIONS: Final = 64
MOST_FAILURES: Final = 10
FAILURES_WITHIN_S: Final = 60.0
"""So many wrong secrets a minute, then none is looked at for a while. The secret has 256 bits; this keeps a page
from trying, and shows in the log."""

READS_AT_ONCE: Final = 6
"""Tiles that one browser has read at a time: as many as it opens connections for, so that none waits on another's."""


@dataclass
class Session:
    """One browser, or all scripts together.

    Parameters
    ----------
    csrf
        What state-changing requests must carry, so that another site's page cannot make them.
    by_cookie
        Whether a cookie names it: only then can another site make a browser send it along.
    """

    csrf: str
    by_cookie: bool
    name: str | None = None
    last_used: float = field(default_factory=time.monotonic)
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READS_AT_ONCE))


class Keys:
    """Secrets of one run of the server; nothing of it is kept on disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.token = secrets.token_urlsafe(SECRET_BYTES)
        """For scripts as a bearer, and once for a browser."""
        self._links = {self.token}
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._scripts = Session(secrets.token_urlsafe(SECRET_BYTES), by_cookie=False)
        self._failures: deque[float] = deque(maxlen=MOST_FAILURES)
        self._clock = clock

    def new_link(self) -> str:
        """Return a secret that lets one more browser in, once."""
        link = secrets.token_urlsafe(SECRET_BYTES)
        self._links.add(link)
        return link

    def enter(self, link: str) -> str | None:
        """Exchange a link's secret for a session's name; None where it is wrong, or was used."""
        found = next((one for one in self._links if _same(one, link)), None)
        if found is None:
            self._failed()
            return None
        self._links.discard(found)
        name = secrets.token_urlsafe(SECRET_BYTES)
        self._sessions[name] = Session(secrets.token_urlsafe(SECRET_BYTES), by_cookie=True, last_used=self._clock())
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return name

    def by_cookie(self, name: str) -> Session | None:
        """Session that a cookie names; None where there is none, or it was not used for long."""
        session = self._sessions.get(name)
        if session is None:
            return None
        if self._clock() - session.last_used > LONGEST_IDLE_S:
            del self._sessions[name]
            return None
        session.last_used = self._clock()
        self._sessions.move_to_end(name)
        return session

    def by_bearer(self, token: str) -> Session | None:
        """Session of scripts, where the secret is right."""
        if _same(token, self.token):
            return self._scripts
        self._failed()
        return None

    def blocked_s(self) -> float:
        """Seconds before another secret is looked at; 0 where it is at once."""
        if len(self._failures) < MOST_FAILURES:
            return 0.0
        return max(0.0, self._failures[0] + FAILURES_WITHIN_S - self._clock())

    def _failed(self) -> None:
        self._failures.append(self._clock())


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode("utf-8", "surrogateescape"))
