"""What a request to a labelling project passes before anything is looked up: its host, its session, its token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from ki67.server.accounts import Accounts
from ki67.server.guard import NO_CSRF, SAFE, Gate, cookie_of, problem

LOGIN: Final = "/api/labelling/login"
LOGIN_TOKEN: Final = "login"  # noqa: S105 - no secret
"""What a login carries as ``X-CSRF-Token``: another site's page can send no such header, so it can log nobody in."""

_OPEN: Final = frozenset({"/api/session", LOGIN})
"""Asked by people who are not logged in; the page itself holds nothing of the project."""

_TLS: Final = {"strict-transport-security": "max-age=31536000"}


class AccountGuard(Gate):
    """Lets in who has logged in; the page, and the login, everybody.

    Parameters
    ----------
    app
        What answers.
    accounts
        The sessions.
    hosts
        Hosts' names, with port, that the server answers to.
    cookie
        Name of the cookie.
    encrypted
        Whether requests come encrypted.
    """

    misdirected = "this server does not answer to that name; give it with --name when it is started"

    def __init__(
        self, app: ASGIApp, accounts: Accounts, hosts: Iterable[str], *, cookie: str, encrypted: bool = False
    ) -> None:
        super().__init__(app, hosts)
        self._accounts, self._cookie = accounts, cookie
        if encrypted:
            self.more_headers: Mapping[str, str] = _TLS

    def admit(self, scope: Scope, headers: Headers) -> Response | None:
        """Let in who has logged in."""
        session = self._accounts.by_cookie(cookie_of(headers, self._cookie))
        path, changes = scope["path"], scope["method"] not in SAFE
        scope.setdefault("state", {})["session"] = session
        if changes:
            foreign = self.foreign(headers)
            if foreign is not None:
                return foreign
            expected = LOGIN_TOKEN if path == LOGIN else None if session is None else session.csrf
            if expected is not None and headers.get("x-csrf-token") != expected:
                return problem(403, NO_CSRF)
        if session is None and path.startswith("/api/") and path not in _OPEN:
            return problem(401, "log in first")
        return None
