"""Files below the root, and runs of the program on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ki67.case.manifest import MANIFEST
from ki67.server.places import Places
from ki67.server.routes.common import Number, Shared

router = APIRouter(prefix="/api", tags=["jobs"])

MOST_LISTED: Final = 2000
SLIDE_SUFFIXES: Final = frozenset(
    (
        *(".svs", ".ndpi", ".vms", ".vmu", ".mrxs", ".scn", ".bif", ".tif", ".tiff", ".svslide", ".czi", ".dcm"),
        *(".png", ".jpg", ".jpeg"),
    )
)
"""Ends of the names of files that may be slides; whether one is, opening it tells."""

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Mpp = Annotated[float, Field(gt=0, le=50, allow_inf_nan=False)]


class JobBody(BaseModel):
    """Slides and regions below the root, and the folder of the case; without ``he`` the Ki-67 slide is counted."""

    model_config = ConfigDict(extra="forbid")

    ki67: Name
    out: Name
    he: Name | None = None
    regions: Name | None = None
    landmarks: Name | None = None
    he_mpp: Mpp | None = None
    ki67_mpp: Mpp | None = None


@router.get("/files")
def files(state: Shared, dir: Annotated[str, Query(max_length=2000)] = "") -> dict[str, Any]:  # noqa: A002
    """List a folder below the root: folders, cases, slides and region files."""
    folder = state.places.below(dir, "the folder")
    if not folder.is_dir():
        raise HTTPException(404, "there is no such folder")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise HTTPException(403, f"the folder cannot be read ({error.strerror})") from error
    found = [facts for entry in entries if (facts := _facts(state.places, entry)) is not None]
    parent = None if folder == state.places.root else state.places.relative(folder.parent)
    return {"dir": state.places.relative(folder), "parent": parent, "entries": found[:MOST_LISTED]}


@router.post("/jobs")
def start(body: JobBody, state: Shared) -> dict[str, Any]:
    """Start ``ki67 score`` of a pair, or ``ki67 count`` of a Ki-67 slide; it waits until those before have ended."""
    places = state.places
    slides = [_existing(places, name, "the slide") for name in (body.he, body.ki67) if name is not None]
    out = places.below(body.out, "the case's folder")
    if out == places.root:
        raise HTTPException(422, "the case's folder must be one below the folder that is served")
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).exists() or not any(out.iterdir()))):
        raise HTTPException(409, "this folder holds other things than a case; name another")
    options: list[str] = []
    for option, name in (("--regions", body.regions), ("--landmarks", body.landmarks)):
        if name is not None:
            options += [option, str(_existing(places, name, "the file"))]
    if body.he is None and (body.landmarks is not None or body.he_mpp is not None):
        raise HTTPException(422, "landmarks and he_mpp need he")
    sizes = (("--he-mpp", body.he_mpp), ("--ki67-mpp" if body.he is not None else "--mpp", body.ki67_mpp))
    options += [word for option, mpp in sizes if mpp is not None for word in (option, str(mpp))]
    command = "count" if body.he is None else "score"
    return state.jobs.start(command, slides, out, options).told()


@router.get("/jobs")
def jobs(state: Shared) -> list[dict[str, Any]]:
    """List all runs, the latest first."""
    return [job.told() for job in state.jobs.all()]


@router.get("/jobs/{job_id}")
def job(job_id: Number, state: Shared) -> dict[str, Any]:
    """Tell how far a run is."""
    return state.jobs.get(job_id).told()


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: Number, state: Shared) -> dict[str, Any]:
    """Stop a run; the same run, started again, continues from its last finished stage."""
    return state.jobs.cancel(job_id).told()


def _existing(places: Places, name: str, what: str) -> Path:
    path = places.below(name, what)
    if not path.exists():
        raise HTTPException(404, f"{what} {name!r} does not exist")
    return path


def _facts(places: Places, entry: os.DirEntry[str]) -> dict[str, Any] | None:
    """What a page shows of an entry; None for what it has no use for, or may not reach."""
    path = Path(entry.path)
    try:
        if entry.name.startswith(".") or not places.holds(path):
            return None
        folder, size = entry.is_dir(), entry.stat().st_size
    except OSError:
        return None
    told = {"name": entry.name, "path": places.relative(path), "bytes": None if folder else size}
    if folder:
        kind = "case" if (path / MANIFEST).exists() else "folder"
        return told | {"kind": kind, "case": places.case_id(path) if kind == "case" else None}
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return told | {"kind": "slide"}
    if entry.name.lower().endswith((".geojson", ".geojson.gz")):
        return told | {"kind": "regions"}
    return told | {"kind": "landmarks"} if path.suffix.lower() == ".csv" else None
