"""Bytes of a file at a URL: those that are asked for, a block around them, and no others.

A block is asked for once, however many threads want it, and shares the memory of decoded tiles. fsspec's own files
have one place each that threads would fight for; its ranges have none.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from ki67.errors import Ki67Error, MissingExtraError, SlideAwayError, SlideError
from ki67.jobs import Pool, current
from ki67.slides.sources import DOWNLOAD
from ki67.slides.tile_cache import TileCache

T = TypeVar("T")

BLOCK_BYTES: Final = 2**18
"""Read at once: a dozen tiles that lie beside one another (docs/decisions/037)."""

SILENT_S: Final = 30.0
"""A server that says nothing for so long does not answer."""

ATTEMPTS: Final = 3
PAUSE_S: Final = 1.0
AT_ONCE: Final = 8
_CHECK: Final = "Check the URL"
_LATER: Final = "Run the same command again later; it continues from the last finished stage"
_GONE: Final = {404, 410}
_REFUSED: Final = {401, 403, 407}
_BUSY: Final = {408, 425, 429}  # and all from 500 on
_VERSION: Final = {"size", "etag", "lastmodified", "mtime", "md5", "updated"}
"""What file systems call the facts by which a version of a file is told from another, without hyphens."""


_turns: WeakKeyDictionary[Any, Lock] = WeakKeyDictionary()
"""Of file systems that have one connection each (``ftp:``), which threads would answer one another by."""


class UrlBytes:
    """A file at a URL; its bytes may be read from several threads.

    Parameters
    ----------
    shown
        What it is called in messages.
    url
        Where it is.

    Raises
    ------
    SlideError, SlideAwayError, MissingExtraError
        As :attr:`ki67.slides.addresses.SlideUrl.content`.
    """

    def __init__(self, shown: Path, url: str) -> None:
        self._shown = shown
        self._turn: AbstractContextManager[Any] = nullcontext()
        self._files, self._place = self._asked(lambda: _file_system(shown, url))
        if not getattr(self._files, "async_impl", False):
            self._turn = _turns.setdefault(self._files, Lock())
        self._blocks = current().tiles.cache(TileCache)
        self.size = self._asked(self._measured)

    @property
    def state(self) -> list[str]:
        """What the server says of this version of the file: its size, its tag or its time."""
        facts = self._asked(lambda: self._files.info(self._place))
        return [f"{name} {facts[name]}" for name in sorted(facts) if re.sub("[-_]", "", name.lower()) in _VERSION]

    def read(self, offset: int, count: int) -> bytes:
        """Read up to the end of the file."""
        end = min(offset + count, self.size)
        if offset >= end:
            return b""
        if count > BLOCK_BYTES:
            return self._fetch(offset, end)
        first = offset // BLOCK_BYTES
        blocks = b"".join(self._block(number) for number in range(first, (end - 1) // BLOCK_BYTES + 1))
        return blocks[offset - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    def samples(self, offsets: Sequence[int], count: int) -> Iterator[bytes]:
        """Read pieces here and there: as they are where they are few in the file, from blocks where they overlap."""
        if self.size <= len(offsets) * count:
            yield from (self.read(offset, count) for offset in offsets)
            return
        with Pool("samples", AT_ONCE) as pool:
            yield from pool.map(lambda offset: self._fetch(offset, min(offset + count, self.size)), offsets)

    def forget(self) -> None:
        """Forget what was read."""
        self._blocks.forget(self)

    def _block(self, number: int) -> bytes:
        start = number * BLOCK_BYTES
        end = min(start + BLOCK_BYTES, self.size)
        return self._blocks.get((self, number), lambda: np.frombuffer(self._fetch(start, end), np.uint8)).tobytes()

    def _fetch(self, start: int, end: int) -> bytes:
        def ask() -> bytes:
            data: bytes = self._files.cat_file(self._place, start=start, end=end)
            if len(data) != end - start:
                raise ConnectionError
            return data

        return self._asked(ask)

    def _measured(self) -> int:
        """Size of the file; its last byte is read by itself, which a server that knows no parts refuses."""
        with self._files.open(self._place, "rb", cache_type="none") as file:
            size = getattr(file, "size", None)
            try:
                file.seek(max(0, (size or 0) - 1))
                last = file.read(1)
            except ValueError:
                size = None
            if size is None:
                found = "comes from a server that hands out whole files only (no range requests)"
                raise SlideError(self._shown, found, DOWNLOAD)
            if size and not last:
                raise ConnectionError
            return int(size)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask the server, more than once where the answer may be another one later."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_S * attempt)
            try:
                with self._turn:
                    return ask()
            except Exception as error:  # noqa: BLE001  whatever it is; its text may hold the whole URL
                fault = _in_words(self._shown, error)
                if not isinstance(fault, SlideAwayError):
                    break
        raise fault from None


class UrlStream(io.RawIOBase):
    """A place in a file at a URL."""

    def __init__(self, content: UrlBytes) -> None:
        self._content, self._at = content, 0

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether any place can be gone to."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + (0, self._at, self._content.size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as much as the buffer holds, or up to the end."""
        data = self._content.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _file_system(shown: Path, url: str) -> tuple[Any, str]:
    """File system of a URL, and what it calls the file."""
    try:
        import aiohttp
        import fsspec
    except ImportError:
        raise MissingExtraError("url", "A slide at a URL") from None
    scheme = url.partition("://")[0]
    try:
        if scheme not in {"http", "https"}:
            files, place = fsspec.url_to_fs(url)
            return files, place
        limits = aiohttp.ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)
        # As the bytes are, and through the proxies of the environment, where a hospital has them.
        session = {"timeout": limits, "headers": {"Accept-Encoding": "identity"}, "trust_env": True}
        return fsspec.filesystem(scheme, client_kwargs=session), url
    except ImportError as error:
        raise SlideError(shown, f"cannot be read with what is installed: {error}", DOWNLOAD) from None
    except ValueError:
        raise SlideError(shown, f"is at an address of an unknown kind, {scheme}", _CHECK) from None


