"""Migrations, backup, export into the program's own commands, the command line, PostgreSQL."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from shapely import box
from shapely.geometry import mapping

from ki67.annotations import Region, Regions, read_regions, write_regions
from ki67.errors import LabellingError, RefusedError
from ki67.labelling import database as databases
from ki67.labelling.backup import back_up, restore
from ki67.labelling.database import Database
from ki67.labelling.delivering import pack
from ki67.labelling.people import person_named
from ki67.labelling.project import labels_of_file
from ki67.labelling.readings import take_step
from ki67.labelling.studies import close_study, start_study
from ki67.labelling.study_results import file_of
from ki67.labelling.tables import Base, Label
from ki67.labelling.words import Act, Delivery, LabelKind, ReadingAct, StudyFile
from ki67.labelling.work import current_labels, task_of
from ki67.slides import PixelFrame, open_slide
from labelling_office import Office, fill, point, write_slides


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    with database.session() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(sa.select(table).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(json.dumps(value) for value in row) for row in rows]
    return found


def test_the_tables_of_the_migrations_are_those_of_the_program(office: Office) -> None:
    with office.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migrations_go_down_and_up_again_with_data(office: Office) -> None:
    office.to_accepted("ann", office.tasks()[0], point(1.0))
    before = content(office.database)

    office.database.migrate("0001")
    assert office.database.version() == "0001"
    office.database.close()
    again = databases.open_database(office.folder)

    assert again.version() == databases.newest_version()
    assert content(again) == before
    again.migrate("base")
    assert again.version() == ""
    again.migrate()
    assert content(again)["label"] == []
    again.close()


def test_a_newer_project_is_refused(office: Office) -> None:
    with office.database.session() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    office.database.close()

    with pytest.raises(LabellingError, match="newer version"):
        databases.open_database(office.folder)


def test_a_backup_restores_everything(office: Office, tmp_path: Path) -> None:
    office.to_accepted("ann", office.tasks()[0], point(1.0))
    file = tmp_path / "project.backup"

    told = back_up(office.database, file)
    restore(file, tmp_path / "again")

    assert told["rows"]["label"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = databases.open_database(tmp_path / "again")
    assert content(again) == content(office.database)
    Office(tmp_path / "again", again).to_accepted("bob", office.tasks()[1], point(2.0))
    again.close()
    with pytest.raises(LabellingError, match="holds a labelling project"):
        restore(file, tmp_path / "again")


def test_people_save_while_a_backup_is_written(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, written = office.tasks()[0], json.dumps
    office.act("boss", task, Act.assign, to="ann")
    office.act("ann", task, Act.begin)
    saved: list[int] = []

    def slowly(row: Any) -> str:
        if isinstance(row, dict):  # the head, before the first look
            return written(row)
        monkeypatch.undo()
        with sqlite3.connect(office.folder / databases.SQLITE, timeout=1) as other:
            other.execute("BEGIN IMMEDIATE")
        saved.append(office.save("ann", task, point(5.0))[0]["version"])
        return written(row)

    monkeypatch.setattr(json, "dumps", slowly)
    told = back_up(office.database, tmp_path / "all.gz")

    assert saved == [1]
    restore(tmp_path / "all.gz", tmp_path / "again")
    again = databases.open_database(tmp_path / "again")
    with again.reading() as session:
        assert len(current_labels(session, task_of(session, task))) == told["rows"]["label"]
    again.close()


def test_what_is_no_backup_leaves_no_project(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "b"
    back_up(office.database, file)
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    header = json.loads(lines[0])
    bad = {
        "plain": b"hello",
        "cut": file.read_bytes()[:-20],
        "empty": gzip.compress(b""),
        "other": gzip.compress(b'{"format": "x"}'),
        "version": gzip.compress(json.dumps(header | {"version": "0000"}).encode()),
        "line": gzip.compress((lines[0] + "\n[1]").encode()),
        "table": gzip.compress((lines[0] + '\n["cats", {}]').encode()),
        "row": gzip.compress((lines[0] + '\n["task", {"id": 1}]').encode()),
        "column": gzip.compress((lines[0] + '\n["task", {"purr": 1}]').encode()),
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LabellingError) as caught:
            restore(tmp_path / name, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out" / databases.SETTINGS).exists()
        assert not (tmp_path / "out" / databases.SQLITE).exists()


def test_accepted_regions_go_straight_into_idc_sample(tmp_path: Path, ki67: Callable[..., Any]) -> None:
    database = databases.create(tmp_path / "project", None)
    with database.session() as session:
        fill(session, tmp_path, LabelKind.regions, 3, ("train", "val", "test"))
    office = Office(tmp_path / "project", database)
    ring = [[2.0, 2.0], [20.0, 2.0], [20.0, 20.0], [2.0, 20.0], [2.0, 2.0]]
    hole = [[5.0, 5.0], [9.0, 5.0], [9.0, 9.0], [5.0, 9.0], [5.0, 5.0]]
    for name, task in zip(("ann", "bob", "ann"), office.tasks(), strict=True):
        outline = {"type": "Polygon", "coordinates": [ring, hole]}
        office.to_accepted(name, task, point(0) | {"label": "IDC", "geometry": outline})

    with database.session() as session:
        told = pack(session, person_named(session, "boss"), Delivery.idc).write(session, tmp_path / "out")

    assert told["left_out"] == {"test": 1, "not_accepted": 0}
    rows = list(csv.DictReader((tmp_path / "out" / "slides.csv").read_text().splitlines()))
    assert [row["split"] for row in rows] == ["train", "val"]
    for row in rows:
        assert (tmp_path / "out" / row["slide"]).is_file()
        found = read_regions(tmp_path / "out" / row["regions"], PixelFrame(0.5))
        assert found[0].geometry.area == pytest.approx(18 * 18 - 16)
    from ki67.fields.slide_list import read_slide_list

    assert [entry.patient for entry in read_slide_list(tmp_path / "out" / "slides.csv")] == ["p0", "p1"]
    with database.session() as session, pytest.raises(RefusedError, match="needs a project of cells"):
        pack(session, person_named(session, "boss"), Delivery.gold).write(session, tmp_path / "out")
    database.close()


def test_accepted_cells_go_straight_into_gold_make_and_cells_train(
    office: Office, tmp_path: Path, ki67: Callable[..., Any]
) -> None:
    for task in office.tasks()[:2]:
        cells = [point(float(2 * n), 5.0, "Positive" if n < 3 else "Negative") for n in range(10)]
        office.to_accepted("ann", task, *cells)
    with office.database.session() as session:
        boss = person_named(session, "boss")
        pack(session, boss, Delivery.gold).write(session, tmp_path / "gold")
        told = pack(session, boss, Delivery.cells).write(session, tmp_path / "cells")
    assert told["labels"] == 20

    gold = ki67("gold", "make", tmp_path / "gold", "--whole-slides", "--mpp", "0.5", "--json")

    assert gold.code == 0, gold.stderr
    assert gold.json["pooled_percent"] == 30.0
    from ki67.fields.labelled_fields import read_fields

    fields = read_fields(tmp_path / "cells", "qupath", 0.5)
    assert [len(field.points["positive"]) for field in fields] == [3, 3]


def test_a_file_of_labels_that_lie_beside_the_slide_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_slides(tmp_path / "slides", 1)
    told: list[str] = []
    monkeypatch.setattr("ki67.labelling.project.message", told.append)
    at_the_edge, sliver = box(60, 4, 120, 40), box(2, 2, 18, 2.0004)
    drawn = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": mapping(one), "properties": {"classification": {"name": "IDC"}}}
            for one in (at_the_edge, sliver)
        ],
    }
    (tmp_path / "r.geojson").write_text(json.dumps(drawn))
    with open_slide(tmp_path / "slides" / "s0.png", 0.5) as slide:
        found = labels_of_file(tmp_path / "r.geojson", slide, LabelKind.regions, {"IDC"})
        assert len(found) == 1
        assert "left out 1 area" in "".join(told)
        # Of another slide: 32 µm wide is this one.
        write_regions(tmp_path / "r.geojson", Regions([Region("IDC", box(90, 2, 99, 20), "a")]), PixelFrame(0.5))
        with pytest.raises(RefusedError, match=r"beside the slide, at \(9[0-9], 11\) µm of 32 x 32 µm"):
            labels_of_file(tmp_path / "r.geojson", slide, LabelKind.regions, {"IDC"})


def test_the_process_from_the_command_line(
    tmp_path: Path, ki67: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    slides = write_slides(tmp_path / "slides", 2)
    drawn = Regions(
        [
            Region("IDC", box(2, 2, 20, 20), "a"),
            Region("DCIS", box(22, 2, 30, 20), "b"),
        ]
    )
    write_regions(tmp_path / "r.annotations", drawn, PixelFrame(0.5))

    def run(*words: object) -> dict[str, Any]:
        outcome = ki67("label", *words, "--json")
        assert outcome.code == 0, outcome.stderr
        found: dict[str, Any] = outcome.json
        return found

    run("init", folder, "--administrator", "boss", "--allow-prelabels")
    run("add-slides", folder, slides)
    for name, role in (("ann", "labeller"), ("lea", "leader")):
        run("add-person", folder, name, "--role", role, "--group", "A")
    for name, role in (("rev", "reviewer"), ("qua", "quality")):
        run("add-person", folder, name, "--role", role)
    assert len(run("assign", folder)["tasks"]) == 2
    tasks = run("list", folder)["tasks"]
    assert run("prelabel", folder, 1, tmp_path / "r.annotations", "--source", "model 3")["labels"] == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("a password for ann\n"))
    run("set-password", folder, "ann")
    assert [one["can_log_in"] for one in run("list", folder, "--people")["people"]] == [False, True, *[False] * 3]
    for task in tasks:
        own = task["labeller"]
        run("act", folder, task["task"], "begin", "--by", own)
        assert (
            run("act", folder, task["task"], "submit", "--by", own, "--labels", tmp_path / "r.annotations")["saved"]
            == 2
        )
        run("act", folder, task["task"], "take_review", "--by", "rev")
        run("act", folder, task["task"], "accept", "--by", "rev")
    draw = run("draw", folder, "--group", "A", "--by", "qua", "--seed", 7)["draw"]
    check = next(task for task in run("list", folder)["tasks"] if task["kind"] == "check")
    run("act", folder, check["task"], "begin", "--by", "qua")
    run("act", folder, check["task"], "submit", "--by", "qua", "--labels", tmp_path / "r.annotations")
    assert run("conclude", folder, draw, "--by", "qua")["passed"] is True
    assert run("status", folder)["done"] == 2
    assert run("export", folder, tmp_path / "out", "--as", "idc")["slides"] == 2
    run("backup", folder, tmp_path / "b")
    run("restore", tmp_path / "b", tmp_path / "again")
    assert run("remove-name", tmp_path / "again", "ann")["shown_as"].startswith("former member")
    assert run("unblind", folder)["unblinded"]

    for words, message in (
        (("act", folder, 1, "accept", "--by", "rev"), "only from in_review"),
        (("act", folder, 1, "begin", "--by", "nobody"), "no active person"),
        (("act", folder, 99, "begin", "--by", "ann"), "no task 99"),
        (("prelabel", folder, 1, tmp_path / "r.annotations", "--source", "model 3"), "labelling not begun"),
        (("draw-squares", folder, "--seed", 1), "projects of cells"),
        (("init", folder, "--administrator", "x"), "holds a labelling project"),
        (("init", tmp_path / "n", "--administrator", "x", "--class", "IDC"), "expected NAME=#rrggbb"),
        (("init", tmp_path / "n", "--administrator", "x", "--database", "what://"), "no database that can be opened"),
        (("list", tmp_path / "nothing"), "does not exist"),
    ):
        outcome = ki67("label", *words)
        assert outcome.code == 1, outcome.stderr
        assert message in outcome.stderr
        assert outcome.stderr.count("\n") == 1
    assert ki67("label", "act", folder, 1, "qc_pass", "--by", "qua").code == 2
    assert not (tmp_path / "n" / databases.SETTINGS).exists()


def _postgres() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """Address of a PostgreSQL of Debian's package, started for one test."""
    programs = _postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    data = Path("/tmp") / f"ki67-postgres-{os.getpid()}"
    data.mkdir(mode=0o700)
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    port = 20_000 + os.getpid() % 20_000

    def run(*words: str) -> None:
        subprocess.run([*as_user, *words], check=True, capture_output=True, cwd="/")

    try:
        run(str(programs / "initdb"), "-D", f"{data}/db", "-A", "trust", "-U", "ki67", "--no-sync", "-E", "UTF8")
        options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
        run(str(programs / "pg_ctl"), "-D", f"{data}/db", "-o", options, "-w", "-l", f"{data}/log", "start")
        yield f"postgresql+pg8000://ki67@127.0.0.1:{port}/postgres"
    finally:
        if (data / "db").exists():
            subprocess.run(
                [*as_user, str(programs / "pg_ctl"), "-D", f"{data}/db", "-m", "immediate", "stop"],
                check=False, capture_output=True, cwd="/",
            )  # fmt: skip
        shutil.rmtree(data, ignore_errors=True)


