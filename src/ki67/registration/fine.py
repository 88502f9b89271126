"""Fine registration with elastix (Klein et al., IEEE TMI 29:196, 2010; the engine behind the paper's SimpleElastix).

Each stage starts from the identity: the moving section is first brought into the fixed frame by what is known so
far, so that no stage has to carry a rotation, a mirroring or a large shift. The similarity is mutual information
(Mattes et al., SPIE 4322, 2001), which asks for no particular relation between the two stains.

elastix runs on one thread with a fixed seed: the same input gives the same output, bit for bit. (With several
threads it does not, and its bending-energy penalty crashes the process.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ki67.errors import RegistrationError
from ki67.registration.elastix import Kind, Task, elastix
from ki67.registration.images import Mask, Section
from ki67.registration.transform import DisplacementField
from ki67.registration.warp import Matrix, Warped, pixel_matrix

SEED = 1984
# elastix recommends 250 to 2,000 iterations; with 4,000 samples the stochastic descent settles within 400.
ITERATIONS = 400
SAMPLES = 4000
# A B-spline costs four times as much for each, and comes hardly nearer with more (docs/decisions/004).
SPLINE_ITERATIONS, SPLINE_SAMPLES = 250, 2000
RESOLUTIONS = 4
# Elastix's default pull against bending; on pixels as unit, weak enough to follow a section's stretch.
BENDING_WEIGHT = 1.0


def rigid(fixed: Section, warped: Warped, mask: Mask) -> Matrix:
    """Turn and shift that remain, as a matrix (3, 3) from fixed µm to the warped section's µm.

    Raises
    ------
    RegistrationError
        Where elastix cannot run on these images (no overlap, flat image).
    """
    parameters = _linear_parameters(fixed, warped, mask, "rigid")
    angle, dx, dy = parameters[0]
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return _as_um(linear, (dx, dy), parameters[1], fixed.mpp)


def affine(fixed: Section, warped: Warped, mask: Mask) -> Matrix:
    """Affine map that remains; as :func:`rigid`."""
    values, centre = _linear_parameters(fixed, warped, mask, "affine")
    return _as_um(np.reshape(values[:4], (2, 2)), (values[4], values[5]), centre, fixed.mpp)


def deformable(fixed: Section, warped: Warped, mask: Mask, grid_um: float) -> DisplacementField:
    """B-spline displacement that remains, on a grid of a quarter of ``grid_um``; see :func:`rigid`."""
    changes = {
        "FinalGridSpacingInPhysicalUnits": (str(grid_um / fixed.mpp),),
        "GridSpacingSchedule": tuple(str(2**level) for level in reversed(range(RESOLUTIONS))),
        "Metric1Weight": (str(BENDING_WEIGHT),),
        "MaximumNumberOfIterations": (str(SPLINE_ITERATIONS),),
        "NumberOfSpatialSamples": (str(SPLINE_SAMPLES),),
    }
    vectors = elastix().displacements_px(_task(fixed, warped, mask, "bspline", changes))
    step = max(1, round(grid_um / fixed.mpp / 4))
    vectors = vectors[::step, ::step] * np.float32(fixed.mpp)
    if min(vectors.shape[:2]) < 2:
        raise RegistrationError("the section is too small for a deformable registration. Use --mode affine.")
    return DisplacementField((0.5 * fixed.mpp,) * 2, step * fixed.mpp, np.ascontiguousarray(vectors))


def _as_um(
    linear: NDArray[np.float64], shift: tuple[float, float], centre: NDArray[np.float64], mpp: float
) -> Matrix:
    """Matrix in µm of elastix's ``linear (x - centre) + shift + centre`` in pixels."""
    in_px = np.eye(3)
    in_px[:2, :2] = linear
    in_px[:2, 2] = np.asarray(shift) + centre - linear @ centre
    scale = pixel_matrix(mpp)
    return np.asarray(scale @ in_px @ np.linalg.inv(scale))


def _linear_parameters(
    fixed: Section, warped: Warped, mask: Mask, kind: Literal["rigid", "affine"]
) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    found = elastix().parameters(_task(fixed, warped, mask, kind, {}))
    values = tuple(float(value) for value in found["TransformParameters"])
    return values, np.array([float(value) for value in found["CenterOfRotationPoint"]])


def _task(fixed: Section, warped: Warped, mask: Mask, kind: Kind, changes: Mapping[str, tuple[str, ...]]) -> Task:
    common = {
        "AutomaticTransformInitialization": ("false",),
        "MaximumNumberOfIterations": (str(ITERATIONS),),
        "NumberOfSpatialSamples": (str(SAMPLES),),
        "RandomSeed": (str(SEED),),
        "WriteResultImage": ("false",),
        # Half the samples may fall off the moving section where tissue is missing.
        "RequiredRatioOfValidSamples": ("0.1",),
    }
    return Task(
        fixed.name,
        np.asarray(fixed.density, np.float32),
        np.asarray(warped.density, np.float32),
        mask & warped.valid,
        None if warped.valid.all() else warped.valid,
        kind,
        RESOLUTIONS,
        common | dict(changes),
    )