def _in_words(shown: Path, error: BaseException) -> Exception:
    """What an error of fsspec, or of the library behind it, means."""
    if isinstance(error, Ki67Error):
        return error
    import aiohttp

    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)

    def is_a(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    answers = [getattr(cause, "status", None) for cause in causes]
    status = next((answer for answer in answers if isinstance(answer, int)), 0)
    answer = f", its server answers {status}" if status else ""
    if status in _BUSY or status >= 500:
        return SlideAwayError(shown, f"cannot be read now{answer}", _LATER)
    if status in _REFUSED or is_a(PermissionError):
        found = f"may not be read{answer}"
        return SlideError(shown, found, "Check the user, the password or the signature, which may have run out")
    if is_a(ssl.SSLCertVerificationError):
        found = "cannot be read: the certificate of its server is not trusted"
        return SlideError(shown, found, "Name a file with your own authority's by the variable SSL_CERT_FILE")
    if is_a(ValueError):
        return SlideError(shown, "is no valid URL", "Check it; in a password / and @ are written %2F and %40")
    if any(isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME for cause in causes):
        return SlideError(shown, "cannot be read: no host of that name is known", _CHECK)
    if is_a(TimeoutError):
        return SlideAwayError(shown, f"cannot be read now, its server does not answer within {SILENT_S:g} s", _LATER)
    if status in _GONE or (
        is_a(FileNotFoundError, IsADirectoryError, NotADirectoryError) and not is_a(aiohttp.ClientError)
    ):
        return SlideError(shown, f"is not there{answer}", _CHECK)
    if status:
        return SlideError(shown, f"cannot be read{answer}", _CHECK)
    if is_a(aiohttp.ClientError, OSError):
        reason = type(causes[-1]).__name__
        return SlideAwayError(shown, f"cannot be read now, its server is away or broke off ({reason})", _LATER)
    return SlideError(shown, f"cannot be read ({type(error).__name__})", DOWNLOAD)
