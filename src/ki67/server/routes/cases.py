"""The list of cases, and all that is known of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Body
from pydantic import BaseModel, Field

from ki67.case.artefacts import DISPLACEMENTS, TRANSFORM
from ki67.case.corrections import signed_out
from ki67.case.field_counts import program_fields
from ki67.case.view import Role
from ki67.correcting import CorrectedCase
from ki67.errors import CaseError
from ki67.registration import MAPS
from ki67.scoring import Score
from ki67.server.catalogue import in_short
from ki67.server.layers import layer_facts
from ki67.server.library import OpenCase
from ki67.server.overlay import SectionMap
from ki67.server.routes.common import Case, Micrometres, Shared
from ki67.server.shapes import collection, feature, of_left_out, of_regions
from ki67.server.tiles import TILE_PX, digest_of

router = APIRouter(prefix="/api/cases", tags=["cases"])

_TILE: Final = "{level}/{col}_{row}"
_IN_NUMBERS: Final = (
    *("index_percent", "index_corrected_percent", "ci95_percent", "positive", "negative", "other", "cells"),
    *(
        "area_mm2",
        "area_lost_mm2",
        "cut_offs",
        "guideline",
        "hot_spots",
        "invasive_edge",
        "heterogeneity",
        "warnings",
    ),
)


class Points(BaseModel):
    """Points to map from one slide to the other, in µm."""

    direction: Literal["he_to_ki67", "ki67_to_he"]
    points_um: Annotated[list[tuple[Micrometres, Micrometres]], Field(min_length=1, max_length=1000)]


@router.get("")
def cases(state: Shared) -> list[dict[str, Any]]:
    """List all cases; a damaged one says so in ``state`` and ``error``."""
    return state.catalogue.cases()


@router.get("/{case_id}")
def case(case: Case, state: Shared) -> dict[str, Any]:
    """Tell all that is known of a case but its cells."""
    view = case.view
    facts: dict[str, Any] = {"id": case.case_id, "name": state.places.relative(case.folder) or case.folder.name}
    facts |= in_short(view) | {"path": str(case.folder)}
    facts["slides"] = {role: _slide(case, role) for role in ("he", "ki67")}
    facts["registration"] = _registration(case)
    facts |= _pictures(case)
    if not case.has_score:
        return facts | {"score": None, "automatic": None, "corrected": None, "version": None, "places": []}
    found = case.corrected()
    return facts | {"score": found.automatic.to_dict(), "places": _places(case, found)} | numbers(found)


def numbers(found: CorrectedCase) -> dict[str, Any]:
    """What a page shows of the index, without and with corrections (None where none holds)."""
    signed = signed_out(found.log)
    return {
        "version": found.version,
        "automatic": _in_numbers(found.automatic),
        "corrected": _in_numbers(found.score) if found.holding else None,
        "corrections": len(found.holding),
        "signed_out": signed is not None,
        "signed_out_by": None if signed is None else signed.by,
        "signed_out_when": None if signed is None else signed.when,
    }


def _in_numbers(score: Score) -> dict[str, Any]:
    told = score.to_dict()
    named = [
        one | {"name": f"{one['source']} {one['year']}", "value": one["values_percent"][0]}
        for one in told["cut_offs"] or ()
    ]
    return {name: told.get(name) for name in _IN_NUMBERS} | {"cut_offs": named}


def _places(case: OpenCase, found: CorrectedCase) -> list[dict[str, Any]]:
    """Places on the Ki-67 slide that are worth a look: hot spots, with corrections, and the guideline's fields."""
    spots = [
        {
            "id": f"hot-spot-{number}",
            "kind": "hot_spot",
            "name": f"Hot spot {number}",
            "circle_um": [spot.x_um, spot.y_um, spot.radius_um],
            "positive": spot.positive,
            "negative": spot.cells - spot.positive,
            "index_percent": spot.index_percent,
        }
        for number, spot in enumerate(found.score.hot_spots or (), start=1)
    ]
    fields = [
        {
            "id": field.field_id,
            "kind": "guideline",
            "name": f"Field, {field.name}",
            "circle_um": [field.x_um, field.y_um, field.radius_um],
            "positive": field.positive,
            "negative": field.cells - field.positive,
            "index_percent": 100 * field.positive / field.cells,
        }
        for field in program_fields(case.view)
    ]
    return [*spots, *fields]


