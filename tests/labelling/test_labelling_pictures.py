"""Pictures of the guideline: made small and plain, kept with the project, refused where they are none."""

from __future__ import annotations

import contextlib
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
from ki67.labelling.pictures import MOST_SIDE_PX, add_picture, add_pictures_of_text, as_jpeg, picture_of
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


@pytest.mark.parametrize(
    ("told", "red_at"),
    [
        (1, (0, 0)),
        (2, (1, 0)),
        (3, (1, 1)),
        (4, (0, 1)),
        (5, (0, 0)),
        (6, (1, 0)),
        (7, (1, 1)),
        (8, (0, 1)),
        (9, (0, 0)),
    ],
)
def test_a_picture_stands_as_its_camera_was_held(told: int, red_at: tuple[int, int]) -> None:
    exif, made, shot = Image.Exif(), io.BytesIO(), Image.new("RGB", (60, 40), "blue")
    exif[0x0112] = told
    shot.paste("red", (0, 0, 30, 20))
    shot.save(made, "JPEG", exif=exif)

    with Image.open(io.BytesIO(as_jpeg(made.getvalue()))) as shown:
        assert shown.size == ((40, 60) if 5 <= told <= 8 else (60, 40))
        red, _, blue = shown.getpixel((red_at[0] * (shown.width - 1), red_at[1] * (shown.height - 1)))
        assert red > 200 > blue


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_picture_is_shown_or_refused_wherever_the_damage_is(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8298], exif[0x010F] = 6, "Somebody's name", "A camera"
    sound = picture(kind, (20, 12), exif=exif)
    shown = 0
    for place in range(len(sound)):
        for byte in (0x00, 0x07, 0xFF):
            damaged = sound[:place] + bytes([byte]) + sound[place + 1 :]
            with contextlib.suppress(RefusedError):
                as_jpeg(_with_sums(damaged) if kind == "PNG" else damaged)
                shown += 1
    assert shown


def _with_sums(data: bytes) -> bytes:
    """A PNG whose checksums say that it is sound."""
    made, at = bytearray(data), 8
    while at + 12 <= len(made):
        end = at + 8 + int.from_bytes(made[at : at + 4], "big")
        if end + 4 > len(made):
            break
        made[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(made[at + 4 : end])))
        at = end + 4
    return bytes(made)


def test_pictures_of_one_name_in_several_folders_stay_apart(tmp_path: Path, office: Office) -> None:
    for folder, colour in (("yes", "red"), ("no", "blue"), (".", "white")):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / folder / "nest.png")
    text = (
        "![This](yes/nest.png) [not this](yes/nest.png)\n\n"
        "![Nor this](no/nest.png) ![This](yes/nest.png) ![](nest.png)"
    )
    with office.database.session() as session:
        named = add_pictures_of_text(session, person_named(session, "tra"), text, tmp_path / "guide.md")
        seen = {}
        for name in ("nest.png", "nest-2.png", "nest-3.png"):
            with Image.open(io.BytesIO(picture_of(session, name))) as shown:
                seen[name] = shown.getpixel((4, 4))

    assert named == (
        "![This](nest.png) [not this](yes/nest.png)\n\n![Nor this](nest-2.png) ![This](nest.png) ![](nest-3.png)"
    )
    assert seen["nest.png"][0] > 240 > 20 > seen["nest.png"][2]
    assert seen["nest-2.png"][2] > 240 > 20 > seen["nest-2.png"][0]
    assert min(seen["nest-3.png"]) > 240
