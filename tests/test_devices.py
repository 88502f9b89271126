"""Models run on the processor unless a graphics card is asked for, and a card that is not there is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from ki67 import idc
from ki67.cells import load_engine
from ki67.cells.network import NetworkModel
from ki67.errors import InstallationError
from ki67.model_files import CPU_PROVIDER, CUDA_PROVIDER, provider_part, providers_of
from ki67.vocabulary import Device, EngineName


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime say that it could use a card."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU_PROVIDER])


def test_a_card_is_taken_only_when_asked_for(card: None) -> None:
    assert providers_of(Device.cpu) == [CPU_PROVIDER]
    assert providers_of(Device.auto) == providers_of(Device.cuda) == [CUDA_PROVIDER, CPU_PROVIDER]


def test_without_a_card_auto_takes_the_processor_and_cuda_refuses(no_card: None) -> None:
    assert providers_of(Device.auto) == [CPU_PROVIDER]
    for load in (lambda: idc.load_model(device=Device.cuda), lambda: load_engine(device=Device.cuda)):
        with pytest.raises(InstallationError, match="onnxruntime-gpu"):
            load()
    assert load_engine(device=Device.auto).provider == CPU_PROVIDER
    assert load_engine(EngineName.forest, device=Device.cuda).provider == CPU_PROVIDER


def test_a_runtime_that_falls_back_to_the_processor_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ki67.model_files.providers_of", lambda device: [CPU_PROVIDER])
    with pytest.raises(InstallationError, match="sees no graphics card"):
        load_engine(device=Device.cuda)


def test_what_ran_a_model_decides_the_count_where_it_is_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(device=Device.auto)
    assert engine.card.int8 is not None
    assert provider_part(engine.card, CPU_PROVIDER) == {"int8": engine.card.int8}
    assert provider_part(load_engine(EngineName.forest).card, CPU_PROVIDER) == {}
    assert provider_part(engine.card, CUDA_PROVIDER) == {"provider": CUDA_PROVIDER}
    assert isinstance(engine.model, NetworkModel)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(engine.model.runner), "provider", CUDA_PROVIDER)  # type: ignore[attr-defined]
    assert engine.provider == CUDA_PROVIDER


def test_the_command_tells_of_a_missing_card_in_one_line(
    ki67: Callable[..., Any], no_card: None, tmp_path: Path
) -> None:
    outcome = ki67("evaluate", "cells", tmp_path, "--layout", "points", "--device", "cuda", "--quiet")
    assert outcome.code == 1
    (line,) = outcome.stderr.strip().splitlines()
    assert line.startswith("ki67: error: ONNX Runtime sees no graphics card")
