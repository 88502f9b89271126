"""What a laboratory tells of a case beside its slides."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

LONGEST_DETAIL: Final = 64
"""Characters of one entry: DICOM's long strings have as many."""


Detail = Annotated[str | None, Field(max_length=LONGEST_DETAIL)]


class CaseDetails(BaseModel):
    """Accession number, block, stain, antibody clone and scanner; None for what is not told.

    They decide nothing: they stand in the manifest, the report and in exports that have a place for them.
    """

    model_config = ConfigDict(frozen=True)

    accession: Detail = None
    block: Detail = None
    stain: Detail = None
    antibody: Detail = None
    scanner: Detail = None

    def told(self) -> list[tuple[str, str]]:
        """Name and value of each that is told, in this order."""
        return [(name, value) for name in type(self).model_fields if (value := getattr(self, name)) is not None]

    def over(self, older: CaseDetails) -> CaseDetails:
        """Return what is told here, and what was told before of the rest."""
        return older.model_copy(update=dict(self.told()))
