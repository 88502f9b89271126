"""A case to read: what stands in its folder, typed, while nothing is locked and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ki67 import idc, registration, scoring
from ki67.annotations import Regions, read_regions
from ki67.case.artefacts import (
    CELLS,
    COUNTED,
    EXCLUDED,
    HEATMAP,
    OTHER_CLASSES,
    QUALITY,
    REGION_CARRIED,
    REGIONS_HE,
    REGIONS_KI67,
    REPORT,
    SCORE,
    TRANSFORM,
    UNREGISTERED,
)
from ki67.case.corrections import read_corrections
from ki67.case.manifest import MANIFEST, read_manifest
from ki67.case.records import CaseRecord, SlideRecord, StageRecord, case_record
from ki67.errors import CaseError, Ki67Error
from ki67.files import read_json, sha256_of
from ki67.html import page_of, table_of
from ki67.intensity import INTENSITY_CUTS_OD
from ki67.parquet import parquet_file
from ki67.slides import PixelFrame, Slide, open_slide
from ki67.slides.addresses import slide_address

Role = Literal["he", "ki67"]
ROLES: Final[tuple[Role, ...]] = ("he", "ki67")

AGAIN: Final = "Run 'ki67 score' or 'ki67 count' with this folder first."
IN_USE: Final = "Run the command that made the case again; where it is running now, read the case again."


@dataclass(frozen=True)
class CellTable:
    """The cell table of a case, open: its columns, its rows, and ``batches(rows, columns)`` that reads them in parts.

    ``columns`` None reads all.
    """

    schema: pa.Schema
    num_rows: int
    batches: Callable[[int, Sequence[str] | None], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class CaseView:
    """What a case held when it was opened; :func:`read_case` makes it.

    Every file is checked against the manifest before it is read, so that a case which another run is changing gives
    an error that says so, and never parts of two runs. What a command does not make is None.

    Parameters
    ----------
    folder
        The case's folder.
    record
        Its manifest: command, slides, models, stages with the versions, the provider and the parameters of each.
    """

    folder: Path
    record: CaseRecord
    slide_paths: dict[Role, Path] = field(default_factory=dict)
    _checked: set[str] = field(default_factory=set, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[CaseView], tuple[Any, ...]]:
        """Pickle the folder and the manifest; what was read from files is read again."""
        return CaseView, (self.folder, self.record, self.slide_paths)

    @property
    def stages(self) -> dict[str, StageRecord]:
        """Stages that ended, by name: when, with which versions, parameters and provider, and what they said."""
        return {name: stage for name, stage in self.record.stages.items() if stage.done}

    @property
    def he(self) -> SlideRecord | None:
        """What the manifest tells of the H&E slide."""
        return self.record.inputs.get("he")

    @property
    def ki67(self) -> SlideRecord | None:
        """What the manifest tells of the Ki-67 slide."""
        return self.record.inputs.get("ki67")

    def place(self, role: Role) -> Path:
        """Where a slide of the case lies: as it was told since, or as it was recorded.

        Raises
        ------
        CaseError
            Where the case has no such slide.
        """
        return self.slide_paths.get(role) or slide_address(self._slide(role).path)

    def open_slide(self, role: Role) -> Slide:
        """Open a slide of the case again, by the path it had; close it, or use it in a ``with``.

        Raises
        ------
        CaseError
            Where the case has no such slide, or the file at its path is another by now.
        SlideError
            Where it cannot be opened.
        """
        record = self._slide(role)
        path = self.place(role)
        if not path.exists():
            raise CaseError(
                self.folder,
                f"its slide lies no longer at {path}",
                "Put it back, or run the command that made the case once more with its new place (what is known of "
                f"the slide is not made again); from Python, read_case(folder, {role}=PATH).",
            )
        mpp = record.mpp if record.mpp_source == "given" else None
        slide = open_slide(path, mpp, overrides_file=record.mpp_contradicts_file)
        if slide.fingerprint() != record.fingerprint:
            slide.close()
            raise CaseError(path, f"is not the slide that the case {self.folder} was made from", AGAIN)
        return slide

    @cached_property
    def heatmap(self) -> idc.HeatMap | None:
        """Probability of invasive carcinoma on the H&E slide."""
        path = self.file(HEATMAP)
        return None if path is None else idc.read_heatmap(path)

    @cached_property
    def other_classes(self) -> dict[str, idc.HeatMap] | None:
        """Probability of each other class by its name; None where the model knows but one."""
        path = self.file(OTHER_CLASSES)
        return None if path is None else idc.read_heatmaps(path)

    @cached_property
    def regions_he(self) -> Regions | None:
        """The region on the H&E slide, as found or drawn, in µm."""
        return self._regions(REGIONS_HE, "he")

    @cached_property
    def regions_ki67(self) -> Regions | None:
        """The region that was counted, in µm of the Ki-67 slide; None where all tissue was."""
        return self._regions(REGIONS_KI67, "ki67")

    @cached_property
    def excluded(self) -> Regions | None:
        """Parts of the region that were not counted: pen, folds, out of focus; None where there are none."""
        counted = self.stages.get(COUNTED)
        lost = counted is not None and any(counted.summary.get("area_lost_mm2", {}).values())
        return self._regions(EXCLUDED, "ki67") if lost else None

    @cached_property
    def unregistered(self) -> Regions | None:
        """Parts of the region on the H&E slide without a believable place on the other; None where there are none."""
        carried = self.stages.get(REGION_CARRIED)
        lost = carried is not None and carried.summary.get("unregistered_mm2", 0) > 0
        return self._regions(UNREGISTERED, "he") if lost else None

    @cached_property
    def transform(self) -> registration.PiecewiseTransform | None:
        """Map from H&E µm to Ki-67 µm."""
        path = self.file(TRANSFORM)
        if path is None:
            return None
        for name in self._outputs():
            if Path(name).parent == Path(TRANSFORM).parent:
                self.file(name)
        return registration.read_transform(path)

    @cached_property
    def quality(self) -> registration.RegistrationQuality | None:
        """How far the registration can be trusted."""
        path = self.file(QUALITY)
        return None if path is None else registration.RegistrationQuality.from_dict(read_json(path, CaseError, AGAIN))

    @cached_property
    def cells(self) -> pa.Table:
        """All of the cell table; :meth:`read_cells` reads a part of it."""
        return self.read_cells()

    def read_cells(self, columns: Sequence[str] | None = None, filters: pc.Expression | None = None) -> pa.Table:
        """Read the cell table, or some columns or rows of it.

        Raises
        ------
        CaseError
            Where no cells were counted, or the table is damaged.
        """
        path = self.cells_file()
        try:
            with parquet_file(path) as stream:
                return pq.read_table(stream, columns=None if columns is None else [*columns], filters=filters)
        except pa.ArrowInvalid as error:
            raise CaseError(path, "is damaged", AGAIN) from error

    @property
    def intensity_cuts_od(self) -> tuple[float, float]:
        """Cuts of intensity that the case was scored with; the usual ones where its score does not tell."""
        graded = self.score.intensity
        return INTENSITY_CUTS_OD if graded is None else graded.cuts_od

    @contextmanager
    def open_cells(self) -> Iterator[CellTable]:
        """Open the cell table to read it a part at a time, so that memory does not grow with it.

        Raises
        ------
        CaseError
            Where no cells were counted, or the table is damaged.
        """
        path = self.cells_file()
        try:
            # What is read ahead stays in memory until the end.
            with parquet_file(path) as stream, pq.ParquetFile(stream, pre_buffer=False) as table:

                def batches(rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
                    named = None if columns is None else [*columns]
                    yield from table.iter_batches(batch_size=rows, columns=named)

                yield CellTable(table.schema_arrow, int(table.metadata.num_rows), batches)
        except pa.ArrowInvalid as error:
            raise CaseError(path, "is damaged", AGAIN) from error

    @property
    def cells_sha256(self) -> str:
        """SHA-256 of the cell table.

        Raises
        ------
        CaseError
            As :meth:`cells_file`.
        """
        self.cells_file()
        return self._outputs()[CELLS]

    @property
    def score_sha256(self) -> str:
        """SHA-256 of ``score.json``.

        Raises
        ------
        CaseError
            As :attr:`score`.
        """
        self._needed(SCORE, "score")
        return self._outputs()[SCORE]

    def read_rows(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Read some rows of the cell table, in rising order, and no more of the file than their groups of rows.

        Raises
        ------
        CaseError
            Where there is no such row, no cells were counted, or the table is damaged.
        """
        path, wanted, before = self.cells_file(), np.unique(np.asarray(rows, np.int64)), 0
        parts: list[pa.Table] = []
        try:
            with parquet_file(path) as stream, pq.ParquetFile(stream) as table:
                if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < table.metadata.num_rows:
                    raise CaseError(path, f"has no row {wanted[-1]}", "Name one of its rows.")
                named = None if columns is None else [*columns]
                for group in range(table.num_row_groups):
                    count = table.metadata.row_group(group).num_rows
                    own = wanted[(wanted >= before) & (wanted < before + count)] - before
                    if len(own) or (group == 0 and not len(wanted)):
                        parts.append(table.read_row_group(group, columns=named).take(pa.array(own)))
                    before += count
        except pa.ArrowInvalid as error:
            raise CaseError(path, "is damaged", AGAIN) from error
        return pa.concat_tables(parts)

    def cells_file(self) -> Path:
        """Place of the cell table.

        Raises
        ------
        CaseError
            Where no cells were counted, or the table was changed.
        """
        return self._needed(CELLS, "counted cells")

    @cached_property
    def score(self) -> scoring.Score:
        """All of ``score.json``.

        Raises
        ------
        CaseError
            Where there is none, with the reason, or it is damaged.
        """
        path = self._needed(SCORE, "score")
        return scoring.Score.load(read_json(path, CaseError, AGAIN), path, AGAIN)

    @property
    def is_corrected(self) -> bool:
        """Whether people corrected the case or signed it out, what they took back included."""
        return bool(read_corrections(self.folder))

    @property
    def report(self) -> Path | None:
        """Place of ``report.html``."""
        return self.file(REPORT)

    def require_finished(self) -> None:
        """Refuse a case whose last run was refused or has not ended.

        Raises
        ------
        CaseError
            With what became of it.
        """
        if self.record.state == "failed":
            found = f"holds no result, its last run was refused: {self.record.error}"
            raise CaseError(self.folder, found, AGAIN)
        if self.record.state == "running":
            raise CaseError(self.folder, "holds a run that has not ended", AGAIN)

    def file(self, name: str) -> Path | None:
        """Place of a file of the case, checked against the manifest; None where the case has none of it.

        Raises
        ------
        CaseError
            Where it is missing or was changed since the manifest was read.
        """
        sha256 = self._outputs().get(name)
        if sha256 is None:
            return None
        path = self.folder / name
        if name not in self._checked:
            if not path.is_file() or sha256_of(path) != sha256:
                raise CaseError(path, "is damaged, or was changed after it was made", IN_USE)
            self._checked.add(name)
        return path

    def _repr_html_(self) -> str:
        """Show the slides, and the score where there is one."""
        parts = [table_of({"Case": str(self.folder), "Command": self.record.command, "State": self.record.state})]
        if SCORE in self._outputs():
            parts.append(self.score._repr_html_())
        for role in (one for one in ROLES if one in self.record.inputs):
            try:
                with self.open_slide(role) as slide:
                    parts.append(slide._repr_html_())
            except Ki67Error as error:
                parts.append(table_of({role: str(error)}))
        return page_of(parts)

    def sha256_of(self, name: str) -> str | None:
        """SHA-256 that the manifest tells of a file of the case; None where no stage made it."""
        return self._outputs().get(name)

    def _outputs(self) -> dict[str, str]:
        return {name: sha256 for stage in self.stages.values() for name, sha256 in stage.outputs.items()}

    def _needed(self, name: str, what: str) -> Path:
        path = self.file(name)
        if path is None:
            self.require_finished()
            raise CaseError(self.folder, f"holds no {what}", AGAIN)
        return path

    def _regions(self, name: str, role: Role) -> Regions | None:
        path = self.file(name)
        return None if path is None else read_regions(path, self.frame(role))

    def frame(self, role: Role) -> PixelFrame:
        """How other programs count pixels on a slide of the case.

        Raises
        ------
        CaseError
            Where the case has no such slide, or was made before that was noted.
        """
        record = self._slide(role)
        if record.origin_px is None:
            found = "was made by a version that did not note where QuPath counts pixels from"
            raise CaseError(self.folder, found, AGAIN)
        return PixelFrame(record.mpp, record.origin_px)

    def _slide(self, role: Role) -> SlideRecord:
        record = self.record.inputs.get(role)
        if record is None:
            raise CaseError(self.folder, f"was made without a slide '{role}', by 'ki67 {self.record.command}'", AGAIN)
        return record


def read_case(folder: str | Path, *, he: str | Path | None = None, ki67: str | Path | None = None) -> CaseView:
    """Read a case that ``score``, ``count``, ``register`` or ``idc predict`` made; takes no lock, changes nothing.

    Parameters
    ----------
    folder
        The case's folder. While a run is in it, what that run has finished is read.
    he, ki67
        Places of slides that were moved since.

    Raises
    ------
    CaseError
        Where the folder holds no case, or one that this version cannot read.
    """
    root = Path(folder)
    manifest = read_manifest(root, AGAIN)
    if not manifest:
        raise CaseError(root, f"is no case, it has no {MANIFEST}", AGAIN)
    view = CaseView(root, case_record(root, manifest, AGAIN))
    moved: dict[Role, Path] = {}
    if he is not None:
        moved["he"] = slide_address(he)
    if ki67 is not None:
        moved["ki67"] = slide_address(ki67)
    return replace(view, slide_paths=moved)
