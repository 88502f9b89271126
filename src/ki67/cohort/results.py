"""The figures of a case that a cohort keeps: what ``ki67 score --json`` printed, cut to a line of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

FIGURES: Final = (
    "index_percent", "ci95_low_percent", "ci95_high_percent", "positive", "negative", "cells", "area_mm2", "ncc",
    "registration_accepted", "doubts", "warnings",
)  # fmt: skip
"""Of a case that is done; ``doubts`` are the names of its checks that are not usual."""

_NUMBER: Final = re.compile(r"[-+]?\d[\d.,]*")


def figures_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Cut what ``ki67 score --json`` printed to :data:`FIGURES`.

    Raises
    ------
    KeyError, TypeError
        Where it is something else.
    """
    interval = result["ci95_percent"] or (None, None)
    checks = result["domain"]["checks"]
    return {
        "index_percent": result["index_percent"],
        "ci95_low_percent": interval[0],
        "ci95_high_percent": interval[1],
        "positive": int(result["positive"]),
        "negative": int(result["negative"]),
        "cells": int(result["cells"]),
        "area_mm2": result["area_mm2"],
        "ncc": result["registration"]["ncc"],
        "registration_accepted": bool(result["registration"]["accepted"]),
        "doubts": sorted(name for name, check in checks.items() if check["verdict"] != "usual"),
        "warnings": [str(text) for text in result["warnings"]],
    }


def kind_of_warning(text: str) -> str:
    """Return a warning without its numbers, so that the same doubt about two slides is one kind."""
    return _NUMBER.sub("#", text)
