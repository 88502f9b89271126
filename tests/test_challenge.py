"""The challenge in small: one slide of a hundredth of its cells, simulated, scored, ranked, and not done twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ki67.errors import CaseError
from ki67.files import read_json

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "challenge.py"


def challenge(out: Path) -> tuple[str, dict[str, Any]]:
    words = [sys.executable, str(SCRIPT), str(out), "--scale", "0.012", "--mpp", "0.5", "--slides", "5"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, read_json(out / "challenge.json", CaseError, "")


def test_a_slide_is_scored_ranked_and_kept_as_numbers(tmp_path: Path) -> None:
    told, result = challenge(tmp_path)

    row = result["slides"]["5"]
    assert abs(row["index_percent"] - row["true_percent"]) < 6
    assert row["true_cells"] > 900
    (reader,) = result["ranking"]["readers"]
    assert reader["average_score"] >= 94
    assert reader["seconds"] == row["seconds"] > 0
    assert "(paper 98.9)" in told
    assert not (tmp_path / "slide_5" / "slides").exists()

    numbers = tmp_path / "slide_5" / "numbers.json"
    written = numbers.stat().st_mtime_ns
    again, same = challenge(tmp_path)
    assert numbers.stat().st_mtime_ns == written
    assert (again, same) == (told, result)
