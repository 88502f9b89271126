"""XML of other programs: read piece by piece without anything that XML can do to a reader, and written as text."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from ki67.annotations.qupath_objects import read_bytes
from ki67.errors import AnnotationError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

DEEPEST: Final = 32
"""Levels of nesting; the programs' own files have six."""

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML may hold."""


def pieces(path: Path, name: str, way_out: str) -> Iterator[tuple[Element, list[Element]]]:
    """Every element of a name, complete, with those around it from the root on, which lack what comes later.

    What was handed out is emptied at the next step, so that a file of a million corners does not fill the memory.

    Raises
    ------
    AnnotationError
        Where the file is missing, damaged, not XML, nested too deep, or declares entities of its own.
    """
    around: list[Element] = []
    try:
        for event, element in iterparse(io.BytesIO(read_bytes(path, way_out)), events=("start", "end")):
            if event == "start":
                around.append(element)
                if len(around) > DEEPEST:
                    raise AnnotationError(path, f"is nested deeper than {DEEPEST} levels", way_out)
                continue
            around.pop()
            if element.tag == name and not any(one.tag == name for one in around):
                yield element, around
                element.clear()
    except DefusedXmlException as error:
        raise AnnotationError(path, "declares entities of its own, which no annotation needs", way_out) from error
    except ParseError as error:
        line, column = error.position
        what = str(error).split(":")[0]
        raise AnnotationError(path, f"is not valid XML: {what} at line {line}, column {column}", way_out) from error
    except (LookupError, ValueError, UnicodeError) as error:
        raise AnnotationError(path, f"is not XML that can be read ({error})", way_out) from error


def number(path: Path, text: str | None, what: str, way_out: str) -> float:
    """Number of an attribute or an element.

    Raises
    ------
    AnnotationError
        Where it is none; names ``what``.
    """
    try:
        return float(text or "")
    except ValueError as error:
        found = repr(text if text is None or len(text) <= 40 else text[:37] + "...")
        raise AnnotationError(path, f"{what} has no number but {found}", way_out) from error


def escaped(text: str) -> str:
    """Text for an attribute or an element; what no XML may hold is shown as U+FFFD."""
    return (
        html.escape(_NO_XML.sub("\ufffd", text)).replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;")
    )
