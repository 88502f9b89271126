"""Checkpoints of trainings: tensors and plain values (needs the ``train`` extra)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ki67.errors import DataSetError

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
