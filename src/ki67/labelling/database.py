"""The database of a project: SQLite in the project's folder, or PostgreSQL by its address."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from ki67.errors import LabellingError
from ki67.files import make_folder, read_json, write_json

SETTINGS: Final = "labelling.json"
SQLITE: Final = "labelling.db"

BUSY_MS: Final = 30_000
"""So long a writer waits for another; a save takes milliseconds."""

_AGAIN: Final = "Make a project with: ki67 label init DIR."
_UNUSABLE: Final = (
    "See that it can be reached and written to; a damaged one is restored from a backup: ki67 label restore FILE DIR."
)
"""Never the advice to make a new project, where people have worked in this one."""


class Database:
    """A project's database; closed by :meth:`close`."""

    def __init__(self, url: str, what: str | Path) -> None:
        self.what = Path(what)
        self._turn = threading.Lock()
        try:
            self.engine = _engine(url)
        except (ArgumentError, ImportError) as error:
            raise LabellingError(what, f"names no database that can be opened ({error})", _AGAIN) from error
        self._looked_at = self.engine.execution_options(ki67_looks=True)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: all of it is kept, or nothing.

        On SQLite, which has one writer at a time, threads of this program wait for their turn here: SQLite's own way
        of waiting is to try again now and then, by which the last of many waits for long.

        Raises
        ------
        LabellingError
            Where the database cannot be reached or is damaged.
        """
        try:
            turn = self._turn if self.engine.dialect.name == "sqlite" else contextlib.nullcontext()
            with turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DBAPIError as error:
            reason = str(error.orig).splitlines()[0]
            raise LabellingError(self.what, f"has a database that cannot be used ({reason})", _UNUSABLE) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """Look at one state of the database, without waiting for a writer; nothing is kept of what is changed in it.

        Raises
        ------
        LabellingError
            Where the database cannot be reached or is damaged.
        """
        try:
            with Session(self._looked_at, expire_on_commit=False, autoflush=False) as session:
                yield session
        except DBAPIError as error:
            reason = str(error.orig).splitlines()[0]
            raise LabellingError(self.what, f"has a database that cannot be used ({reason})", _UNUSABLE) from error

    def migrate(self, target: str = "head") -> None:
        """Bring the tables to a version: ``head``, ``base`` or one between."""
        with self._connection() as connection:
            config = _alembic(connection)
            if target == "base" or (target != "head" and self._version(connection) > target):
                alembic.command.downgrade(config, target)
            else:
                alembic.command.upgrade(config, target)

    @staticmethod
    def _version(connection: Connection) -> str:
        return MigrationContext.configure(connection).get_current_revision() or ""

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error)).splitlines()[0]
            raise LabellingError(self.what, f"has a database that cannot be used ({reason})", _UNUSABLE) from error

    def version(self) -> str:
        """Version of the tables; empty where there are none."""
        with self._connection() as connection:
            return self._version(connection)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


def newest_version() -> str:
    """Version of the tables that this program makes."""
    return alembic.script.ScriptDirectory.from_config(_alembic(None)).get_current_head() or ""


def create(folder: Path, url: str | None) -> Database:
    """Make the database of a new project.

    Raises
    ------
    LabellingError
        Where the folder holds a project, or the database cannot be reached or is not empty.
    """
    if (folder / SETTINGS).exists():
        raise LabellingError(folder, "holds a labelling project", "Choose another folder.")
    make_folder(folder)
    database = Database(_url(folder, url), folder)
    if database.version():
        database.close()
        raise LabellingError(folder, "names a database that holds a project", "Choose another database.")
    database.migrate()
    settings = folder / SETTINGS
    write_json(settings, {"database": url})
    settings.chmod(0o600)  # the address may hold a password
    if url is None:
        (folder / SQLITE).chmod(0o600)  # names and password hashes; its companions get the same rights
    return database


def discard(folder: Path, database: Database) -> None:
    """Take away what :func:`create` made, where filling it failed."""
    database.migrate("base")
    database.close()
    for name in (SETTINGS, SQLITE, f"{SQLITE}-wal", f"{SQLITE}-shm"):
        (folder / name).unlink(missing_ok=True)


def open_database(folder: Path) -> Database:
    """Open the database of a project, its tables brought to this program's version.

    Raises
    ------
    LabellingError
        Where there is no project, its database cannot be reached, or it was made by a newer version.
    """
    settings = read_json(folder / SETTINGS, LabellingError, _AGAIN)
    url = settings.get("database") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not (url is None or isinstance(url, str)):
        raise LabellingError(folder / SETTINGS, "is not a project's settings", _AGAIN)
    if url is None and not (folder / SQLITE).is_file():
        raise LabellingError(folder / SQLITE, "does not exist", "Restore it with: ki67 label restore FILE DIR.")
    database = Database(_url(folder, url), folder)
    found, newest = database.version(), newest_version()
    if found > newest:
        database.close()
        raise LabellingError(folder, f"was made by a newer version (tables {found}, here {newest})", "Update ki67.")
    if found < newest:
        database.migrate()
    return database


def _url(folder: Path, url: str | None) -> str:
    return f"sqlite:///{os.fspath((folder / SQLITE).absolute())}" if url is None else url


def _engine(url: str) -> Engine:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    """Write-ahead log, every commit on the disk before it is told, references kept; transactions begun by hand.

    What is deleted, a person's name say, is overwritten in the file.
    """
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        f"busy_timeout={BUSY_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    """Who will write takes the writer's place at once; who looks only waits for nobody."""
    looks = connection.get_execution_options().get("ki67_looks", False)
    connection.exec_driver_sql("BEGIN" if looks else "BEGIN IMMEDIATE")


def _alembic(connection: Connection | None) -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", os.fspath(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
