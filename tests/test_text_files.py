"""Text files that a user names, read in every room: what is no plain file is refused, not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ki67.csv_rows import read_rows
from ki67.errors import CaseError, DataSetError, FileError
from ki67.evaluation.index import evaluate_index
from ki67.evaluation.registration import read_landmarks
from ki67.fields.patches import read_patches
from ki67.fields.slide_list import read_slide_list
from ki67.files import read_json
from ki67.registration.by_hand import read_landmark_pairs
from ki67.registration.store import read_transform
from ki67.slides import PixelFrame

FRAME = PixelFrame(0.5)
READERS: dict[str, Callable[[Path], object]] = {
    "slide list": read_slide_list,
    "pairs of landmarks": lambda path: read_landmark_pairs(path, FRAME, FRAME, (100.0, 100.0), (100.0, 100.0)),
    "landmarks": read_landmarks,
    "indices": lambda path: evaluate_index(path, path),
    "index of patches": lambda path: read_patches(path.parent, path),
    "transform": read_transform,
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@readers
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="no regular file"):
        read(tmp_path / "pipe")


@readers
@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"\xff\xfe\0a", b"[" * 100_000, b'"' + b"a" * 200_000])
def test_bytes_that_are_no_such_file_are_refused_by_name(
    tmp_path: Path, read: Callable[[Path], object], content: bytes
) -> None:
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(FileError, match=r"odd\.csv"):
        read(tmp_path / "odd.csv")


@readers
def test_a_folder_is_no_text_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileError):
        read(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "-1e400", "9" * 400])
def test_a_number_that_is_none_is_no_json(tmp_path: Path, number: str) -> None:
    (tmp_path / "odd.json").write_text(f'{{"seconds": {number}}}', encoding="utf-8")
    with pytest.raises(CaseError, match=r"odd\.json: is not valid JSON: .* is no finite number"):
        read_json(tmp_path / "odd.json", CaseError, "")


def test_fractions_are_no_percentages(tmp_path: Path) -> None:
    lines = [f"c{number},0.{number}" for number in range(1, 7)]
    (tmp_path / "odd.csv").write_text("\n".join(["case,index_percent", *lines]), encoding="utf-8")
    with pytest.raises(DataSetError, match=r"fractions, .*percent.*\. Multiply them by 100"):
        read_rows(tmp_path / "odd.csv", ("case", "index_percent"), "")
    (tmp_path / "odd.csv").write_text("\n".join(["case,index_percent", *lines, "d,1.5"]), encoding="utf-8")
    assert len(read_rows(tmp_path / "odd.csv", ("case", "index_percent"), "")) == 7
