"""Elastix comes from one of two packages, leaves and says nothing of its own, and its absence is told."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from ki67.errors import InstallationError, RegistrationError
from ki67.registration import elastix as seam
from ki67.registration.elastix import PINNED, SIMPLE_ELASTIX, Task, elastix


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    elastix.cache_clear()
    yield
    elastix.cache_clear()


def shifted_task(mask: np.ndarray | None = None) -> Task:
    fixed = cv2.GaussianBlur(np.random.default_rng(0).random((120, 140)).astype(np.float32), (0, 0), 5)
    moving = np.roll(fixed, (1, 2), (0, 1))
    changes = {
        "MaximumNumberOfIterations": ("50",),
        "RandomSeed": ("1",),
        "FinalGridSpacingInPhysicalUnits": ("40",),
        "GridSpacingSchedule": ("2", "1"),
    }
    return Task(
        "he.tif", fixed, moving, np.ones(fixed.shape, bool) if mask is None else mask, None, "bspline", 2, changes
    )


def install(monkeypatch: pytest.MonkeyPatch, **modules: ModuleType) -> None:
    monkeypatch.setattr(seam, "find_spec", modules.get)
    monkeypatch.setattr(seam, "import_module", modules.__getitem__)


def test_a_run_leaves_no_file_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = elastix().displacements_px(shifted_task())
    parameters = elastix().parameters(shifted_task())
    assert found.shape == (120, 140, 2)
    assert found.dtype == np.float32
    assert np.median(found[20:-20, 20:-20], axis=(0, 1)) == pytest.approx((2, 1), abs=0.3)
    assert parameters["Transform"] == ("BSplineTransform",)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_what_elastix_cannot_do_names_the_image() -> None:
    with pytest.raises(RegistrationError, match=r"he\.tif"):
        elastix().parameters(shifted_task(np.zeros((120, 140), bool)))


def test_a_plain_simpleitk_in_its_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, SimpleITK=ModuleType("SimpleITK"))
    with pytest.raises(InstallationError, match=f"no elastix.*pip uninstall SimpleITK.*{SIMPLE_ELASTIX}=={PINNED}"):
        elastix()


def test_where_there_is_none_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(InstallationError, match=f"not installed.*pip install .*{SIMPLE_ELASTIX}=={PINNED}"):
        elastix()


def test_the_release_named_is_the_one_that_is_asked_for_and_whose_hash_is_checked() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = next(line for line in project["dependencies"] if line.startswith(SIMPLE_ELASTIX))
    assert asked.startswith(f"{SIMPLE_ELASTIX}=={PINNED};")
    assert asked in (root / "elastix.txt").read_text(encoding="utf-8")


@pytest.mark.skipif(not (find_spec("itk") and find_spec("SimpleITK")), reason="only one of the packages is installed")
def test_the_other_package_finds_the_same(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1])\n"
        "from test_registration_elastix import shifted_task\n"
        "from ki67.registration import elastix\n"
        "found = getattr(elastix, sys.argv[2])().displacements_px(shifted_task())\n"
        "np.save(sys.argv[3], found)"
    )
    found = []
    for name in ("SimpleElastix", "ItkElastix"):
        path = tmp_path / f"{name}.npy"
        subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent), name, str(path)], check=True)
        found.append(np.load(path))
    assert np.array_equal(*found)


def test_doctor_says_where_elastix_comes_from(ki67) -> None:
    outcome = ki67("doctor", "--json")
    assert json.loads(outcome.stdout)["elastix"] in (SIMPLE_ELASTIX, "itk-elastix")