def test_the_same_on_postgresql(office: Office, tmp_path: Path, postgres: str) -> None:
    office.to_accepted("ann", office.tasks()[0], point(1.0))
    back_up(office.database, tmp_path / "b")

    restore(tmp_path / "b", tmp_path / "pg", postgres)
    there = databases.open_database(tmp_path / "pg")

    assert content(there) == content(office.database)
    moved = Office(tmp_path / "pg", there)
    moved.to_accepted("bob", moved.tasks()[1], point(2.0))
    with pytest.raises(RefusedError):
        moved.act("bob", moved.tasks()[1], Act.accept)
    with there.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    with pytest.raises(LabellingError, match="only added to"), there.session() as session:
        session.execute(sa.text("DELETE FROM event"))
    before = content(there)
    there.migrate("0001")
    there.migrate()
    assert content(there) == before
    with there.session() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Label)) == 2
    back_up(there, tmp_path / "back")
    restore(tmp_path / "back", tmp_path / "lite")
    back = databases.open_database(tmp_path / "lite")
    assert content(back) == before
    back.close()
    # A reader study, and back with it.
    with there.session() as session:
        start_study(session, person_named(session, "boss"), "One", {"s0": [], "s1": []}, ["ann"])
        for act in (ReadingAct.begin, ReadingAct.answer, ReadingAct.finish):
            take_step(session, person_named(session, "ann"), 1, act, place=1, percent=12)
        close_study(session, person_named(session, "boss"), 1)
        told = file_of(session, person_named(session, "boss"), 1, StudyFile.imrmc)
    assert told.splitlines()[1].startswith("ann,s")
    with pytest.raises(LabellingError, match="only added to"), there.session() as session:
        session.execute(sa.text("UPDATE reading_event SET percent = 13"))
    back_up(there, tmp_path / "study")
    restore(tmp_path / "study", tmp_path / "lite-study")
    back = databases.open_database(tmp_path / "lite-study")
    assert content(back) == content(there)
    back.close()
    there.migrate("base")
    there.close()
    with pytest.raises(LabellingError, match="cannot be used"):
        databases.create(tmp_path / "far", "postgresql+pg8000://ki67@127.0.0.1:9/none")
