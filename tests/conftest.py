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

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if WORKER and hasattr(os, "sched_setaffinity"):
    # Side by side each keeps to one processor, with all that it starts: threads that wait for one another's turn
    # cost half of the time.
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {usable[int(WORKER.removeprefix("gw")) % len(usable)]})
os.environ.setdefault("OMP_NUM_THREADS", "1" if WORKER else "2")


SLOW_FILES = (
    "test_registration_register.py",
    "test_resume.py",
    "test_learning_cells_training.py",
    "test_api.py",
    "test_page.py",
    "test_page_looks.py",
    "test_page_firefox.py",
    "test_challenge.py",
    "test_registration_by_hand.py",
    "test_registration_block.py",
    "test_registration_evaluation.py",
    "test_labelling_page.py",
    "test_cli_doubtful_region.py",
    "test_cli_unusable.py",
    "test_learning_idc_example.py",
    "test_simulate_pair.py",
    "test_learning_idc_training.py",
    "test_cohort_dask.py",
    "test_cohort_running.py",
    "test_learning_cells_recipes.py",
    "test_server_running.py",
    "test_labelling_study_page.py",
    "test_cells_exclusion.py",
    "test_learning_idc_adaptation.py",
    "test_docs.py",
    "test_cli_check.py",
    "test_cohort_cli.py",
    "test_registration_divide.py",
    "test_registration_figure.py",
    "test_slides_urls.py",
)
"""Files that train, start servers and browsers, or go the whole way; left out by ``-m "not slow"``.

They are begun first, in this order, so that no single one is still running when all else is over.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow files and put them first; the order within a file stays."""
    place = {name: number for number, name in enumerate(SLOW_FILES)}
    for item in items:
        if item.path.name in place:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real data sets; the test is skipped where they are absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("KI67_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set KI67_DATA)")
    return folder


@pytest.fixture(scope="session")
def simulated_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one small simulated pair of sections with its truth, made once for all workers; only to be read."""
    from filelock import FileLock

    from ki67.simulate.options import SimulationOptions
    from ki67.simulate.pair import simulate_pair

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if WORKER else base) / "simulated_pair"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "truth.json").exists():
            simulate_pair(
                folder, SimulationOptions(seed=11, size_mm=(1.4, 1.1), mpp=0.5, cells=900, index_percent=25)
            )
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