def _pictures(case: OpenCase) -> dict[str, Any]:
    """Where the tiles of the H&E in the Ki-67 frame and of the maps are."""
    here, digest = f"/api/cases/{quote(case.case_id, safe='~')}", map_digest(case)
    layers = []
    for layer in layer_facts(case):
        grid = case.grid(layer["slide"])
        width, height = grid.size_px
        size = {"width_px": width, "height_px": height, "width_um": width * grid.mpp, "height_um": height * grid.mpp}
        tiles = f"{here}/layers/{layer['id']}/{layer['digest']}/{_TILE}.png"
        layers.append(layer | size | {"tiles": tiles, "max_level": grid.last_level})
    warped = None if digest is None else f"{here}/warped/{digest}/{_TILE}.jpg"
    return {"layers": layers, "warped": warped, "map_digest": digest}


def _slide(case: OpenCase, role: Role) -> dict[str, Any] | None:
    record = case.view.record.inputs.get(role)
    if record is None:
        return None
    width, height = record.size_px
    digest, why_not = case.digest(role), case.why_not(role)
    here = f"/api/cases/{quote(case.case_id, safe='~')}/slides/{role}"
    return {
        "file": Path(record.path).name,
        "width_px": width,
        "height_px": height,
        "mpp": record.mpp,
        "width_um": width * record.mpp,
        "height_um": height * record.mpp,
        "tile_px": TILE_PX,
        "max_level": case.grid(role).last_level,
        "digest": digest,
        "tiles": f"{here}/{digest}/{_TILE}.jpg",
        "thumbnail": f"{here}/thumbnail.jpg",
        "available": why_not is None,
        "why_not": why_not,
        "warnings": list(record.warnings),
    }


def _registration(case: OpenCase) -> dict[str, Any] | None:
    quality = case.view.quality
    if quality is None:
        return None
    transform = case.view.transform
    told = {name: value for name, value in quality.to_dict().items() if name not in MAPS}
    if transform is not None:
        told |= {"pieces": len(transform.pieces), "mirrored": transform.main.mirrored}
        told |= {"rotation_deg": transform.rotation_deg, "deformable": transform.displacement is not None}
    return told


def section_map(case: OpenCase) -> SectionMap:
    """Map between the slides of a case, nudges included.

    Raises
    ------
    CaseError
        Where its slides were not registered.
    """
    transform = case.view.transform
    if transform is None:
        raise CaseError(case.folder, "holds no registration", "Run 'ki67 score' with both slides.")
    return SectionMap(transform, case.motion)


def map_digest(case: OpenCase) -> str | None:
    """Name of the tiles of the H&E in the Ki-67 frame; None where there is no registration."""
    told = {name: case.view.sha256_of(name) for name in (TRANSFORM, *DISPLACEMENTS)}
    made = {name: sha256 for name, sha256 in told.items() if sha256 is not None}
    if not made or "he" not in case.view.record.inputs or "ki67" not in case.view.record.inputs:
        return None
    return digest_of(made, {"motion": np.round(case.motion, 6).tolist()}, case.digest("he"), case.digest("ki67"))


@router.post("/{case_id}/map")
def map_points(case: Case, points: Annotated[Points, Body()]) -> dict[str, Any]:
    """Map points from one slide to the other, with scale, angle and mirroring there."""
    found = section_map(case)
    given = np.array(points.points_um, np.float64)
    return found.described(given, to_ki67=points.direction == "he_to_ki67")


@router.get("/{case_id}/regions")
def regions(case: Case) -> dict[str, Any]:
    """Tell the regions on either slide, what was counted and what was left out, as GeoJSON in µm of their slide."""
    view = case.view
    told: dict[str, Any] = {"he": of_regions(view.regions_he), "ki67": of_regions(view.regions_ki67)}
    told |= {"counted": None, "excluded": collection([]), "unregistered": of_regions(view.unregistered)}
    if not case.has_score:
        return told
    counted = case.corrected().counted or case.finished.counted
    told["counted"] = collection([feature(counted.where, label="counted")])
    told["excluded"] = collection(of_left_out(counted))
    return told
