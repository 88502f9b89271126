"""Checkpoints of trainings: tensors and plain values (needs the ``train`` extra)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ki67.errors import DataSetError
from ki67.files import atomic_path

# What torch raises on cut, empty and foreign files.
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError)


def load_checkpoint(path: Path, needed: Iterable[str]) -> dict[str, Any]:
    """Read a checkpoint; no code from the file is run.

    Raises
    ------
    DataSetError
        Where it is damaged, or lacks what is needed.
    """
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = [name for name in needed if name not in stored]
    except _DAMAGED as error:
        raise DataSetError(path, "is damaged", "Remove it to start the training anew.") from error
    if missing:
        raise DataSetError(
            path, f"lacks {', '.join(missing)}; another version wrote it", "Remove it to start the training anew."
        )
    return stored


def save_checkpoint(path: Path, stored: Mapping[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all.

    They go through memory: what a full disk says reaches nobody where PyTorch writes to it.

    Raises
    ------
    WriteError
        Where the disk is full or the folder cannot be written to.
    """
    content = io.BytesIO()
    torch.save(dict(stored), content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """SHA-256 over the values of arrays, by which a training that goes on knows its data again."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def digest_of_network(network: nn.Module | None) -> str:
    """SHA-256 over a network's weights; empty for none."""
    return "" if network is None else digest(value.numpy() for value in network.state_dict().values())
