"""What ``ki67 doctor`` says of the machine: limits of the container, memory, disk, a card that nothing uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ki67.cli.machine import Machine, look

PLENTY = Machine(4, None, 16.0, None, 100.0, 100.0, None)


@pytest.mark.parametrize(
    ("files", "processors", "memory_gib"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "3221225472\n"}, 1.5, 3.0),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "200000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "1073741824\n",
            },
            2.0,
            1.0,
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None, None),
        ({"cpu.max": "\n", "memory.max": "garbage here\n"}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_a_container_are_read(
    tmp_path: Path, files: dict[str, str], processors: float | None, memory_gib: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = look(tmp_path)
    assert (machine.cpu_limit, machine.memory_limit_gib) == (processors, memory_gib)
    assert machine.threads >= 1
    assert machine.disk_free_gib is not None


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (PLENTY, None),
        (replace(PLENTY, memory_limit_gib=1.0), "1.0 GiB of memory is less"),
        (replace(PLENTY, threads=8, memory_gib=3.0), "less than a large case takes on 8 processors (3.5 GiB)"),
        (replace(PLENTY, cpu_limit=1.5), None),
        (replace(PLENTY, temporary_free_gib=0.5), "0.5 GiB are free in the temporary folder"),
        (replace(PLENTY, gpu="NVIDIA"), "a graphics card (NVIDIA), but ONNX Runtime has no provider"),
    ],
)
def test_what_will_hurt_is_said(machine: Machine, said: str | None) -> None:
    hints = machine.hints(["CPUExecutionProvider"])
    assert len(hints) == (said is not None)
    assert said is None or said in hints[0]


def test_a_card_with_a_provider_is_no_hint() -> None:
    assert replace(PLENTY, gpu="NVIDIA").hints(["CUDAExecutionProvider", "CPUExecutionProvider"]) == []


def test_doctor_tells_of_the_machine(ki67: Callable[..., Any]) -> None:
    told = ki67("doctor", "--json").json
    assert told["machine"]["threads"] == told["threads"]
    assert "cohort" in told["extras"]
    assert told["hints"] == [] or all(isinstance(text, str) for text in told["hints"])
