"""Processors are those that the process is kept to, and no more than its container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ki67 import processors
from ki67.processors import THREAD_VARIABLES, cpu_limit, keep_libraries_to_quota, kept_to, usable_processors

V1 = {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}
IN_SLICE = "0::/user.slice/job.scope\n"


@pytest.mark.parametrize(
    ("files", "own_group", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "0 0\n"}, "0::/\n", None),
        ({"cpu.max": "rubbish\n"}, "no such line\n", None),
        ({}, "", None),
        # Not in a container of its own: the limit stands where the group is, or at one around it; the least holds.
        ({"user.slice/job.scope/cpu.max": "300000 100000\n"}, IN_SLICE, 3.0),
        ({"user.slice/cpu.max": "50000 100000\n", "user.slice/job.scope/cpu.max": "max 100000\n"}, IN_SLICE, 0.5),
        ({"other.slice/cpu.max": "50000 100000\n"}, IN_SLICE, None),
        (V1, "4:memory:/a\n1:cpu,cpuacct:/docker/4f\n", 2.0),
        (V1 | {"cpu/cpu.cfs_quota_us": "-1\n"}, "1:cpu:/\n", None),
        ({f"cpu/a/{name[4:]}": text for name, text in V1.items()}, "2:cpuset:/b\n1:cpu:/a\n", 2.0),
    ],
)
def test_quotas_of_either_version_are_read(
    tmp_path: Path, files: dict[str, str], own_group: str, limit: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path, own_group) == limit


@pytest.mark.parametrize(("limit", "expected"), [(None, 8), (0.3, 1), (1.0, 1), (1.5, 2), (2.0, 2), (64.0, 8)])
def test_a_begun_processor_is_used_and_none_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, expected: int
) -> None:
    monkeypatch.setattr(processors, "cpu_limit", lambda: limit)
    monkeypatch.setattr(processors, "kept_to", lambda: 8)
    assert usable_processors() == expected


def test_libraries_are_told_of_a_quota_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    monkeypatch.setattr(processors, "cpu_limit", lambda: None)
    keep_libraries_to_quota()
    assert not set(THREAD_VARIABLES) & set(os.environ)

    monkeypatch.setenv(THREAD_VARIABLES[0], "7")
    monkeypatch.setattr(processors, "cpu_limit", lambda: 1.0)
    monkeypatch.setattr(processors, "kept_to", lambda: 4)
    keep_libraries_to_quota()
    assert [os.environ[name] for name in THREAD_VARIABLES] == ["7", "1", "1", "1", "1"]


def test_this_machine_has_some() -> None:
    assert 1 <= usable_processors() <= kept_to()
