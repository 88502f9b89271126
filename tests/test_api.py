"""The Python interface: the README's script and its notebook run as they stand, and refuse what commands do."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box

import ki67
from ki67.annotations import Region, Regions, write_regions
from ki67.errors import RegionError, ScoreError, StainError
from ki67.geometry import as_multipolygon
from ki67.report.words import words_of
from ki67.vocabulary import Language

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script(simulated_pair: Path) -> Iterator[dict[str, Any]]:
    """Names that the notebook of the steps leaves behind."""
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        patch.chdir(simulated_pair)
        names = import_module("made_notebooks").run("steps")
    yield names
    names["he"].close()
    names["ihc"].close()


def test_the_readmes_script_is_what_the_notebook_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- python -->\n```python\n(.*?)```\n<!-- /python -->", text, re.DOTALL)
    assert found is not None
    cells = json.loads((ROOT / "docs" / "notebooks" / "steps.ipynb").read_text(encoding="utf-8"))["cells"]
    run = [line.strip() for cell in cells for line in cell["source"] if cell["cell_type"] == "code"]
    written = [line.partition("  #")[0] for line in found.group(1).splitlines() if line]
    places = [run.index(line) for line in written]
    assert places == sorted(places)


def test_the_script_gives_the_true_index(script: dict[str, Any]) -> None:
    score = script["score"]
    assert score.index_percent == pytest.approx(25, abs=3)
    assert score.registration_spread_percent is not None
    assert score.intervals.outline is not None
    assert len(script["df"]) == len(script["cells"]) >= score.cells
    assert {"two_slides", "region_unregistered", "region_density"} <= set(score.domain.checks)
    assert set(score.domain.checks) <= set(words_of(Language.en).names("check"))


def test_slides_and_results_go_to_other_processes(script: dict[str, Any]) -> None:
    sent = pickle.loads(pickle.dumps({name: script[name] for name in ("ihc", "region", "reg", "cells", "score")}))

    assert ki67.score(sent["cells"]) == script["score"] == sent["score"]
    mapped = pickle.loads(pickle.dumps(sent["reg"].map(sent["region"])))
    assert mapped == script["reg"].map(script["region"])
    assert mapped.registered.fingerprint == sent["ihc"].fingerprint()
    sent["ihc"].close()


def test_slides_and_scores_show_themselves(script: dict[str, Any]) -> None:
    assert "data:image/jpeg;base64," in script["he"]._repr_html_()
    assert f"{script['score'].index_percent:.1f} %" in script["score"]._repr_html_()


def test_a_region_of_another_slide_is_refused(script: dict[str, Any]) -> None:
    mapped = script["reg"].map(script["region"])
    with pytest.raises(RegionError, match="carried over to another slide"):
        ki67.count(script["he"], mapped)


def test_slides_of_the_wrong_stain_give_no_carcinoma_and_no_index(simulated_pair: Path) -> None:
    with ki67.open_slide(simulated_pair / "ki67.tif") as ihc, pytest.raises(StainError, match="looks like immuno"):
        ki67.find_carcinoma(ihc)


def test_few_cells_give_no_index_unless_insisted(script: dict[str, Any]) -> None:
    middle = script["reg"].map(script["region"]).union().representative_point()
    few = ki67.count(script["ihc"], box(middle.x - 60, middle.y - 60, middle.x + 60, middle.y + 60))

    assert few.mapped is None
    with pytest.raises(ScoreError, match="an index needs 500"):
        ki67.score(few)
    assert ki67.score(few, allow_few_cells=True).cells < 500


def test_a_run_gives_a_case_to_read(simulated_pair: Path, tmp_path: Path, script: dict[str, Any]) -> None:
    with ki67.open_slide(simulated_pair / "ki67.tif") as ihc:
        middle = script["reg"].map(script["region"]).union().representative_point()
        drawn = Regions([Region("IDC", as_multipolygon(middle.buffer(150)), "drawn")])
        write_regions(tmp_path / "middle.geojson", drawn, ihc.frame)
        options = ki67.Options(regions=tmp_path / "middle.geojson", allow_few_cells=True)
        case = ki67.run_count(simulated_pair / "ki67.tif", tmp_path / "case", options)

        assert case.score.index_percent == pytest.approx(25, abs=15)
        assert case.regions_ki67 is not None
        again = ki67.count(ihc, case.regions_ki67)
    assert again.table.drop_columns(["outline_um"]).equals(case.cells.drop_columns(["outline_um"]))


def test_the_package_alone_loads_nothing_large() -> None:
    words = "import sys, ki67; print(sorted({'numpy', 'onnxruntime', 'pyarrow'} & set(sys.modules)), dir(ki67))"
    done = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("[] ")
    assert "find_carcinoma" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ki67.nothing  # type: ignore[attr-defined]
