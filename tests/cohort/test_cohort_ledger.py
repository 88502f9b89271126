"""The ledger: what was told is on disk, and what was cut off in the middle of a line does no harm."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import sys
from pathlib import Path

import pytest

from ki67.cohort.cases import WHOLE, Shard
from ki67.cohort.ledger import Entry, now, open_ledger, read_entries
from ki67.errors import BusyError, CohortError, DiskFullError, WriteError


def entry(case: str, state: str = "done", **more: object) -> Entry:
    facts = {"time": now(), "key": "k", "attempt": 1, "code": 0, "seconds": 1.0}
    return Entry.model_validate({**facts, "case": case, "state": state, **more})


def test_the_last_entry_of_a_case_counts_whatever_the_ledger(tmp_path: Path) -> None:
    with open_ledger(tmp_path, WHOLE) as ledger:
        ledger.append(entry("A", "failed", code=75))
        ledger.append(entry("B"))
    with open_ledger(tmp_path, Shard(2, 3)) as ledger:
        ledger.append(entry("A"))
    found = read_entries(tmp_path)
    assert {name: one.state for name, one in found.items()} == {"A": "done", "B": "done"}


def test_a_line_that_a_power_cut_left_unfinished_is_no_entry(tmp_path: Path) -> None:
    with open_ledger(tmp_path, WHOLE) as ledger:
        ledger.append(entry("A"))
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert list(read_entries(tmp_path)) == ["A"]
        with open_ledger(tmp_path, WHOLE) as ledger:
            ledger.append(entry("B"))
        assert list(read_entries(tmp_path)) == ["A", "B"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with open_ledger(tmp_path, WHOLE) as ledger:
        ledger.append(entry("A"))
        ledger.append(entry("B"))
    path = tmp_path / "ledger.jsonl"
    for damage in (b"\0\0\0\n", b"{}\n", b"\xff\xfe\n", b'{"case": 1}\n'):
        path.write_bytes(damage + path.read_bytes().split(b"\n", 1)[1])
        with pytest.raises(CohortError, match="is damaged in line 1"):
            read_entries(tmp_path)


def test_two_runs_in_one_folder_are_refused_but_two_shards_are_not(tmp_path: Path) -> None:
    refused = pytest.raises(BusyError, match="is in use by another run")
    with open_ledger(tmp_path, WHOLE), refused, open_ledger(tmp_path, WHOLE):
        pass
    with open_ledger(tmp_path, Shard(1, 2)), open_ledger(tmp_path, Shard(2, 2)):
        pass


def _append_until_full(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    with open_ledger(folder, WHOLE) as ledger:
        try:
            for number in range(100):
                ledger.append(entry(f"case{number}"))
        except WriteError:
            os._exit(7)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_no_room_leaves_the_ledger_as_it_was_before_the_entry(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_append_until_full, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 7
    content = (tmp_path / "ledger.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert 0 < len(read_entries(tmp_path)) == content.count(b"\n")


def test_a_full_disk_is_a_passing_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_ledger(tmp_path, WHOLE) as ledger:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError) as caught:
            ledger.append(entry("A"))
    assert caught.value.exit_code == 75
    assert (tmp_path / "ledger.jsonl").read_bytes() == b""


def test_a_folder_that_is_a_file_is_a_known_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(WriteError), open_ledger(tmp_path / "out", WHOLE):
        pass
