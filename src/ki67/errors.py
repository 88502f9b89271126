"""Every error a user can meet, under one root.

A message names the file, what was found, what was expected and the way out; the command line prints it in one
line and exits with 1. Anything else that is raised is a defect of the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

TEMPORARY: Final = 75
"""Exit code of a state that passes by itself (EX_TEMPFAIL of sysexits.h): the same command may be tried again."""


class Ki67Error(Exception):
    """Root of all known errors; its text is shown to the user as it is."""

    exit_code = 1
    """Of the command that ends with it."""


class CancelledError(Ki67Error):
    """Work that was stopped from outside (:func:`ki67.job`); its case's folder is as a killed run leaves it."""

    def __init__(self) -> None:
        super().__init__("cancelled; the same call continues from the last finished stage")


class UsageError(Ki67Error):
    """Words on the command line that say nothing, or contradict one another."""

    exit_code = 2


class FileError(Ki67Error):
    """A problem with one file.

    Parameters
    ----------
    path
        The file at fault.
    found
        What is wrong with it, as a clause ("is not a slide that can be read: …").
    way_out
        What the user can do now, as a sentence.
    """

    def __init__(self, path: str | Path, found: str, way_out: str = "") -> None:
        self.path = path if isinstance(path, Path) else Path(path)
        self.found = found
        self.way_out = way_out
        super().__init__(f"{self.path}: {found}" + (f". {way_out}" if way_out else ""))


class SlideError(FileError):
    """A slide that cannot be opened or read."""


class SlideAwayError(SlideError):
    """A slide at a URL whose server does not answer."""

    exit_code = TEMPORARY


class PixelSizeError(SlideError):
    """A pixel size that is missing, absurd or anisotropic; the way out names ``--mpp``."""


class TissueError(SlideError):
    """A slide on which no tissue, or no usable tissue, can be found."""


class NoTissueError(TissueError):
    """A bright-field slide on which nothing can be told from empty glass."""


class StainError(SlideError):
    """A slide whose stain or colours are not what the program can measure, or that is given twice."""


class AnnotationError(FileError):
    """A region file that is malformed or holds geometry that cannot be repaired."""


class RegionError(Ki67Error):
    """A region that lies outside the slide, is empty or cannot be mapped."""


class RegistrationError(Ki67Error):
    """Two sections that could not be registered, or a registration that is not believable."""


class ModelError(FileError):
    """A model file or its card that is missing, damaged or does not fit the program."""


class ScoreError(Ki67Error):
    """An index that must not be reported (too few cells, no region)."""


class CaseError(FileError):
    """A case folder that cannot be used."""


class BusyError(CaseError):
    """A case folder that another run holds; it passes by itself, so the same command may be tried again."""

    exit_code = TEMPORARY


class CohortError(FileError):
    """A cohort's folder that cannot be used, or that holds no cohort."""


class SchedulerError(Ki67Error):
    """A scheduler of a cluster that does not answer, or that has no worker as it is needed."""

    exit_code = TEMPORARY


class FailedCasesError(Ki67Error):
    """A cohort that was gone through, but not every case of which could be scored."""


class CorrectionError(Ki67Error):
    """A correction of a case that cannot be made."""


class StaleError(CorrectionError):
    """A correction made to a state of the case that is no longer the last one."""


class SignedOutError(CorrectionError):
    """A correction of a case that somebody has signed out."""


class BeyondCountedError(CorrectionError):
    """A region that reaches beyond where cells were counted: it needs a count of its own."""


class LabellingError(FileError):
    """A labelling project, or what is asked of it, that cannot be used."""


class RefusedError(Ki67Error):
    """An act of the labelling process that is not open in this state, or not to this person."""


class AbsentError(RefusedError):
    """Something of a labelling project that is not there, or not for this person to know of."""


class LeaseError(RefusedError):
    """Work that another session has open; it passes when that one is closed, or silent for a while."""

    exit_code = 75


class ConflictError(RefusedError):
    """A label that somebody else changed since it was read.

    Parameters
    ----------
    mine, theirs
        What was to be saved and what stands now, both with ``uuid``, ``version``, ``label``, ``geometry`` and
        ``deleted``.
    """

    def __init__(self, mine: dict[str, object], theirs: dict[str, object]) -> None:
        self.mine, self.theirs = mine, theirs
        super().__init__(
            f"label {theirs.get('uuid')} was changed meanwhile (version {theirs.get('version')}, "
            f"yours was made from {mine.get('version')}); read it again and save over it if yours shall hold"
        )


class DataSetError(FileError):
    """A data set whose layout or labels are not as documented."""


class SimulationError(Ki67Error):
    """Options of a simulation that contradict one another or cannot be met."""


class WriteError(FileError):
    """A result that could not be written (full disk, no permission); nothing half-written is left behind."""


class DiskFullError(WriteError):
    """A result that could not be written because the disk, or what the user may use of it, is full."""

    exit_code = TEMPORARY


class InstallationError(Ki67Error):
    """A library that the program cannot do without and that is absent, or another one than it should be."""


class MissingExtraError(Ki67Error):
    """An optional part of the installation is needed and absent."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the '{extra}' extra. Install it with: pip install 'ki67[{extra}]'")


def first_fault(faults: Sequence[Mapping[str, Any]]) -> str:
    """Place and reason of the first of what pydantic finds wrong (``ValidationError.errors()``)."""
    place = ".".join(map(str, faults[0]["loc"]))
    return f"{place}: {faults[0]['msg']}"
