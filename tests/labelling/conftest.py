"""A small project of cells for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ki67.labelling import database as databases
from ki67.labelling.words import LabelKind
from labelling_office import Office, fill


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    database = databases.create(tmp_path / "project", None)
    with database.session() as session:
        fill(session, tmp_path, LabelKind.cells, 6, ("train", "train", "test"))
    yield Office(tmp_path / "project", database)
    database.close()
