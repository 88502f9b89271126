"""Checkpoints of trainings: tensors and plain values."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ki67.errors import DataSetError
from ki67.files import atomic_path

_ANEW = "Remove it to start the training anew."

# What torch raises on cut, empty and foreign files, and on weights of other shapes; attribute and index errors come
# of values of another kind.
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, UnpicklingError)


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """While a training is taken from its checkpoint: whatever does not fit is told of the checkpoint.

    Raises
    ------
    DataSetError
        With the reason.
    """
    try:
        yield
    except _DAMAGED as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataSetError(path, f"is damaged ({reason})", _ANEW) from error


def load_checkpoint(path: Path, needed: Iterable[str]) -> dict[str, Any]:
    """Read a checkpoint; no code from the file is run.

    Raises
    ------
    DataSetError
        Where it is damaged, or lacks what is needed.
    """
    if not path.is_file():
        raise DataSetError(path, "is no file", _ANEW)
    with restoring(path):
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, dict):
        raise DataSetError(path, "is damaged (it holds no names)", _ANEW)
    missing = [name for name in needed if name not in stored]
    if missing:
        raise DataSetError(path, f"lacks {', '.join(missing)}; another version wrote it", _ANEW)
    return stored


def refuse_another(
    path: Path, stored: Mapping[str, Any], inputs: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    """Compare a checkpoint with the training that is to go on from it.

    Parameters
    ----------
    path
        Of the checkpoint.
    stored
        Its content, with ``inputs`` and ``options`` as they were.
    inputs
        Digests of what the training begins with, by what they are of.
    options
        How to train.

    Raises
    ------
    DataSetError
        Where anything differs; says what.
    """
    with restoring(path):
        other = [name for name in inputs if stored["inputs"].get(name) != inputs[name]]
        if stored["options"] != options:
            other.append("options")
    if other:
        raise DataSetError(
            path,
            f"belongs to a training with other {' and '.join(other)}",
            "Use another folder, or remove this one to start anew.",
        )


def require_finite(loss: float, folder: Path, when: str) -> None:
    """Stop a training whose loss is no longer a number.

    Raises
    ------
    DataSetError
        Saying when that was found.
    """
    if not math.isfinite(loss):
        raise DataSetError(
            folder,
            f"holds a training that went astray {when}: its loss is no longer a number",
            "Start anew in another folder with a lower learning rate.",
        )


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
