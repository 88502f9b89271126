"""A case's folder: stages that run once, what they wrote, and a read-only view of it."""

from ki67.case.folder import Case, Stage, Summary, open_case, reopen_case
from ki67.case.view import CaseView, read_case

__all__ = ["Case", "CaseView", "Stage", "Summary", "open_case", "read_case", "reopen_case"]
