"""Which paths a page may name: folders and files under one folder, wherever links lead."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException

_WRITTEN = re.compile(rb"=([0-9A-F]{2})")
_ESCAPED = re.compile("[%=~\ud800-\udfff]")


LONGEST_NAME_BYTES: Final = 255


@dataclass(frozen=True)
class Places:
    """The folder that is served, and further ones in which slides may lie.

    Parameters
    ----------
    root
        Folder of the cases, resolved.
    slides
        Further folders from which slides are read, resolved; nothing else is.
    """

    root: Path
    slides: tuple[Path, ...] = ()

    def case_id(self, folder: Path) -> str:
        """Name of a case's folder in addresses: its path below the root, ``~`` between folders.

        ``%``, ``=``, ``~`` and bytes that are no text stand as ``=25``, ``=3D``, …; the root itself is ``~``.
        """
        parts = folder.relative_to(self.root).parts
        return "~".join(_ESCAPED.sub(_escape, part) for part in parts) or "~"

    def case_folder(self, case_id: str) -> Path:
        """Folder of a case.

        Raises
        ------
        HTTPException
            404 where there is no such folder below the root.
        """
        parts = [] if case_id == "~" else [_plain(part) for part in case_id.split("~")]
        if any(part in {"", ".", ".."} or "/" in part or os.sep in part or "\0" in part for part in parts):
            raise HTTPException(404, "there is no such case")
        folder = self.root.joinpath(*parts)
        if not _is_name("/".join(parts)) or not self.holds(folder) or not folder.is_dir():
            raise HTTPException(404, "there is no such case")
        return folder

    def below(self, text: str, what: str) -> Path:
        """Path that a page names, relative to the root.

        Raises
        ------
        HTTPException
            403 where it leads out of the root, by links too.
        """
        path = self.root / text
        if not _is_name(text) or Path(text).is_absolute() or ".." in Path(text).parts or not self.holds(path):
            raise HTTPException(403, f"{what} must lie in the folder that is served")
        return path

    def relative(self, path: Path) -> str:
        """Return a path below the root as pages name it."""
        text = path.relative_to(self.root).as_posix()
        return "" if text == "." else text

    def holds(self, path: Path) -> bool:
        """Whether a path lies in the root, links resolved."""
        return _resolved(path).is_relative_to(self.root)

    def may_read_slide(self, path: Path) -> bool:
        """Whether a slide may be read: it lies in the root, or in a folder named for slides."""
        real = _resolved(path)
        return any(real.is_relative_to(folder) for folder in (self.root, *self.slides))


def _is_name(text: str) -> bool:
    """Whether a file system can have it: no zero byte, no letter that is none, no part that is too long."""
    try:
        parts = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        return False
    return "\0" not in text and max(map(len, parts)) <= LONGEST_NAME_BYTES


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _escape(match: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _plain(part: str) -> str:
    plain = _WRITTEN.sub(lambda match: bytes([int(match[1], 16)]), part.encode("utf-8", "surrogatepass"))
    return plain.decode("utf-8", "surrogateescape")
