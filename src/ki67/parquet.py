"""Parquet files by any name: pyarrow by itself takes only names that are UTF-8."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pyarrow as pa


def parquet_file(path: str | Path, mode: Literal["rb", "wb"] = "rb") -> pa.NativeFile:
    """Open a file for pyarrow to read or to write; close it, or use it in a ``with``.

    Raises
    ------
    OSError
        Where it is missing or cannot be opened.
    """
    return pa.OSFile(os.fsencode(path), mode)
