"""The documentation is built without a warning, all pages and the reference in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    words = ["-q", "-W", "--keep-going", "-D", "ki67_pictures=0", "-d", str(tmp_path / "read")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(DOCS), str(tmp_path / "built")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ki67.api.find_carcinoma" in (tmp_path / "built" / "reference.html").read_text("utf-8")
    for page in (*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md")):
        assert (tmp_path / "built" / page.relative_to(DOCS)).with_suffix(".html").exists()
