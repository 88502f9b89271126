"""A server in this process, and who asks it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import CHROMIUM
from made_case import make_case, turned
from starlette.testclient import TestClient

from ki67.server.app import create_app
from ki67.server.state import State

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PORT = 8000
BASE = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser, for tests of pages."""
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one scored case, mirrored and bent; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("served")
    make_case(root, "case", transform=turned(90, mirrored=True, bent_um=10))
    return root


@pytest.fixture(scope="session")
def looked_at(finished: Path) -> Iterator[State]:
    """A server of that folder, for tests that change nothing."""
    state = State.of(finished)
    yield state
    state.close()


@pytest.fixture
def reader(looked_at: State) -> TestClient:
    """A script with the right secret, that only reads."""
    return client(looked_at)


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A folder with a case of its own; its slides are those of the first."""
    shutil.copytree(finished / "case", tmp_path / "served" / "case")
    return tmp_path / "served"


@pytest.fixture
def state(root: Path, finished: Path) -> Iterator[State]:
    """A server of that folder."""
    state = State.of(root, (finished / "slides",))
    yield state
    state.close()


@pytest.fixture
def script(state: State) -> TestClient:
    """A script with the right secret."""
    return client(state)


def client(state: State, token: str | None = None) -> TestClient:
    """Ask with a secret: the right one where none is given, none at all where it is empty."""
    secret = state.keys.token if token is None else token
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    app = create_app(state, PORT)
    return TestClient(app, BASE, headers=headers, raise_server_exceptions=False, follow_redirects=False)


def browser(state: State) -> TestClient:
    """A browser that came by a link; its requests carry what other sites' cannot."""
    one = client(state, "")
    assert one.get(f"/?token={state.keys.new_link()}").status_code == 303
    one.headers["x-csrf-token"] = one.get("/api/session").json()["csrf"]
    return one
