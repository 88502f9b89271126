"""What may be a case's folder: nobody else's files are removed or written over."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ki67.errors import WriteError
from ki67.files import atomic_path, json_text, printable, read_json, write_json, write_text
from ki67.pipeline import _case
from ki67.stages import CaseSlide


class Slide:
    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.mark.parametrize("out", ["slide", "slide/case", "slide/deep/case"])
@pytest.mark.parametrize("name", ["slide", "slide.mrxs"])
def test_a_case_does_not_go_among_the_files_of_a_slide(tmp_path: Path, name: str, out: str) -> None:
    (tmp_path / "slide").mkdir()
    slide = CaseSlide(Slide(tmp_path / name))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="lies in the folder of the slide"):
        _case(tmp_path / out, "count", {"ki67": slide}, {})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_takes_no_more_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "replace", fail)))
    with pytest.raises(WriteError, match=r"a\.json: (the disk is full|cannot be written)"):
        write_json(path, {"a": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_a_file_that_cannot_be_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("n" * 300 + ".csv", "file/a.csv", "loop/a.csv"):
        with pytest.raises(WriteError) as caught:
            write_text(tmp_path / name, "x")
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_names_as_long_as_the_file_system_takes_are_written(tmp_path: Path) -> None:
    for name in ("n" * 250 + ".json", "ä" * 120 + ".ome.tif"):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.name.endswith(name[-8:])
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("Pr\udcfcfung", r"Pr\xfcfung"), ("\ud800", r"\ud800"), ("µ \U0001f600", "µ \U0001f600"), ("a\\b", "a\\b")],
)
def test_text_that_is_no_unicode_is_written_and_read(tmp_path: Path, text: str, shown: str) -> None:
    assert printable(text) == shown
    write_text(tmp_path / "t.txt", text)
    assert (tmp_path / "t.txt").read_bytes().decode() == shown
    write_json(tmp_path / "t.json", {text: [text]})
    assert read_json(tmp_path / "t.json", WriteError, "") == {shown: [shown]}
    assert json_text({text: text}, ascii_only=True).isascii()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a.json")
    with pytest.raises(WriteError, match=r"a\.json: (is no regular file|cannot be read)"):
        read_json(tmp_path / "a.json", WriteError, "")
