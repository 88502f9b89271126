"""Pictures of the guideline: what a labeller is to outline, shown."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from PIL import ExifTags, Image
from sqlalchemy.orm import Session

from ki67.errors import AbsentError, AnnotationError, RefusedError
from ki67.labelling.journal import note
from ki67.labelling.people import require_guideline_writer
from ki67.labelling.tables import Person, Picture

MOST_SIDE_PX: Final = 1600
"""A picture is made no larger than a screen."""

MOST_PICTURES: Final = 200
MOST_BYTES: Final = 40_000_000
_MOST_PX: Final = 60_000_000
_NAME: Final = re.compile(r"[\w][\w .,()+-]{0,98}", re.ASCII)
_IN_TEXT: Final = re.compile(r"!\[[^\]\n]*\]\(([^()\n]+)\)")
_QUALITY: Final = 90
_UPRIGHT: Final[Mapping[Any, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By what a camera says of how it was held (Exif)."""


def add_picture(session: Session, by: Person, name: str, data: bytes) -> None:
    """Keep a picture for the guideline, in place of one of the same name; it is made a JPEG of a screen's size.

    Parameters
    ----------
    session
        Of the project's database.
    by
        A trainer or an administrator.
    name
        As ``![what it shows](name)`` in the guideline names it.
    data
        PNG, JPEG or WebP.

    Raises
    ------
    RefusedError
        For others, for a name of other letters, and for what is no picture.
    """
    may_add_picture(by, name)
    keep_picture(session, by, name, as_jpeg(data))


def may_add_picture(by: Person, name: str) -> None:
    """Stop who writes no guideline, and names of other letters, before a picture is looked at.

    Raises
    ------
    RefusedError
        For those.
    """
    require_guideline_writer(by)
    if not _NAME.fullmatch(name):
        raise RefusedError(f"a picture is named with letters, digits, spaces and .,()+-_, not {name[:60]!r}")


def keep_picture(session: Session, by: Person, name: str, jpeg: bytes) -> None:
    """Keep what :func:`as_jpeg` made, which takes seconds for a large picture: nobody waits for it to save a label.

    Raises
    ------
    RefusedError
        As :func:`may_add_picture`, and for too many pictures.
    """
    may_add_picture(by, name)
    known = session.get(Picture, name)
    if known is None and (session.scalar(sa.select(sa.func.count()).select_from(Picture)) or 0) >= MOST_PICTURES:
        raise RefusedError(f"a guideline has at most {MOST_PICTURES} pictures")
    content = base64.b64encode(jpeg).decode("ascii")
    if known is None:
        session.add(Picture(name=name, content=content))
    else:
        known.content = content
    note(session, by.id, "picture", detail={"name": name})


def as_jpeg(data: bytes) -> bytes:
    """Make a JPEG of a screen's size of a picture: nothing but its pixels, the right way up.

    Raises
    ------
    RefusedError
        For what is no PNG, JPEG or WebP, or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            if opened.width * opened.height > _MOST_PX:
                raise RefusedError(f"a picture has at most {_MOST_PX // 10**6} megapixels")
            turn = _UPRIGHT.get(opened.getexif().get(ExifTags.Base.Orientation))
            opened.thumbnail((MOST_SIDE_PX, MOST_SIDE_PX))
            rgba = opened.convert("RGBA")
    except (
        OSError,
        ValueError,
        SyntaxError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise RefusedError(f"this is no PNG, JPEG or WebP picture ({error})") from error
    rgba = rgba if turn is None else rgba.transpose(turn)
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    made = io.BytesIO()
    # From here on nothing but pixels: places and names of cameras are gone.
    flat.save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()


def picture_of(session: Session, name: str) -> bytes:
    """Return a picture, as JPEG.

    Raises
    ------
    AbsentError
        Where there is none of this name.
    """
    found = session.get(Picture, name)
    if found is None:
        raise AbsentError(f"the guideline has no picture {name[:60]!r}")
    return base64.b64decode(found.content)


def add_pictures_of_text(session: Session, by: Person, text: str, path: Path) -> str:
    """Keep the pictures that a guideline's file shows, which lie beside it; returns the text with their names.

    Raises
    ------
    AnnotationError
        Where one is missing or cannot be read.
    RefusedError
        As :func:`add_picture`.
    """
    names: dict[str, str] = {}
    for shown in dict.fromkeys(_IN_TEXT.findall(text)):
        lies = path.parent / shown
        try:
            with lies.open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
        except OSError as error:
            way_out = "Give its place relative to the guideline's file."
            raise AnnotationError(
                path, f"shows {shown!r}, which cannot be read ({error.strerror})", way_out
            ) from error
        if len(data) > MOST_BYTES:
            raise AnnotationError(path, f"shows {shown!r}, which is larger than {MOST_BYTES // 10**6} MB")
        names[shown] = _free(lies, names.values())
        add_picture(session, by, names[shown], data)
    return _IN_TEXT.sub(lambda found: f"{found[0][: found.start(1) - found.start()]}{names[found[1]]})", text)


def _free(path: Path, taken: Collection[str]) -> str:
    """Name of a file, with a number where a file of another folder has it already."""
    name, number = path.name, 2
    while name in taken:
        name, number = f"{path.stem}-{number}{path.suffix}", number + 1
    return name
