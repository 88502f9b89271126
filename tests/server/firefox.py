"""Firefox for tests of pages, driven by WebDriver BiDi, which it speaks itself: nothing but a web socket is needed.

Playwright's own way to it (``channel="moz-firefox"``) sets media features, which Firefox 153 does not know yet.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIREFOX = os.environ.get("KI67_FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")

PATIENCE_S = 60
KEYS = {"Control": "\ue009", "Enter": "\ue007", "Escape": "\ue00c", "ArrowRight": "\ue014"}


class Firefox:
    """One window of it; what its console calls an error is kept as a complaint."""

    def __init__(self, address: str) -> None:
        from tornado.websocket import websocket_connect

        self.complaints: list[str] = []
        self._loop = asyncio.new_event_loop()

        async def connect() -> Any:
            return await websocket_connect(address)

        self._socket = self._loop.run_until_complete(connect())
        self._last = 0
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self._window = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self.call("browsingContext.setViewport", context=self._window, viewport={"width": 1280, "height": 720})

    def close(self) -> None:
        async def end() -> None:
            self._socket.close()

        self._loop.run_until_complete(end())
        self._loop.close()

    def call(self, method: str, **told: Any) -> Any:
        """Ask for one thing and wait until it is done."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, told), PATIENCE_S))

    async def _call(self, method: str, told: dict[str, Any]) -> Any:
        self._last += 1
        await self._socket.write_message(json.dumps({"id": self._last, "method": method, "params": told}))
        while True:
            said = json.loads(await self._socket.read_message() or "{}")
            if said.get("method") == "log.entryAdded" and said["params"]["level"] == "error":
                self.complaints.append(said["params"]["text"])
            elif said.get("id") == self._last:
                assert said["type"] == "success", said
                return said["result"]
            assert said, "Firefox is gone"

    def open(self, link: str) -> None:
        self.call("browsingContext.navigate", context=self._window, url=link, wait="complete")

    def reload(self) -> None:
        self.call("browsingContext.reload", context=self._window, wait="complete")

    def ask(self, expression: str) -> Any:
        """What an expression is in the page."""
        told = {"target": {"context": self._window}, "awaitPromise": True}
        answer = self.call("script.evaluate", expression=f"JSON.stringify(({expression}) ?? null)", **told)
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true in the page, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.ask(expression)):
            assert time.monotonic() < deadline, f"not true in {PATIENCE_S} s: {expression}"
            time.sleep(0.05)
        return found

    def text(self, selector: str) -> str:
        """Words of the first element of a selector, once it is there."""
        return str(self.wait(f"document.querySelector({selector!r})?.innerText"))

    def click(self, x: float, y: float) -> None:
        moves = [{"type": "pointerMove", "x": round(x), "y": round(y)}]
        presses = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self._act({"type": "pointer", "id": "mouse", "actions": moves + presses})

    def click_on(self, selector: str) -> None:
        """Click the middle of the first element of a selector, once it is there."""
        one = f"document.querySelector({selector!r})"
        found = self.wait(f"{one} && ({one}.scrollIntoView({{block: 'nearest'}}), {one}.getBoundingClientRect())")
        self.click(found["x"] + found["width"] / 2, found["y"] + found["height"] / 2)

    def keys(self, *names: str) -> None:
        """Press keys, those named Control kept down until the end."""
        codes = [KEYS.get(name, name) for name in names]
        held = [code for code in codes if code == KEYS["Control"]]
        acts = [
            {"type": kind, "value": code}
            for code in codes
            for kind in (("keyDown",) if code in held else ("keyDown", "keyUp"))
        ]
        self._act(
            {"type": "key", "id": "keys", "actions": acts + [{"type": "keyUp", "value": code} for code in held]}
        )

    def _act(self, acts: dict[str, Any]) -> None:
        self.call("input.performActions", context=self._window, actions=[acts])


@contextmanager
def firefox(home: Path) -> Iterator[Firefox]:
    """Start it without a screen, with a profile and a home of its own."""
    assert FIREFOX is not None
    (home / "profile").mkdir(parents=True)
    words = [FIREFOX, "--headless", "--no-remote", "--profile", home / "profile", "--remote-debugging-port", "0"]
    with (home / "firefox.log").open("w") as log:
        process = subprocess.Popen(words, env={**os.environ, "HOME": str(home)}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"BiDi listening on (ws://\S+)", (home / "firefox.log").read_text())):
            assert process.poll() is None, (home / "firefox.log").read_text()
            assert time.monotonic() < deadline, "Firefox does not listen"
            time.sleep(0.1)
        window = Firefox(f"{found[1]}/session")
        try:
            yield window
        finally:
            window.close()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
