"""What a user can choose for a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ki67 import cells, idc, registration
from ki67.case.details import CaseDetails
from ki67.files import sha256_of
from ki67.intensity import INTENSITY_CUTS_OD
from ki67.slides import Slide
from ki67.vocabulary import Device, EngineName, Language, RegistrationMode


@dataclass(frozen=True)
class Adjustment:
    """Registration by hand.

    Parameters
    ----------
    landmarks
        CSV of landmark pairs (``he_x,he_y,ki67_x,ki67_y`` in pixels), or None.
    shift_um, rotate_deg
        A nudge of the region on the Ki-67 slide: right, down, and clockwise about the middle of the tissue.
    as_given
        Take it as it is; otherwise it is refined automatically.
    """

    landmarks: Path | None = None
    shift_um: tuple[float, float] = (0.0, 0.0)
    rotate_deg: float = 0.0
    as_given: bool = False

    def read(self, he: Slide, ki67: Slide) -> registration.ByHand:
        """Read the landmarks of these two slides."""
        pairs = None
        if self.landmarks is not None:
            sizes = [(slide.bounds_um.width_um, slide.bounds_um.height_um) for slide in (he, ki67)]
            pairs = registration.read_landmark_pairs(self.landmarks, he.frame, ki67.frame, sizes[0], sizes[1])
        return registration.ByHand(pairs, self.shift_um, self.rotate_deg, self.as_given)

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the result."""
        pairs = None if self.landmarks is None else sha256_of(self.landmarks)
        return {"landmarks": pairs, "nudge": [*self.shift_um, self.rotate_deg], "as_given": self.as_given}


@dataclass(frozen=True)
class Options:
    """What a user can choose; the defaults are the recommended way.

    Parameters
    ----------
    regions
        Region file of the H&E (``score``) or of the Ki-67 slide (``count``); None finds the region.
    label
        Which label of the region file is counted; None takes IDC, or what other programs call it.
    find_tumour
        ``count`` without a region: outline the carcinoma where most nuclei are tumour cells, and count in it.
    mode
        Registration: ``rigid``, ``affine`` or ``deformable``.
    adjustment
        Registration by hand; None registers automatically.
    use_unaccepted_registration
        Go on with a registration that is not believable.
    allow_few_cells
        Report an index on fewer tumour cells than the recommended minimum.
    engine
        What finds the cells: ``network`` or ``forest``.
    cell_model
        Another model of that engine (``ki67 cells train``); None takes the shipped one.
    device
        Where the models run, None for where the job says; a graphics card finds a few other cells (039).
    dab_threshold
        Mean DAB density of a tumour nucleus from which it is positive; None leaves that to the engine.
    use_doubtful_region
        Go on with a region that lies beside the tissue, or where the tumour cells are not, or that was found on an
        H&E unlike those that the model was trained on.
    use_unusable_stain
        Report an index where the stain or the colours are known to be unusable.
    idc_model
        Another model of the carcinoma (``ki67 idc train``, ``idc adapt``); None takes the shipped one.
    outline
        How the carcinoma is outlined on the heat map.
    validation
        What the laboratory's own validation found (``ki67 validate``), for the interval of the index; None takes what
        the model's card says.
    intensity_cuts_od
        Mean DAB density from which a positive cell is 2+ and 3+.
    keep_artefacts
        Count what lies under pen, in folds and out of focus like everything else.
    language
        Language of the report.
    details
        What the laboratory tells of the case; what is not told here stays as it was told before.
    """

    regions: Path | None = None
    label: str | None = None
    find_tumour: bool = False
    mode: RegistrationMode = RegistrationMode.deformable
    adjustment: Adjustment | None = None
    use_unaccepted_registration: bool = False
    allow_few_cells: bool = False
    engine: EngineName = cells.DEFAULT_ENGINE
    cell_model: Path | None = None
    device: Device | None = None
    dab_threshold: float | None = None
    validation: Path | None = None
    intensity_cuts_od: tuple[float, float] = INTENSITY_CUTS_OD
    keep_artefacts: bool = False
    use_unusable_stain: bool = False
    use_doubtful_region: bool = False
    idc_model: Path | None = None
    outline: idc.OutlineOptions = idc.DEFAULT_OUTLINE
    language: Language = Language.en
    details: CaseDetails = field(default_factory=CaseDetails)
