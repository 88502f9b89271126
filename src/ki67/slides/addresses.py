"""What a slide is named by: a path on this machine, or a URL.

A URL is a path too, to whatever opens, names and shows slides; the whole of it, which may hold a password or a
signature, is kept in memory only and never shown, recorded or pickled into a file.
"""

from __future__ import annotations

import os
import re
import stat
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.request import url2pathname

from ki67.errors import SlideError
from ki67.files import HIDDEN, bare_url, is_chained
from ki67.slides.sources import DOWNLOAD
from ki67.slides.url_bytes import UrlBytes, UrlStream

AGAIN: Final = "Give the whole URL again, to the command that made the case or as --he and --ki67 to 'ki67 report'"
_IN_TEXT: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # of one letter it is a drive of Windows
_CHAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+::.*:/")
_IN_PATH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


class SlideUrl(type(Path())):  # type: ignore[misc]  # the system's kind of path, as Python 3.11 has no other way
    """A slide at a URL; :func:`slide_address` makes it. Text of it is the URL without what is secret.

    Attributes
    ----------
    url
        The whole URL.
    """

    url = ""

    @cached_property
    def content(self) -> UrlBytes:
        """Its bytes; the server is asked for the first time here.

        Raises
        ------
        SlideError
            Where it is not there, may not be read, or is served without parts.
        SlideAwayError
            Where the server does not answer.
        MissingExtraError
            Where the extra ``url`` is not installed.
        """
        if is_chained(self.url):
            raise SlideError(self, "is a chain of addresses (::), which is not taken", DOWNLOAD)
        if not self.url or f"://{HIDDEN}" in self.url:
            raise SlideError(self, "was given with a password or a query, which is not kept", AGAIN)
        return UrlBytes(self, self.url)

    @property
    def host(self) -> str:
        """Who is asked for it, as shown."""
        return str(self).split("/")[2].rpartition("@")[2]

    def release(self) -> None:
        """Forget what was read; whoever asks next asks the server anew."""
        content: UrlBytes | None = self.__dict__.pop("content", None)
        if content is not None:
            content.forget()

    def open(self, *_: Any, **__: Any) -> UrlStream:
        """Open for reading."""
        return UrlStream(self.content)

    def stat(self, **_: Any) -> os.stat_result:
        """Tell its size."""
        return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, self.content.size, 0, 0, 0))

    def exists(self, **_: Any) -> bool:
        """Whether it may be there: that shows when it is opened."""
        return True

    def is_file(self, **_: Any) -> bool:
        """Whether it is a file on this machine."""
        return False

    is_dir = is_file

    def absolute(self) -> SlideUrl:
        """Return it as it is."""
        return self

    def resolve(self, strict: bool = False) -> SlideUrl:  # noqa: ARG002
        """Return it as it is."""
        return self

    def __str__(self) -> str:
        return bare_url(self.url) if self.url else super().__str__()  # none has what is derived from it

    def __reduce__(self) -> tuple[Any, ...]:
        return (slide_address, (self.url,)) if self.url else (Path, (str(self),))


def slide_address(name: str | Path, folder: str | Path = "") -> Path:
    """Take a slide's name for what it is.

    Parameters
    ----------
    name
        A path, or a URL (``file:`` too), also as a :class:`pathlib.Path`, which makes one slash of two.
    folder
        Where relative paths begin.

    Returns
    -------
    Path
        A :class:`SlideUrl` for a URL.
    """
    if isinstance(name, SlideUrl):
        return name
    text = name.as_posix() if isinstance(name, Path) else name
    match = (_IN_PATH if isinstance(name, Path) and not os.path.lexists(name) else _IN_TEXT).match(text)
    if _CHAIN.match(text):
        url = text
    elif match is None:
        return Path(folder, name)
    else:
        scheme, rest = match[1].lower(), text[match.end() :]
        if scheme == "file":
            return Path(url2pathname("/" + rest.removeprefix("localhost/").lstrip("/")))
        url = f"{scheme}://{rest}"
    address = SlideUrl(bare_url(url))
    address.url = url
    return address


def whole_name(path: Path) -> str:
    """What names a slide to another process: with everything secret, so never to be shown or written down."""
    return path.url if isinstance(path, SlideUrl) else str(path)
