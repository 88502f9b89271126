"""A run that is killed at any stage is finished by the same command, with the same score to the byte."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from shapely.geometry import mapping, shape

PATIENCE_S = 300


def command(pair: Path, case: Path) -> list[str]:
    words = ("score", pair / "he.tif", pair / "ki67.tif", "--out", case, "--quiet", "--json")
    return [sys.executable, "-c", "from ki67.cli import main; main()", *map(str, words)]


def side_by_side(pair: Path, case: Path) -> list[str]:
    """The same on two threads: the registration is then made beside the search for carcinoma."""
    slides = str(pair / "he.tif"), str(pair / "ki67.tif"), str(case)
    return [sys.executable, "-c", f"import ki67\nwith ki67.job(threads=2): ki67.run_score(*{slides})"]


def kill_while_running(words: list[str], case: Path, stage: str) -> bool:
    """Start the command, kill it as soon as the stage runs; False where the stage was over before that."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        manifest = case / "run.json"
        if manifest.exists() and json.loads(manifest.read_text())["stages"].get(stage, {}).get("state") == "running":
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    process.kill()
    process.wait()
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_run_ends_with_the_same_score(
    simulated_pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, whole, killed = simulated_pair, tmp_path / "case", tmp_path / "killed"
    subprocess.run(side_by_side(pair, whole), check=True)

    hit = [kill_while_running(command(pair, killed), killed, stage) for stage in ("idc", "cells")]
    done_before = json.loads((killed / "run.json").read_text())["stages"]["idc"]
    subprocess.run(command(pair, killed), check=True, stdout=subprocess.DEVNULL)

    assert all(hit)
    for name in ("score.json", *registration_of(whole)):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert json.loads((killed / "run.json").read_text())["stages"]["idc"] == done_before
    assert not list(killed.rglob(".part-*"))
    refuse_a_tiny_region(pair, killed)
    read_by_the_notebook(pair, whole, monkeypatch)


def registration_of(case: Path) -> list[str]:
    """Files of a case's registration, all of which two runs must write alike."""
    names = [str(path.relative_to(case)) for path in sorted((case / "registration").iterdir())]
    assert len(names) >= 3
    return names


def read_by_the_notebook(pair: Path, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the notebook of a case beside a finished one, which it finds done."""
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    for name in ("he.tif", "ki67.tif", "truth.json"):
        (case.parent / name).symlink_to(pair / name)
    before = (case / "run.json").read_bytes()
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs")
    monkeypatch.chdir(case.parent)
    names = import_module("made_notebooks").run("case")
    assert names["case"].score.index_percent == pytest.approx(25, abs=3)
    assert (case / "run.json").read_bytes() == before


def refuse_a_tiny_region(pair: Path, case: Path) -> None:
    """Score a finished case again in a region of a few cells: refused, and the old number is gone with it."""
    registered = json.loads((case / "run.json").read_text())["stages"]["registration"]
    outline = shape(json.loads((pair / "he_regions.geojson").read_text())["features"][0]["geometry"])
    middle = outline.representative_point()
    tiny = {
        "type": "Feature",
        "geometry": mapping(middle.buffer(60)),
        "properties": {"classification": {"name": "IDC"}},
    }
    (case.parent / "tiny.geojson").write_text(json.dumps(tiny))

    words = [*command(pair, case), "--regions", str(case.parent / "tiny.geojson")]
    done = subprocess.run(words, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not (case / "score.json").exists()
    assert not (case / "report.html").exists()
    assert not (case / "idc" / "heatmap.tif").exists(), "it is no map of this region"
    manifest = json.loads((case / "run.json").read_text())
    assert manifest["state"] == "failed"
    assert manifest["error"] in done.stderr
    assert manifest["stages"]["registration"] == registered, "nothing of it was made from the region"
