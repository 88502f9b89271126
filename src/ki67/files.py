"""Files that appear whole or not at all, and text and JSON that are read as a known error where they are damaged."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ki67.errors import DiskFullError, FileError, WriteError

_TEMPORARY_PREFIX = ".part-"
_TEMPORARY_NAME = re.compile(r"\.part-[a-z0-9_]{8}-(.+)", re.DOTALL)
_LONGEST_NAME_BYTES = 200
"""Of a target, that its temporary name stays within the 255 bytes that file systems allow."""

HIDDEN = "***@"
"""Stands in a URL that is shown or recorded where its user, password or query was left out."""

_URL = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s'\"]*[^\s'\":;]"
    # and up to a query or a user on the same line, as names of files may hold spaces and quotes
    rf"(?:(?:(?!:/|{re.escape(HIDDEN)})[^\n])*(?:\?(?=[^\s'\")])|@)(?:[^\s'\"]*[^\s'\":;])?)?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:@;\s]*)(:\d*)?")
_ADDRESS = re.compile(r"([^/?#]*@)?\[[0-9A-Fa-f:.%]+\]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_IN_JSON = re.compile(r"\\u[dD][89a-fA-F]")

MOST_TEXT_BYTES = 1 << 30
"""A text file beyond this is none that a person or a program made for this one."""

DEEPEST_JSON = 64
"""Levels of nesting in a JSON file of the program's own kinds; they have fewer than ten."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_CANNOT_BE_WRITTEN = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EFBIG}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed over ``path``.

    The temporary name keeps the suffixes of ``path``, so that writers which go by the extension work. On any
    error the temporary file is removed and ``path`` stays as it was.

    Raises
    ------
    WriteError
        Where the disk is full or the folder cannot be written to.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, suffix="-" + _short(target.name), dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        _unfinished.add(temporary)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        fsync_folder(target.parent)
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError | FileNotFoundError) and temporary is None:
            raise WriteError(target, f"has no folder ({error.strerror})", "Choose another folder.") from error
        known = _in_words(target, error)
        if known is None:
            raise
        raise known from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
            _unfinished.discard(temporary)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; what is put there under ``path``'s name takes its place on success.

    What was there before is removed then; on any error it stays as it was.

    Raises
    ------
    WriteError
        Where the disk is full or the folder cannot be written to.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY_PREFIX, dir=target.parent) as name:
            yield Path(name)
            before = Path(name, "before")
            if target.exists():
                target.rename(before)
            try:
                Path(name, target.name).rename(target)
            except OSError:
                if before.exists():
                    before.rename(target)
                raise
        fsync_folder(target.parent)
    except OSError as error:
        known = _in_words(target, error)
        if known is None:
            raise
        raise known from error


def _in_words(target: Path, error: OSError) -> WriteError | None:
    """What keeps a file from being written in the program's words; None where it has none."""
    if error.errno in DISK_FULL:
        return disk_full(target)
    if error.errno in _CANNOT_BE_WRITTEN:
        return WriteError(target, f"cannot be written ({error.strerror})", "Choose another folder.")
    return None


def disk_full(path: str | Path) -> DiskFullError:
    """Return the error for a file that found no more room."""
    return DiskFullError(path, "the disk is full", "Free some space and run the same command again.")


_unfinished: set[Path] = set()


