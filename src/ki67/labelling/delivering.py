"""Accepted labels as files for the program's own commands: `idc sample`, `cells train` and `gold make`."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.annotations import Region, Regions, point_features, write_regions
from ki67.csv_rows import csv_text
from ki67.errors import RefusedError
from ki67.files import make_folder, write_json, write_text
from ki67.labelling.journal import note
from ki67.labelling.people import require_administrator
from ki67.labelling.project import TRAINING, the_project
from ki67.labelling.shapes import areas, points
from ki67.labelling.tables import Person, Slide, Task
from ki67.labelling.words import DONE, Delivery, LabelKind, TaskKind
from ki67.labelling.work import current_labels
from ki67.slides import PixelFrame, open_slide

_KIND = {Delivery.idc: LabelKind.regions, Delivery.cells: LabelKind.cells, Delivery.gold: LabelKind.cells}


@dataclass(frozen=True)
class Parcel:
    """Slides to hand out with the task whose labels were accepted, and slides left out by reason; :func:`pack`."""

    delivery: Delivery
    chosen: list[tuple[Slide, Task]]
    left_out: dict[str, int]

    def write(self, session: Session, out: Path) -> dict[str, Any]:
        """Write the files, slide after slide; a session that only looks will do, so that people work on meanwhile.

        Returns
        -------
        dict
            ``out``, ``slides``, ``labels`` (numbers), ``left_out``: slides of the test split, and those not accepted.

        Raises
        ------
        WriteError
            Where the folder cannot be written to.
        """
        make_folder(out)
        count, rows = 0, [["patient", "slide", "regions", "split", "mpp"]]
        for slide, task in self.chosen:
            labels = current_labels(session, task)
            count += len(labels)
            if self.delivery is Delivery.idc:
                rows.append(_write_regions(out, slide, labels))
            else:
                _write_cells(out, slide, labels, picture=self.delivery is Delivery.cells)
        if self.delivery is Delivery.idc:
            write_text(out / "slides.csv", csv_text(rows))
        facts = {"as": self.delivery.value, "slides": len(self.chosen), "labels": count, "left_out": self.left_out}
        return {"out": str(out), **facts}


def pack(session: Session, by: Person, delivery: Delivery) -> Parcel:
    """Take the accepted labels of a project, and note who did; of several of a slide, those accepted first.

    ``idc``: ``slides.csv`` and ``regions/NAME.geojson`` for `ki67 idc sample`; ``cells``: pictures with a GeoJSON of
    points beside each for `ki67 cells train --set qupath=OUT`, named PATIENT_NAME so that it splits by patient;
    ``gold``: a GeoJSON for each slide for `ki67 gold make OUT --whole-slides`. Test slides are left out before
    unblinding.

    Raises
    ------
    RefusedError
        Where the person is no administrator, the project labels other things, or nothing is accepted.
    """
    require_administrator(by)
    project = the_project(session)
    if _KIND[delivery] != project.kind:
        raise RefusedError(
            f"'{delivery.value}' needs a project of {_KIND[delivery].value}, this one labels {project.kind}"
        )
    chosen: dict[int, tuple[Slide, Task]] = {}
    left_out = {"test": 0, "not_accepted": 0}
    rows = session.execute(
        sa.select(Slide, Task)
        .join(Task, sa.and_(Task.slide_id == Slide.id, Task.kind == TaskKind.label.value))
        .where(Slide.split != TRAINING)
        .order_by(Slide.id, Task.id)
    ).all()
    for slide, task in rows:
        if task.state in DONE and (slide.split != "test" or project.unblinded):
            chosen.setdefault(slide.id, (slide, task))
    for slide in {slide.id: slide for slide, _ in rows if slide.id not in chosen}.values():
        left_out["test" if slide.split == "test" and not project.unblinded else "not_accepted"] += 1
    if not chosen:
        closed = f"; {left_out['test']} test slides stay closed until: ki67 label unblind" if left_out["test"] else ""
        raise RefusedError(f"no slide is accepted that may be handed out{closed}")
    ids = [slide.id for slide, _ in chosen.values()]
    note(session, by.id, "export", detail={"as": delivery.value, "slides": ids})
    return Parcel(delivery, list(chosen.values()), left_out)


def _write_regions(out: Path, slide: Slide, labels: list[dict[str, Any]]) -> list[str]:
    """Write the regions of a slide; returns its row of ``slides.csv``."""
    target = out / "regions" / f"{slide.name}.geojson"
    make_folder(target.parent)
    parts = [(label, part) for label, whole in areas(labels).items() for part in whole.geoms]
    regions = Regions(Region(label, part, f"{label}-{number}") for number, (label, part) in enumerate(parts, 1))
    write_regions(target, regions, _frame(slide))
    place = os.path.relpath(slide.path, out.absolute())
    mpp = "" if slide.mpp is None else repr(slide.mpp)
    return [slide.patient, place, f"regions/{target.name}", slide.split, mpp]


def _write_cells(out: Path, slide: Slide, labels: list[dict[str, Any]], *, picture: bool) -> None:
    name = f"{slide.patient}_{slide.name}" if picture else slide.name
    frame = _frame(slide)
    places = {label: frame.to_px(at) for label, at in sorted(points(labels).items())}
    write_json(out / f"{name}.geojson", point_features(places))
    if picture:
        shutil.copyfile(slide.path, out / f"{name}{Path(slide.path).suffix}")


def _frame(slide: Slide) -> PixelFrame:
    with open_slide(slide.path, slide.mpp) as opened:
        return opened.frame
