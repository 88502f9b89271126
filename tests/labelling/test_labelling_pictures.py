"""Pictures of the guideline: made small and plain, kept with the project, refused where they are none."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ki67.errors import AbsentError, RefusedError
from ki67.labelling import database as databases
from ki67.labelling.backup import back_up, restore
from ki67.labelling.people import person_named
from ki67.labelling.pictures import MOST_SIDE_PX, add_picture, picture_of
from ki67.labelling.project import the_project
from labelling_office import Office


def picture(kind: str = "PNG", size: tuple[int, int] = (2400, 600), **more: Any) -> bytes:
    made = io.BytesIO()
    Image.new("RGBA" if kind == "PNG" else "RGB", size, (200, 30, 30)).save(made, kind, **more)
    return made.getvalue()


def test_a_picture_is_kept_as_a_jpeg_of_a_screens_size_without_what_its_camera_wrote(office: Office) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "Somebody's name"
    sent = picture("JPEG", exif=exif)
    assert b"Somebody" in sent
    with office.database.session() as session:
        add_picture(session, person_named(session, "tra"), "a nest.jpg", sent)
        kept = picture_of(session, "a nest.jpg")

    assert b"Somebody" not in kept
    with Image.open(io.BytesIO(kept)) as shown:
        assert shown.format == "JPEG"
        assert shown.size == (MOST_SIDE_PX // 4, MOST_SIDE_PX)


def _bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("who", "name", "data", "said"),
    [
        ("rev", "a.png", picture(), "trainers and administrators"),
        ("tra", "../a.png", picture(), "named with letters"),
        ("tra", "a.png", b"<svg onload='x'/>", "no PNG, JPEG or WebP"),
        ("tra", "a.png", picture()[:90], "no PNG, JPEG or WebP"),
        ("tra", "a.png", b"", "no PNG, JPEG or WebP"),
        ("tra", "a.png", _bomb(), "no PNG, JPEG or WebP"),
    ],
)
def test_what_is_no_picture_or_not_theirs_is_refused(
    office: Office, who: str, name: str, data: bytes, said: str
) -> None:
    with office.database.session() as session, pytest.raises(RefusedError, match=said):
        add_picture(session, person_named(session, who), name, data)
    with office.database.session() as session, pytest.raises(AbsentError):
        picture_of(session, name)


def test_a_guideline_brings_its_pictures_along_and_a_backup_keeps_them(
    tmp_path: Path, ki67: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "nest.png").write_bytes(picture(size=(40, 30)))
    text = tmp_path / "guideline.md"
    text.write_text("Outline this:\n\n![A nest](pictures/nest.png)\n\nand no more.\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a long password\n"))
    more = ("--kind", "regions", "--administrator", "boss", "--password-stdin", "--guideline", text)
    made = ki67("label", "init", tmp_path / "project", *more)
    assert made.code == 0, made.stderr

    database = databases.open_database(tmp_path / "project")
    back_up(database, tmp_path / "all.gz")
    database.close()
    restore(tmp_path / "all.gz", tmp_path / "again")
    again = databases.open_database(tmp_path / "again")
    with again.session() as session:
        assert "![A nest](nest.png)" in the_project(session).guideline
        assert picture_of(session, "nest.png").startswith(b"\xff\xd8")
    again.close()

    text.write_text("![A nest](none.png)")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a long password\n"))
    missing = ki67("label", "init", tmp_path / "other", *more)
    assert missing.code == 1
    assert "none.png" in missing.stderr
    assert not list((tmp_path / "other").glob("*"))
