"""A whole project in one file, from one database to the same or another kind of it."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ki67.errors import LabellingError
from ki67.files import atomic_path, parse_json
from ki67.labelling.database import Database, create, discard, newest_version
from ki67.labelling.tables import Base

FORMAT: Final = "ki67 labelling project"
MOST_BYTES: Final = 1 << 31
_WAY_OUT: Final = "Give a file that 'ki67 label backup' wrote."


def back_up(database: Database, target: Path) -> dict[str, Any]:
    """Write all tables, as they stand at one moment, into one packed JSON file.

    It holds the password hashes and the names, so it is readable for its owner only.

    Returns
    -------
    dict
        ``file``, ``version`` of the tables, ``rows`` of each table.
    """
    version = database.version()
    rows: dict[str, int] = {}
    # A look: people save meanwhile, and what they save is not in the file.
    with database.reading() as session, atomic_path(target) as temporary:
        if session.get_bind().dialect.name != "sqlite":
            session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        with gzip.open(temporary, "wt", encoding="utf-8") as stream:
            stream.write(json.dumps({"format": FORMAT, "version": version, "at": time.time()}) + "\n")
            for table in Base.metadata.sorted_tables:
                rows[table.name] = 0
                for row in session.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings():
                    stream.write(json.dumps([table.name, dict(row)]) + "\n")
                    rows[table.name] += 1
    target.chmod(0o600)
    return {"file": str(target), "version": version, "rows": rows}


def restore(source: Path, folder: Path, url: str | None = None) -> dict[str, Any]:
    """Make a project of a backup; the folder must hold none, and the database must be empty.

    Raises
    ------
    LabellingError
        Where the file is none, damaged or of another version, or there is a project already. Nothing is left then of
        a project in a folder.
    """
    header, lines = _lines(source)
    if header.get("version") != newest_version():
        found = f"was made with tables {header.get('version')!r}, this program has {newest_version()}"
        raise LabellingError(source, found, "Restore it with the version of ki67 that wrote it, then update.")
    tables = {table.name: table for table in Base.metadata.sorted_tables}
    database = create(folder, url)
    rows = dict.fromkeys(tables, 0)
    try:
        with database.session() as session:
            for name, row in lines:
                session.execute(sa.insert(tables[name]).values(**row))
                rows[name] += 1
            if session.get_bind().dialect.name == "postgresql":
                _set_counters(session, tables)
    except (KeyError, TypeError, LabellingError, sa.exc.SQLAlchemyError) as error:
        discard(folder, database)
        raise LabellingError(source, f"holds a row that fits no table ({error})", _WAY_OUT) from error
    database.close()
    return {"folder": str(folder), "rows": rows}


def _set_counters(session: Any, tables: dict[str, sa.Table]) -> None:
    """PostgreSQL numbers new rows from a counter of its own."""
    for name, table in tables.items():
        if "id" in table.c:
            last = session.scalar(sa.select(sa.func.max(table.c.id)))
            if last is not None:
                counter = sa.func.pg_get_serial_sequence(name, "id")
                session.execute(sa.select(sa.func.setval(counter, last)))


def _lines(source: Path) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    try:
        with gzip.open(source, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise LabellingError(source, "does not exist", _WAY_OUT) from error
    except (OSError, EOFError, zlib.error) as error:
        raise LabellingError(source, f"is no backup, or damaged ({error})", _WAY_OUT) from error
    if len(data) > MOST_BYTES:
        raise LabellingError(source, "is larger than any project", _WAY_OUT)
    try:
        texts = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise LabellingError(source, "is no backup (not text)", _WAY_OUT) from error
    values = [parse_json(text, source, LabellingError, _WAY_OUT, strict=False) for text in texts]
    if not values or not isinstance(values[0], dict) or values[0].get("format") != FORMAT:
        raise LabellingError(source, "is no backup of a labelling project", _WAY_OUT)
    rows = []
    for value in values[1:]:
        if not (
            isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)
        ):
            raise LabellingError(source, "holds a line that is no row", _WAY_OUT)
        rows.append((value[0], value[1]))
    return values[0], rows
