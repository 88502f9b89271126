"""Reader studies for who holds them: begun, watched, given a standard, closed, handed out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from ki67.errors import FileError, RefusedError, RegionError
from ki67.labelling.people import list_people
from ki67.labelling.studies import (
    MOST_SLIDES,
    close_study,
    give_standard,
    regions_on,
    slide_named,
    start_study,
    status_of,
    studies_for,
    study_for,
)
from ki67.labelling.study_law import LEAST_MINUTES, MINUTES, MOST_MINUTES, ORGANISERS
from ki67.labelling.study_results import file_of, ranking_for
from ki67.labelling.tables import Slide
from ki67.labelling.words import StudyFile
from ki67.server.routes.office import Account, Body, Name, Number, Office, Seed

T = TypeVar("T")
router = APIRouter(prefix="/api/labelling/studies", tags=["studies"])

Text = Annotated[str, Field(max_length=2_000_000)]


class SlideBody(Body):
    """A slide of the project, and the text of a region file of any program whose outlines readers see."""

    slide: Name
    regions: Text | None = None


class StudyBody(Body):
    """A study; ``standard`` is a CSV as `ki67 compete` reads it."""

    name: Name
    slides: Annotated[list[SlideBody], Field(min_length=1, max_length=MOST_SLIDES)]
    readers: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    minutes: Annotated[float, Field(ge=LEAST_MINUTES, le=MOST_MINUTES, allow_inf_nan=False)] = MINUTES
    live: bool = False
    seed: Seed = 2020
    standard: Text | None = None


class StandardBody(Body):
    """A gold standard, as a CSV."""

    standard: Text


@router.get("")
def studies(office: Office, account: Account) -> dict[str, Any]:
    """List the studies, and the slides and people that another one can be made of."""
    with office.looking(account) as (db, by):
        found = studies_for(db, by, now=office.clock())
        people = [one for one in list_people(db) if one["active"] and one["role"] not in ORGANISERS]
        return {
            "studies": found,
            "slides": list(db.scalars(sa.select(Slide.name).order_by(Slide.id))),
            "people": [{"name": one["name"], "role": one["role"]} for one in people],
        }


@router.post("")
def start(body: StudyBody, office: Office, account: Account) -> dict[str, Any]:
    """Start a study."""
    with office.looking(account) as (db, by):
        rows = {one.slide: slide_named(db, by, one.slide) for one in body.slides}
    if len(rows) < len(body.slides):
        raise RefusedError("a slide is named twice")
    outlines = {one.slide: _outlines(one, rows[one.slide]) for one in body.slides}
    with office.acting(account) as (db, by):
        study = start_study(
            db,
            by,
            body.name,
            outlines,
            body.readers,
            minutes=body.minutes,
            live=body.live,
            seed=body.seed,
            now=office.clock(),
        )
        number, warnings = study.id, []
        if body.standard is not None:
            warnings = _of_text(body.standard, "standard", lambda file: give_standard(db, by, number, file))
        return {"study": number, "warnings": warnings}


@router.get("/{number}")
def study(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Tell how far a study is."""
    with office.looking(account) as (db, by):
        return status_of(db, study_for(db, by, number), now=office.clock())


@router.post("/{number}/standard")
def standard(number: Number, body: StandardBody, office: Office, account: Account) -> dict[str, list[str]]:
    """Give the gold standard; until the study is closed another one takes its place."""
    with office.acting(account) as (db, by):
        return {"warnings": _of_text(body.standard, "standard", lambda file: give_standard(db, by, number, file))}


@router.post("/{number}/close")
def close(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Close a study, once and for all."""
    with office.acting(account) as (db, by):
        return {"closed": close_study(db, by, number, now=office.clock()).closed}


@router.get("/{number}/ranking")
def ranking(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Rank the readers, for whoever may know it now."""
    with office.looking(account) as (db, by):
        return ranking_for(db, by, number, now=office.clock())


@router.get("/{number}/files/{file}", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def download(number: Number, file: StudyFile, office: Office, account: Account) -> Response:
    """Hand out a file of a closed study."""
    with office.looking(account) as (db, by):
        text = file_of(db, by, number, file, now=office.clock())
    named = {"content-disposition": f'attachment; filename="study-{number}-{file.value}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=named)


def _outlines(sent: SlideBody, slide: Slide) -> list[dict[str, Any]]:
    if sent.regions is None:
        return []
    return _of_text(sent.regions, f"regions of {sent.slide}", lambda file: regions_on(file, slide.path, slide.mpp))


def _of_text(text: str, what: str, read: Callable[[Path], T]) -> T:
    """Read what was sent as a file is read; errors say what it was, and no place on this machine."""
    with _written(text) as path:
        try:
            return read(path)
        except FileError as error:
            raise RefusedError(f"{what}: {error.found}. {error.way_out}".strip()) from error
        except RegionError as error:
            raise RefusedError(str(error).replace(str(path), what)) from error


@contextmanager
def _written(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ki67-") as folder:
        path = Path(folder) / "sent"
        path.write_text(text, encoding="utf-8")
        yield path
