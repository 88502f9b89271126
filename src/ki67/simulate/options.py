"""What a simulated section pair shall be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ki67.errors import SimulationError

Grade = Literal[1, 2, 3]

LEAST_SIDE_MM = 0.8  # below it a margin of glass, normal tissue and a tumour do not fit side by side
LONGEST_SIDE_MM = 100.0  # the largest slides are 75 mm long
MOST_ARTEFACTS = 1000  # beyond this nothing is left of a section
MPP_RANGE = (0.1, 4.0)  # finer is beyond any scanner, coarser leaves no nucleus to draw


@dataclass(frozen=True)
class SimulationOptions:
    """Everything that decides a simulated pair; equal options give equal files.

    Parameters
    ----------
    seed
        Seed of everything that is drawn.
    size_mm
        Width and height of the H&E slide. The Ki-67 slide is as large as the turned tissue needs.
    mpp
        µm per pixel of level 0 of both slides.
    cells
        Invasive tumour cells wanted on the Ki-67 section (met within a tenth); None for a tumour that
        takes up a natural share of the tissue.
    index_percent
        Ki-67 index of the invasive tumour cells as a whole; it is met as exactly as whole cells allow.
    hot_spot
        Strength of the index's variation in space: 0 for none, 1 for hot spots of about twice the mean.
    equivocal_percent
        Share of the tumour cells whose staining is so weak that readers would differ.
    rotation_deg, shift_um, deformation_um
        Placement of the Ki-67 section: turn (None: drawn from the seed), shift (None: drawn, up to 300 µm
        each way) and the largest displacement of the smooth deformation.
    grade
        Nuclear grade of the invasive carcinoma.
    dcis, normal_glands, lymphocytes, necrosis
        Whether ducts with DCIS, normal ducts and lobules, lymphocyte aggregates and necrosis are there.
    fat_fraction
        Share of fat in the tissue outside the tumour, 0 to 0.8.
    folds, tears, pen, out_of_focus
        How many of these artefacts there are on each slide.
    blur_um, noise
        Scanner: sigma of the point spread in µm, and of the sensor noise in grey levels.
    jpeg_quality
        Quality of the JPEG tiles; None writes lossless deflate tiles.
    white_balance
        Largest relative error of a colour channel's gain.
    """

    seed: int = 0
    size_mm: tuple[float, float] = (4.0, 3.0)
    mpp: float = 0.5
    cells: int | None = None
    index_percent: float = 20.0
    hot_spot: float = 0.5
    equivocal_percent: float = 4.0
    rotation_deg: float | None = None
    shift_um: tuple[float, float] | None = None
    deformation_um: float = 20.0
    grade: Grade = 2
    dcis: bool = True
    normal_glands: bool = True
    lymphocytes: bool = True
    necrosis: bool = True
    fat_fraction: float = 0.35
    folds: int = 0
    tears: int = 0
    pen: int = 0
    out_of_focus: int = 0
    blur_um: float = 0.3
    noise: float = 1.6
    jpeg_quality: int | None = 90
    white_balance: float = 0.02

    def __post_init__(self) -> None:
        """Collect all contradictions and raise once."""
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise SimulationError("simulation options: " + "; ".join(problems))

    def _checks(self) -> list[tuple[bool, str]]:
        width, height = self.size_mm
        low, high = MPP_RANGE
        counts = (self.folds, self.tears, self.pen, self.out_of_focus)
        return [
            (self.seed < 0, f"the seed is {self.seed}, it must not be negative"),
            (
                not (min(width, height) >= LEAST_SIDE_MM and max(width, height) <= LONGEST_SIDE_MM),
                f"the size is {width} x {height} mm, each side must be {LEAST_SIDE_MM} to {LONGEST_SIDE_MM:g} mm",
            ),
            (not low <= self.mpp <= high, f"the pixel size is {self.mpp} µm, it must be {low} to {high} µm"),
            (
                self.cells is not None and self.cells < 1,
                f"{self.cells} cells were asked for, it must be at least 1",
            ),
            (
                not 0 <= self.index_percent <= 100,
                f"the index is {self.index_percent} %, it must be 0 to 100 %",
            ),
            (not 0 <= self.hot_spot <= 3, f"the hot-spot strength is {self.hot_spot}, it must be 0 to 3"),
            (
                not 0 <= self.equivocal_percent <= 50,
                f"the equivocal share is {self.equivocal_percent} %, it must be 0 to 50 %",
            ),
            (
                not 0 <= self.deformation_um <= 100,
                f"the deformation is {self.deformation_um} µm, it must be 0 to 100 µm",
            ),
            (self.grade not in {1, 2, 3}, f"the grade is {self.grade}, it must be 1, 2 or 3"),
            (not 0 <= self.fat_fraction <= 0.8, f"the fat share is {self.fat_fraction}, it must be 0 to 0.8"),
            (min(counts) < 0, "artefacts cannot be fewer than none"),
            (max(counts) > MOST_ARTEFACTS, f"of each artefact there can be {MOST_ARTEFACTS} at most"),
            (
                self.rotation_deg is not None and not abs(self.rotation_deg) <= 360,
                f"the rotation is {self.rotation_deg}°, it must be -360 to 360°",
            ),
            (
                self.shift_um is not None and not max(map(abs, self.shift_um)) <= 1000 * LONGEST_SIDE_MM,
                f"the shift is {self.shift_um} µm, more than the longest slide",
            ),
            (not 0 <= self.blur_um <= 5, f"the blur is {self.blur_um} µm, it must be 0 to 5 µm"),
            (not 0 <= self.noise <= 20, f"the noise is {self.noise} grey levels, it must be 0 to 20"),
            (
                self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100,
                f"the JPEG quality is {self.jpeg_quality}, it must be 1 to 100",
            ),
            (
                not 0 <= self.white_balance <= 0.2,
                f"the white-balance error is {self.white_balance}, it must be 0 to 0.2",
            ),
        ]
