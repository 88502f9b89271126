"""What several rooms' tests share: the real data, the command line in this process, a simulated pair."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


SLOWEST_FILES = (
    "test_resume.py",
    "test_idc_example.py",
    "test_page.py",
    "test_challenge.py",
    "test_api.py",
)
"""Begun first, so that no single file is still running when all else is over."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; the order within a file stays."""
    place = {name: number for number, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real data sets; the test is skipped where they are absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("KI67_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set KI67_DATA)")
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed


@pytest.fixture
def ki67(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``ki67`` with the given words in this process."""
    from ki67 import cli

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ki67", *map(str, words)])
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run
