"""A disk that is full in the middle of a cohort: told in one line, continued later."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ki67.cohort import case_run

Run = Callable[..., Any]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB of its own; needs the rights to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filling"
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            return path


@pytest.mark.usefixtures("stand_in")
def test_a_full_disk_ends_the_cohort_with_75_and_is_continued(
    ki67: Run, cohort: Callable[..., Path], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = cohort(A="", B="", C=""), small_disk / "out"
    ended = case_run.run_case
    filling: list[Path] = []

    def then_full(*words: Any, **more: Any) -> Any:
        end = ended(*words, **more)
        if len(list((out / "cases").iterdir())) == 2 and not filling:
            filling.append(fill(small_disk))
        return end

    monkeypatch.setattr("ki67.cohort.workers.run_case", then_full)
    outcome = ki67("cohort", table, "--out", out, "--json", "--quiet")
    assert outcome.code == 75
    assert outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert line.endswith("the disk is full. Free some space and run the same command again.")
    filling[0].unlink()
    again = ki67("cohort", table, "--out", out, "--json", "--quiet")
    assert (again.code, again.json["done"]) == (0, 3)
