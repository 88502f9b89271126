"""What every request passes before anything is looked up: its host, its secret, its size."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
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

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
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


class Guard:
    """Lets in who holds a secret, and nobody under another host's name (against DNS rebinding).

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
        self._app, self._keys = app, keys
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))
        self._cookie = f"ki67_{port}"

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
            return _problem(421, "this server answers to 127.0.0.1 only")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > MOST_DIGITS:
            return _problem(400, "content-length is no number")
        if int(length) > MOST_BODY_BYTES:
            return _problem(413, f"a request holds at most {MOST_BODY_BYTES // 2**20} MB")
        session = self._keys.by_cookie(_cookie(headers, self._cookie))
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            return self._entered(scope, session)
        if session is None:
            found = self._by_bearer(headers)
            if not isinstance(found, Session):
                return self._unknown(scope) if found is None else found
            session = found
        if scope["method"] not in _SAFE and session.by_cookie:
            origin = headers.get("origin")
            if origin is not None and origin.removeprefix("http://").lower() not in self._hosts:
                return _problem(403, "the request comes from another site's page")
            if headers.get("x-csrf-token") != session.csrf:
                return _problem(403, "X-CSRF-Token is missing or wrong; GET /api/session tells it")
        scope.setdefault("state", {})["session"] = session
        return None

    def _entered(self, scope: Scope, session: Session | None) -> Response:
        """Take a link's secret out of the address, and give the browser a cookie for it."""
        wait_s = self._keys.blocked_s()
        if session is None and wait_s:
            return _too_many(wait_s)
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
        return _too_many(wait_s) if wait_s else self._keys.by_bearer(token.strip())

    def _unknown(self, scope: Scope) -> Response:
        if scope["path"] == "/":
            return HTMLResponse(_NO_ENTRY.format("It is not known here."), 401)
        return _problem(401, "open the link that 'ki67 serve' printed", {"www-authenticate": "Bearer"})


def _problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)


def _too_many(wait_s: float) -> Response:
    return _problem(429, "too many wrong secrets; wait a minute", {"retry-after": str(math.ceil(wait_s))})


def _cookie(headers: Headers, name: str) -> str:
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
