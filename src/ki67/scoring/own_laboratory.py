"""How far a laboratory's own validation found the index off: ``laboratory.json``, in place of the model's card.

The card knows of a few laboratories' fields; thirty cases of one's own know of one's own stain and scanner.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ki67.errors import DataSetError, first_fault
from ki67.files import read_json, write_json
from ki67.scoring.intervals import ModelDeviation

FILE_NAME: Final = "laboratory.json"
_WAY_OUT: Final = f"Give the {FILE_NAME} that 'ki67 validate CASES.csv --out DIR' writes."

# On the logit: from 1 to 99 % is 9.2.
_FARTHEST: Final = 10.0
Finite = Annotated[float, Field(allow_inf_nan=False)]


class OwnLaboratory(BaseModel):
    """What a validation says of the index in one laboratory; the numbers are those of :class:`ModelDeviation`.

    ``cells_model`` is the SHA-256 of the model that counted, ``laboratory`` its name or nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    laboratory: str = ""
    cells_model: str
    cases: Annotated[int, Field(ge=2)]
    bias: Annotated[Finite, Field(ge=-_FARTHEST, le=_FARTHEST)]
    between: Annotated[Finite, Field(ge=0, le=_FARTHEST)]
    per_cell: Annotated[Finite, Field(ge=0, le=_FARTHEST)]

    @property
    def deviation(self) -> ModelDeviation:
        """The same, as an interval is made of it."""
        return ModelDeviation(self.bias, self.between, self.per_cell, self.cases, self.laboratory)

    def write(self, path: Path) -> None:
        """Write it.

        Raises
        ------
        WriteError
            Where the file cannot be written.
        """
        write_json(path, self.model_dump())


@dataclass(frozen=True)
class OwnValidation:
    """Whose validation an interval rests on (empty where it gave no name), and on how many cases."""

    laboratory: str
    cases: int


def read_laboratory(path: Path, cells_model: str) -> ModelDeviation:
    """Read how far the index of a model is off in a laboratory.

    Parameters
    ----------
    path
        What :meth:`OwnLaboratory.write` wrote.
    cells_model
        SHA-256 of the model that counts now.

    Raises
    ------
    DataSetError
        Where the file is none, or tells of another model.
    """
    content = read_json(path, DataSetError, _WAY_OUT)
    try:
        found = OwnLaboratory.model_validate(content)
    except ValidationError as error:
        raise DataSetError(
            path, f"is no validation of a laboratory ({first_fault(error.errors())})", _WAY_OUT
        ) from error
    if found.cells_model != cells_model:
        told = f"is of cells counted by another model ({found.cells_model[:12]}, now {cells_model[:12]})"
        raise DataSetError(path, told, "Score the validation's cases again with this model, and validate again.")
    return found.deviation
