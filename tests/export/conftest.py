"""What the tests of all formats share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from small_case import MakeCase, write_case


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    """Make a case's folder, named ``case``, in the test's own."""
    return partial(write_case, tmp_path)


@pytest.fixture
def case(make_case: MakeCase) -> Path:
    """A finished case of 600 cells, 599 of them in the region."""
    return make_case()
