"""The cases of a cohort, from a CSV file: every line that makes no sense is told at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError, UsageError
from ki67.files import printable
from ki67.slides.addresses import slide_address, whole_name
from ki67.slides.pixel_size import LARGEST_MPP, SMALLEST_MPP

CASES_LAYOUT: Final = (
    "Give a CSV file with the columns case, he, ki67, perhaps patient, regions, he_mpp, ki67_mpp; files are relative "
    "to its folder."
)
LONGEST_NAME_BYTES: Final = 150
"""Of a case's name, which is a folder's; file systems allow 255."""

_TOLD_FAULTS: Final = 5
_NOT_IN_NAMES: Final = re.compile(r'[/\\:*?"<>|]')
"""Signs that part folders, or that some file systems refuse."""

C = TypeVar("C")


@dataclass(frozen=True)
class CohortCase:
    """One case: its name, absolute paths (of slides URLs too) of its slides and its region file, pixel sizes in µm.

    Cases with the same ``patient`` are blocks of one patient.
    """

    name: str
    he: Path
    ki67: Path
    patient: str = ""
    regions: Path | None = None
    he_mpp: float | None = None
    ki67_mpp: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "case": self.name,
            "he": str(self.he),
            "ki67": str(self.ki67),
            "patient": self.patient,
            "regions": None if self.regions is None else str(self.regions),
            "he_mpp": self.he_mpp,
            "ki67_mpp": self.ki67_mpp,
        }

    @property
    def words(self) -> list[str]:
        """What ``ki67 score`` is told of it; paths are absolute, so none looks like an option."""
        words = [whole_name(self.he), whole_name(self.ki67)]
        for name, value in (("--regions", self.regions), ("--he-mpp", self.he_mpp), ("--ki67-mpp", self.ki67_mpp)):
            if value is not None:
                words += [name, str(value)]
        return words


@dataclass(frozen=True)
class Shard:
    """Every ``of``-th case, from the ``number``-th on; 1 of 1 is the whole cohort."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``, as 3/8.

        Raises
        ------
        UsageError
            Where it is something else, or i is not from 1 to n.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--shard is {text!r}, expected i/n with i from 1 to n, as 3/8")
        return cls(int(match[1]), int(match[2]))

    @property
    def whole(self) -> bool:
        """Whether it is the whole cohort."""
        return self.of == 1

    @property
    def suffix(self) -> str:
        """What the shard's own files have in their names."""
        return "" if self.whole else f"-{self.number}-of-{self.of}"

    def of_cases(self, cases: Sequence[C]) -> list[C]:
        """Its part of the cases."""
        return list(cases[self.number - 1 :: self.of])


WHOLE: Final = Shard()


def read_cases(path: str | Path) -> list[CohortCase]:
    """Read the cases in the file's order; files are relative to the file's own folder.

    Raises
    ------
    DataSetError
        Where the file cannot be read, or lines make no sense (the first five are told): a value missing, no folder's
        name, a case named twice, a pixel size that is none.
    """
    source = Path(path).absolute()  # links stay as they are
    rows = read_rows(source, ("case", "he", "ki67"), CASES_LAYOUT)
    if not rows:
        raise DataSetError(source, "holds no case", CASES_LAYOUT)
    cases: list[CohortCase] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for row in rows:
        try:
            case = _case(row)
            known = seen.setdefault(case.name.casefold(), row.line)
            if known != row.line:
                raise row.error(f"names the case {case.name!r} again, after line {known}")
        except DataSetError as error:
            faults.append(error.found)
        else:
            cases.append(case)
    if faults:
        more = f"; and {len(faults) - _TOLD_FAULTS} more lines" if len(faults) > _TOLD_FAULTS else ""
        raise DataSetError(source, "; ".join(faults[:_TOLD_FAULTS]) + more, CASES_LAYOUT)
    return cases


def _case(row: Row) -> CohortCase:
    folder = row.path.parent

    def name_in(column: str) -> str:
        text = row.text(column)
        if "\0" in text:
            raise row.error(f"has a zero byte in {column}")
        return text

    regions = row.values.get("regions", "")
    return CohortCase(
        _name(row),
        slide_address(name_in("he"), folder),
        slide_address(name_in("ki67"), folder),
        row.values.get("patient", ""),
        folder / name_in("regions") if regions else None,
        row.number_or_none("he_mpp", SMALLEST_MPP, LARGEST_MPP),
        row.number_or_none("ki67_mpp", SMALLEST_MPP, LARGEST_MPP),
    )


def _name(row: Row) -> str:
    """The case's name, which becomes a folder's on any system."""
    name = row.text("case")
    shown = repr(printable(name))
    if _NOT_IN_NAMES.search(name):
        raise row.error(f'has the case name {shown}, which is no name of a folder (no / \\ : * ? " < > |)')
    if name.startswith(".") or name.endswith(".") or not name.isprintable():
        raise row.error(f"has the case name {shown}, which is no name of a folder (dots at its ends, control signs)")
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME_BYTES:
        raise row.error(f"has a case name of more than {LONGEST_NAME_BYTES} bytes")
    return name
