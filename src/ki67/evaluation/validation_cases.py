"""Cases of a laboratory's validation: the index counted by hand and the program's, from a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ki67.case import read_case
from ki67.case.artefacts import COUNTED
from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError

CASES_LAYOUT: Final = (
    "Give a CSV file with the columns case, manual_percent, and index_percent (the program's, or "
    "none) or folder (of the case), perhaps scanner and antibody."
)
NONE: Final = "none"
"""What stands in ``index_percent`` where the program gave no index."""


@dataclass(frozen=True)
class ValidationCase:
    """One case: indices in percent, by hand and by the program.

    ``index_percent`` is None where the program gave none, for the reason in ``withheld``. ``program`` names its
    version and models, ``cells_model`` is the SHA-256 of that of the cells (nothing where a threshold overruled it),
    where they are known.
    """

    name: str
    manual_percent: float
    index_percent: float | None
    withheld: str = ""
    scanner: str = ""
    antibody: str = ""
    program: str = ""
    cells_model: str = ""


def read_validation_cases(path: Path) -> list[ValidationCase]:
    """Read the cases in the file's order; folders are relative to the file's own.

    Raises
    ------
    DataSetError
        Where the file cannot be read, a line makes no sense, or a case is named twice.
    CaseError
        Where a case's folder holds no result that can be read.
    """
    cases: dict[str, ValidationCase] = {}
    folders: set[Path] = set()
    for row in read_rows(path, ("case", "manual_percent"), CASES_LAYOUT):
        name = row.text("case")
        if name in cases:
            raise row.error(f"names the case {name!r} again")
        if row.values.get("folder", ""):
            folder = (path.parent / row.values["folder"]).resolve()
            if folder in folders:
                raise row.error(f"names the folder {row.values['folder']!r} again")
            folders.add(folder)
        cases[name] = _case(row, name)
    if not cases:
        raise DataSetError(path, "holds no case", CASES_LAYOUT)
    return list(cases.values())


def _case(row: Row, name: str) -> ValidationCase:
    manual = row.number("manual_percent", 0, 100)
    told, folder = row.values.get("index_percent", ""), row.values.get("folder", "")
    if bool(told) == bool(folder):
        raise row.error(f"has {'both' if told else 'neither'} an index_percent {'and' if told else 'nor'} a folder")
    scanner, antibody = (row.values.get(column, "") for column in ("scanner", "antibody"))
    plain = ValidationCase(name, manual, None, "none given in the table", scanner, antibody)
    if folder:
        return _of_folder(plain, row.path.parent / folder)
    if told.lower() == NONE:
        return plain
    return replace(plain, index_percent=row.number("index_percent", 0, 100), withheld="")


def _of_folder(plain: ValidationCase, folder: Path) -> ValidationCase:
    """Add the index of a case, or why it has none, and what made it."""
    case = read_case(folder)
    versions = sorted({stage.versions.get("ki67", "of unknown version") for stage in case.stages.values()})
    models = [f"{name} {sha256[:12]}" for name, sha256 in sorted(case.record.models.items())]
    program = ", ".join([f"ki67 {' and '.join(versions)}", *models])
    counted = case.stages.get(COUNTED)
    overruled = counted is not None and counted.parameters.get("dab_threshold") is not None
    made = replace(plain, program=program, cells_model="" if overruled else case.record.models.get("cells", ""))
    if case.record.state == "failed":
        return replace(made, withheld=case.record.error or "refused")
    case.require_finished()
    score = case.score
    if score.index_percent is None:
        return replace(made, withheld="counted, but no index given: see its report")
    return replace(made, index_percent=score.index_percent, withheld="")


def programs_of(cases: Sequence[ValidationCase]) -> list[str]:
    """Versions and models by which the cases were scored, as far as they are known."""
    return sorted({case.program for case in cases if case.program})