def remove_unfinished() -> None:
    """Remove what is being written at this moment, where the process ends without the writers being asked."""
    for path in list(_unfinished):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """Make a folder, and those above it, where it is not there yet.

    Raises
    ------
    WriteError
        Where there is a file of that name, or the folder above cannot be written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, f"cannot be made a folder ({error.strerror})", "Choose another folder.") from error
    return folder


def _short(name: str) -> str:
    """Return a name's end, suffixes included, where the whole of it leaves no room for more."""
    while len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = name[1:]
    return name


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder last, whatever happens to the power."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically; what is no Unicode is written as :func:`printable` shows it."""
    with atomic_path(path) as temporary:
        temporary.write_text(printable(text), encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, two spaces, a newline at the end, so that equal data is equal bytes."""
    write_text(path, json_text(value, indent=2, sort_keys=True) + "\n")


def printable(text: str) -> str:
    r"""Return text as Unicode that every program can read.

    File names that are not UTF-8 reach Python with their bytes as lone surrogates, which no file and no terminal
    takes: such a byte is shown as ``\xfc``, any other lone surrogate as ``\ud800``.
    """
    return _SURROGATE.sub(_escaped, text)


def is_chained(url: str) -> bool:
    """Whether a URL names others within it, as fsspec's ``zip://a.tif::https://host/a.zip``; IPv6 hosts do not."""
    scheme, _, rest = url.partition("://")
    return "::" in scheme or "::" in _ADDRESS.sub("", rest, count=1)


def bare_url(url: str) -> str:
    """Return a URL without what may be secret; :data:`HIDDEN` stands before its host where something was left out."""
    if is_chained(url):
        return f"{url.partition(':')[0]}://{HIDDEN}"
    scheme, slashes, rest = re.split(r"(:/+)", url, maxsplit=1)
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = place.partition("/")
    host = authority.rpartition("@")[2]
    sound = _HOST.fullmatch(host)
    # else a part of a password that should have been written in percent
    if sound is None or "@" in path or (sound[2] and "@" in rest[len(place) :]):
        host = slash = path = ""
    path = path.partition(";")[0]
    return f"{scheme}{slashes}{HIDDEN if f'{host}{slash}{path}' != rest else ''}{host}{slash}{path}"


def without_secrets(text: str) -> str:
    """Return text with each URL in it as :func:`bare_url` gives it."""
    return _URL.sub(lambda match: bare_url(match[0]), text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False, ascii_only: bool = False) -> str:
    """JSON that every reader takes: no NaN, and text as :func:`printable` shows it."""
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    # In JSON text surrogates stand in strings only; a backslash in a string is written twice.
    text = _SURROGATE.sub(lambda match: "\\" + _escaped(match), text)
    if not ascii_only:
        return text
    return json.dumps(json.loads(text), indent=indent, sort_keys=sort_keys)


def read_text(path: str | Path, error: type[FileError], way_out: str, what: str = "text") -> str:
    """Read UTF-8 text, with or without its mark at the beginning.

    Parameters
    ----------
    path
        The file.
    error
        What is raised where it cannot be read, with ``way_out``.
    what
        What the file should be, for the message.

    Raises
    ------
    FileError
        Of the kind ``error``: the file is missing, no regular file (a pipe would hang), too large or no text.
    """
    source = Path(path)
    try:
        facts = source.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise error(source, f"cannot be read (it is a folder, not {what})", way_out)
        if not stat.S_ISREG(facts.st_mode):
            raise error(source, f"is no regular file, so not {what}", way_out)
        if facts.st_size > MOST_TEXT_BYTES:
            raise error(source, f"is {facts.st_size / 1e9:.1f} GB large, too large for {what}", way_out)
        return source.read_text(encoding="utf-8-sig")
    except FileNotFoundError as fault:
        raise error(source, "does not exist", way_out) from fault
    except UnicodeDecodeError as fault:
        raise error(source, f"is not UTF-8 text (byte {fault.start}), so not {what}", way_out) from fault
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise error(source, f"cannot be read ({reason})", way_out) from fault


def read_json(path: str | Path, error: type[FileError], way_out: str, what: str = "JSON") -> Any:
    """Read JSON from a file of the program's own kinds; parameters and errors as :func:`read_text`."""
    text = read_text(path, error, way_out, what)
    value = parse_json(text, path, error, way_out)
    return _without_surrogates(value) if _SURROGATE_IN_JSON.search(text) else value


def parse_json(text: str, path: str | Path, error: type[FileError], way_out: str, *, strict: bool = True) -> Any:
    """Parse the JSON text of a file.

    Parameters
    ----------
    text
        Content of the file.
    path, error, way_out
        As in :func:`read_text`.
    strict
        Refuse NaN and infinities, which are no JSON, numbers beyond those of 64 bits, which become infinities, and
        more than :data:`DEEPEST_JSON` levels of nesting.

    Raises
    ------
    FileError
        Of the kind ``error``, with line and column.
    """
    if not text.strip():
        raise error(path, "is empty", way_out)
    try:
        hooks: dict[str, Any] = (
            {"parse_constant": _refuse_constant, "parse_float": _finite, "parse_int": _whole} if strict else {}
        )
        value = json.loads(text, **hooks)
        if strict and _deeper_than(value, DEEPEST_JSON):
            raise RecursionError
    except json.JSONDecodeError as fault:
        where = f"line {fault.lineno}, column {fault.colno}"
        at_the_end = fault.pos >= len(text.rstrip()) - 1 or fault.msg.startswith("Unterminated string")
        cut = " (the file seems to be cut off)" if at_the_end else ""
        raise error(path, f"is not valid JSON: {fault.msg} at {where}{cut}", way_out) from fault
    except _ConstantError as fault:
        raise error(path, f"is not valid JSON: {fault} is no finite number", way_out) from fault
    except (RecursionError, ValueError) as fault:
        raise error(path, "is not sensible JSON (nested too deep or a number too long)", way_out) from fault
    return value


class _ConstantError(ValueError):
    """NaN or an infinity in JSON, which has none."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _ConstantError(text[:20])
    return value


def _whole(text: str) -> int:
    if len(text) > sys.float_info.max_10_exp:
        raise _ConstantError(f"{text[:20]}…")
    return int(text)


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether JSON is nested deeper; level by level, so that no depth is too much for it."""
    layer = [value]
    for _ in range(levels):
        layer = [
            entry
            for holder in layer
            if isinstance(holder, dict | list)
            for entry in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not layer:
            return False
    return any(isinstance(entry, dict | list) for entry in layer)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_without_surrogates(entry) for entry in value]
    if isinstance(value, dict):
        return {printable(name): _without_surrogates(entry) for name, entry in value.items()}
    return value


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_leftovers(targets: Iterable[str | Path]) -> None:
    """Remove what writers of these files left behind when they were killed; nothing else, however it is called."""
    names: dict[Path, set[str]] = {}
    for target in map(Path, targets):
        names.setdefault(target.parent, set()).add(_short(target.name))
    for folder, own in names.items():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in list(entries):
                match = _TEMPORARY_NAME.fullmatch(entry.name)
                if match and match[1] in own and entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)
