"""What every request passes before anything is looked up: its host, its secret, its size."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ki67.files import json_text
from ki67.server.keys import LONGEST_IDLE_S, Keys, Session

log = logging.getLogger("ki67.server")

MOST_BODY_BYTES: Final = 2 * 2**20
"""A region with 50,000 corners, or a brush of 5,000 cells."""

MOST_DIGITS: Final = 18
"""Of a length in bytes; more is nonsense."""

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NO_CSRF: Final = "X-CSRF-Token is missing or wrong; GET /api/session tells it"

_CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "frame-src 'self'",
        "worker-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_NO_ENTRY: Final = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><title>ki67</title><h1>This page needs its link</h1><p>{}"
    "</p><p>Open the link that <code>ki67 serve</code> printed. It works once; another one can be had in a page that "
    "is open already, or by starting <code>ki67 serve</code> again.</p></html>"
)


class Gate(ABC):
    """What every server asks of a request: a host's name that is its own (against DNS rebinding), a size, a log.

    Parameters
    ----------
    app
        What answers.
    hosts
        Hosts' names, with port, that are let in.
    """

    misdirected = "this server answers to 127.0.0.1 only"
    more_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            # A websocket, of which there are none here, ends without an answer.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                for name, value in self.more_headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, told)
            else:
                await self._app(scope, _limited(receive), told)
        finally:
            line = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(1000 * (time.perf_counter() - start), 1),
            }
            log.info("%s", json_text(line, ascii_only=True))

    def _refusal(self, scope: Scope) -> Response | None:
        """Answer of a request that goes no further; None where it does, its session then in ``scope["state"]``."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return problem(421, self.misdirected)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > MOST_DIGITS:
            return problem(400, "content-length is no number")
        if int(length) > MOST_BODY_BYTES:
            return problem(413, f"a request holds at most {MOST_BODY_BYTES // 2**20} MB")
        return self.admit(scope, headers)

    @abstractmethod
    def admit(self, scope: Scope, headers: Headers) -> Response | None:
        """Answer of a request that is not let in; None where it is, its session then in ``scope["state"]``."""

    def foreign(self, headers: Headers) -> Response | None:
        """Answer of a request that another site's page makes; None where none does."""
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() not in self._hosts:
            return problem(403, "the request comes from another site's page")
        return None


class Guard(Gate):
    """Lets in who holds a secret.

    Parameters
    ----------
    app
        What answers.
    keys
        The secrets.
    port
        Port of the server: of the hosts' names that are let in, and of the cookie's, since browsers send cookies of
        one port to all others.
    """

    def __init__(self, app: ASGIApp, keys: Keys, port: int) -> None:
        super().__init__(app, (f"{name}:{port}" for name in ("127.0.0.1", "localhost")))
        self._keys = keys
        self._cookie = f"ki67_{port}"

    def admit(self, scope: Scope, headers: Headers) -> Response | None:
        """Let in who holds a secret, by link, cookie or bearer."""
        session = self._keys.by_cookie(cookie_of(headers, self._cookie))
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            return self._entered(scope, session)
        if session is None:
            found = self._by_bearer(headers)
            if not isinstance(found, Session):
                return self._unknown(scope) if found is None else found
            session = found
        if scope["method"] not in SAFE and session.by_cookie:
            foreign = self.foreign(headers)
            if foreign is not None:
                return foreign
            if headers.get("x-csrf-token") != session.csrf:
                return problem(403, NO_CSRF)
        scope.setdefault("state", {})["session"] = session
        return None

    def _entered(self, scope: Scope, session: Session | None) -> Response:
        """Take a link's secret out of the address, and give the browser a cookie for it."""
        wait_s = self._keys.blocked_s()
        if session is None and wait_s:
            return too_many(wait_s)
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        name = None if session is not None else self._keys.enter(token)
        if session is None and name is None:
            return HTMLResponse(_NO_ENTRY.format("This link is wrong, or was used before."), 401)
        answer = RedirectResponse("/", 303)
        if name is not None:
            answer.set_cookie(
                self._cookie, name, max_age=round(LONGEST_IDLE_S), path="/", httponly=True, samesite="strict"
            )
        return answer

    def _by_bearer(self, headers: Headers) -> Session | Response | None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        wait_s = self._keys.blocked_s()
        return too_many(wait_s) if wait_s else self._keys.by_bearer(token.strip())

    def _unknown(self, scope: Scope) -> Response:
        if scope["path"] == "/":
            return HTMLResponse(_NO_ENTRY.format("It is not known here."), 401)
        return problem(401, "open the link that 'ki67 serve' printed", {"www-authenticate": "Bearer"})


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a reason."""
    return JSONResponse({"error": text}, status, headers)


def too_many(wait_s: float) -> Response:
    """Answer to who has tried too often."""
    return problem(429, too_many_text("secrets"), {"retry-after": str(math.ceil(wait_s))})


def too_many_text(what: str) -> str:
    """What is said to who has tried too often."""
    return f"too many wrong {what}; wait a minute"


def cookie_of(headers: Headers, name: str) -> str:
    """Value of a cookie; empty where there is none."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _limited(receive: Receive) -> Receive:
    """Stop reading a body that grows too large, also where it does not say beforehand how large it is."""
    held = 0

    async def counted() -> Message:
        nonlocal held
        message = await receive()
        held += len(message.get("body", b""))
        if held > MOST_BODY_BYTES:
            raise HTTPException(413, f"a request holds at most {MOST_BODY_BYTES // 2**20} MB")
        return message

    return counted
