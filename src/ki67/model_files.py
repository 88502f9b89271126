"""Model files: an ONNX graph and the card beside it, which belong together or are refused with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import onnxruntime

from ki67.errors import ModelError
from ki67.files import sha256_of


class Card(Protocol):
    """What every card says."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its graph."""
        ...


C = TypeVar("C", bound=Card)


def checked(graph: Path, read: Callable[[Path], C], way_out: str) -> C:
    """Read the card beside a graph and check that the two belong together.

    Raises
    ------
    ModelError
        Where the graph is missing or is another than the card's.
    """
    if not graph.is_file():
        raise ModelError(graph, "is missing", way_out)
    card = read(graph.with_suffix(".json"))
    found = sha256_of(graph)
    if found != card.sha256:
        raise ModelError(
            graph, f"does not belong to its card: SHA-256 {found[:12]}…, the card says {card.sha256[:12]}…", way_out
        )
    return card


@contextmanager
def card_fields(path: Path, way_out: str) -> Iterator[dict[str, Any]]:
    """Fields of a card; what goes wrong while they are read and used is told of the card.

    Raises
    ------
    ModelError
        Where the card is missing, is no JSON, lacks a field or holds one of another kind.
    """
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(path, "is missing; a model is not used without its card", way_out) from error
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise ModelError(path, f"is not a model card ({error})", way_out) from error
    except KeyError as error:
        raise ModelError(path, f"lacks the field {error}", way_out) from error


def open_session(
    graph: Path, options: onnxruntime.SessionOptions, providers: Sequence[str], way_out: str
) -> onnxruntime.InferenceSession:
    """Load a graph into ONNX Runtime, which says errors only.

    Raises
    ------
    ModelError
        Where the graph cannot be run.
    """
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=list(providers))
    except Exception as error:  # the runtime raises a class of its own for each defect of a graph
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(graph, f"cannot be run ({reason})", way_out) from error
