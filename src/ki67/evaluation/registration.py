"""Registration against landmarks: the target registration error (TRE), as ANHIR measures it.

Borovec et al., IEEE TMI 39:3042, 2020: the error of a landmark, and the same relative to the image's diagonal (rTRE).
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.errors import DataSetError, RegistrationError
from ki67.files import read_text
from ki67.registration import reach, register_sections, sections, ways
from ki67.slides import open_slide
from ki67.vocabulary import RegistrationMode

LANDMARK_COLUMNS = ("", "X", "Y")
CSV_WAY_OUT = "A landmark file has the header ',X,Y' and one landmark a line: number, x, y in pixels from the corner"
# A map of the plane is not judged by fewer.
MINIMUM_LANDMARKS = 3


def evaluate_registration(
    fixed_path: str | Path,
    moving_path: str | Path,
    fixed_csv: str | Path,
    moving_csv: str | Path,
    fixed_mpp: float | None = None,
    moving_mpp: float | None = None,
    mode: RegistrationMode = RegistrationMode.deformable,
    figures: str | Path | None = None,
    *,
    mpp_overrides_file: bool = False,
    others: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Register two images and measure the error at landmarks.

    Parameters
    ----------
    fixed_path, moving_path
        The images; the moving landmarks are mapped into the fixed one.
    fixed_csv, moving_csv
        Landmarks in pixels, row i of one belongs to row i of the other; 0, 0 is the corner of the image, as for
        ImageJ, ``ki67 simulate`` and QuPath (there the corner of the part that is shown). Where one file is longer,
        its last rows are left out and ``warnings`` says so.
    fixed_mpp, moving_mpp
        µm per pixel where the files do not say.
    mpp_overrides_file
        Take them although a file says otherwise.
    mode
        As for :func:`ki67.registration.register`.
    others
        Further sections of the block, of the moving image's pixel size, through which the way may lead
        (:mod:`ki67.registration.block`).
    figures
        Folder for ``landmarks.png``: both sections with the landmarks, before and after; None draws nothing.

    Returns
    -------
    ``median_tre_um``, ``p90_tre_um``, ``median_tre_px``, ``p90_tre_px`` (fixed pixels), ``median_rtre``,
    ``median_rtre_before`` (images superimposed), ``landmarks``, ``landmarks_unmapped`` (on tissue that is not
    registered: they have no error), ``ncc``, ``seconds``, ``accepted``, ``reasons``,
    ``warnings`` and ``quality`` (without the map of local agreement).

    Raises
    ------
    MissingExtraError
        Where figures are asked for and the extra ``figures`` is not installed.
    DataSetError
        Where a landmark file is malformed.
    RegistrationError
        Where no landmark is mapped.
    """
    if figures is not None:
        # Here, so that the work is not done in vain where matplotlib is missing.
        from ki67.evaluation.registration_figure import draw_registration
    fixed_px, moving_px = read_landmarks(fixed_csv), read_landmarks(moving_csv)
    count = min(len(fixed_px), len(moving_px))
    warnings = []
    if len(fixed_px) != len(moving_px):
        warnings.append(
            f"{len(fixed_px)} fixed and {len(moving_px)} moving landmarks: the first {count} of both are compared"
        )
    start = time.monotonic()
    with ExitStack() as opened:
        paths = [fixed_path, moving_path, *others]
        fixed, moving, *_ = slides = [
            opened.enter_context(open_slide(path, mpp, overrides_file=mpp_overrides_file))
            for path, mpp in zip(paths, [fixed_mpp, *[moving_mpp] * (len(paths) - 1)], strict=True)
        ]
        warnings += [text for slide in slides for text in slide.named_warnings]
        both = {(a, b): sections(slides[a], slides[b]) for a, b in combinations(range(len(slides)), 2)}
        pairs = {numbers: register_sections(*one, mode=mode) for numbers, one in both.items()}
        pair = both[0, 1]
        reached = reach(*pair, 1, ways(pairs, len(slides))[1], pairs)
        transform, quality = reached.transform, reached.quality
        seconds = time.monotonic() - start
        fixed_um = fixed.frame.to_um(fixed_px[:count])
        moving_um = moving.frame.to_um(moving_px[:count])
        diagonal_um = math.hypot(fixed.bounds_um.width_um, fixed.bounds_um.height_um)
        fixed_pixel_um = fixed.mpp
    tre_um = np.hypot(*(transform.inverse_points(moving_um) - fixed_um).T)
    unmapped = int(np.isnan(tre_um).sum())
    if unmapped == count:
        msg = "no landmark lies on tissue that is registered"
        raise RegistrationError(f"{fixed_path}: {msg}. Check that the two are sections of one block")
    tre_um = tre_um[np.isfinite(tre_um)]
    if figures is not None:
        draw_registration(Path(figures) / "landmarks.png", pair, transform, (fixed_um, moving_um))
    # "Before" is what a reader without registration sees: one image laid on the other, pixel on pixel.
    before_px = np.hypot(*(moving_px[:count] - fixed_px[:count]).T)
    return {
        "median_tre_um": float(np.median(tre_um)),
        "p90_tre_um": float(np.percentile(tre_um, 90)),
        "median_tre_px": float(np.median(tre_um) / fixed_pixel_um),
        "p90_tre_px": float(np.percentile(tre_um, 90) / fixed_pixel_um),
        "median_rtre": float(np.median(tre_um) / diagonal_um),
        "median_rtre_before": float(np.median(before_px) * fixed_pixel_um / diagonal_um),
        "landmarks": count,
        "landmarks_unmapped": unmapped,
        "ncc": quality.ncc,
        "ncc_before": quality.ncc_before,
        "mode": quality.mode,
        "seconds": seconds,
        "accepted": quality.accepted,
        "reasons": list(quality.reasons),
        "warnings": warnings + list(quality.warnings),
        "quality": quality.figures(),
    }


def read_landmarks(path: str | Path) -> NDArray[np.float64]:
    """Landmarks (N, 2), x and y in pixels, from a CSV with the columns ``,X,Y``.

    Raises
    ------
    DataSetError
        With the number of the line that is wrong.
    """
    source = Path(path)
    try:
        rows = list(csv.reader(read_text(source, DataSetError, CSV_WAY_OUT, "landmarks").splitlines()))
    except csv.Error as error:
        raise DataSetError(source, f"cannot be read as landmarks: {error}", CSV_WAY_OUT) from error
    header = tuple(cell.strip() for cell in rows[0]) if rows else ()
    if len(header) != len(LANDMARK_COLUMNS) or tuple(cell.upper() for cell in header[1:]) != LANDMARK_COLUMNS[1:]:
        raise DataSetError(source, f"line 1: found the columns {','.join(header)!r}, expected ',X,Y'", CSV_WAY_OUT)
    points = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        points.append(_point(source, number, row))
    if len(points) < MINIMUM_LANDMARKS:
        raise DataSetError(
            source, f"holds {len(points)} landmarks, at least {MINIMUM_LANDMARKS} expected", CSV_WAY_OUT
        )
    return np.array(points, dtype=np.float64)


def _point(source: Path, number: int, row: list[str]) -> tuple[float, float]:
    if len(row) != len(LANDMARK_COLUMNS):
        raise DataSetError(source, f"line {number}: {len(row)} values, 3 expected", CSV_WAY_OUT)
    try:
        x, y = float(row[1]), float(row[2])
    except ValueError:
        raise DataSetError(source, f"line {number}: {','.join(row[1:])!r} are not two numbers", CSV_WAY_OUT) from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataSetError(source, f"line {number}: the position is not finite", CSV_WAY_OUT)
    return x, y
