"""Fine registration with elastix (Klein et al., IEEE TMI 29:196, 2010; the engine behind the paper's SimpleElastix).

Each stage starts from the identity: the moving section is first brought into the fixed frame by what is known so
far, so that no stage has to carry a rotation, a mirroring or a large shift. The similarity is mutual information
(Mattes et al., SPIE 4322, 2001), which asks for no particular relation between the two stains.

elastix runs on one thread with a fixed seed: the same input gives the same output, bit for bit. (With several
threads it does not, and its bending-energy penalty crashes the process.)
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.errors import RegistrationError
from ki67.registration.images import Image, Mask, Section
from ki67.registration.transform import DisplacementField
from ki67.registration.warp import Matrix, Warped, pixel_matrix

SEED = 1984
# elastix recommends 250 to 2,000 iterations; with 4,000 samples the stochastic descent settles within 400.
ITERATIONS = 400
SAMPLES = 4000
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
    parameter_map = _parameter_map("bspline")
    parameter_map["FinalGridSpacingInPhysicalUnits"] = [str(grid_um / fixed.mpp)]
    parameter_map["GridSpacingSchedule"] = [str(2**level) for level in reversed(range(RESOLUTIONS))]
    parameter_map["Metric1Weight"] = [str(BENDING_WEIGHT)]
    result, image = _run(parameter_map, fixed, warped, mask)
    with tempfile.TemporaryDirectory() as folder:
        transformix = _elastix().transformix.New()
        transformix.SetMovingImage(image)
        transformix.SetTransformParameterObject(result)
        transformix.SetComputeDeformationField(True)
        transformix.SetOutputDirectory(folder)
        transformix.SetLogToConsole(False)
        transformix.UpdateLargestPossibleRegion()
        vectors = np.array(_elastix().itk.array_from_image(transformix.GetOutputDeformationField()), np.float32)
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
    fixed: Section, warped: Warped, mask: Mask, kind: str
) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    result, _ = _run(_parameter_map(kind), fixed, warped, mask)
    found = result.GetParameterMap(0)
    values = tuple(float(value) for value in found["TransformParameters"])
    return values, np.array([float(value) for value in found["CenterOfRotationPoint"]])


def _parameter_map(kind: str) -> Any:
    parameter_map = _elastix().parameters.GetDefaultParameterMap(kind, RESOLUTIONS)
    parameter_map["AutomaticTransformInitialization"] = ["false"]
    parameter_map["MaximumNumberOfIterations"] = [str(ITERATIONS)]
    parameter_map["NumberOfSpatialSamples"] = [str(SAMPLES)]
    parameter_map["RandomSeed"] = [str(SEED)]
    parameter_map["WriteResultImage"] = ["false"]
    # Half the samples may fall off the moving section where tissue is missing.
    parameter_map["RequiredRatioOfValidSamples"] = ["0.1"]
    return parameter_map


def _run(parameter_map: Any, fixed: Section, warped: Warped, mask: Mask) -> tuple[Any, Any]:
    """Run one stage; returns elastix's transform and the moving image."""
    elastix = _elastix()
    itk = elastix.itk
    fixed_image = itk.image_from_array(np.ascontiguousarray(fixed.density, np.float32))
    moving_image = itk.image_from_array(np.ascontiguousarray(warped.density, np.float32))
    parameters = elastix.parameters.New()
    parameters.AddParameterMap(parameter_map)
    method = elastix.registration.New()
    method.SetFixedImage(fixed_image)
    method.SetMovingImage(moving_image)
    method.SetParameterObject(parameters)
    method.SetFixedMask(itk.image_from_array(np.ascontiguousarray(mask & warped.valid, np.uint8)))
    if not warped.valid.all():
        method.SetMovingMask(itk.image_from_array(np.ascontiguousarray(warped.valid, np.uint8)))
    method.SetLogToConsole(False)
    method.SetLogToFile(False)
    method.SetNumberOfThreads(1)
    try:
        method.UpdateLargestPossibleRegion()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason given"
        msg = f"elastix cannot register {fixed.name}: {reason}"
        raise RegistrationError(msg) from error
    return method.GetTransformParameterObject(), moving_image


@dataclass(frozen=True)
class _Elastix:
    """ITK, and what is used of elastix for images of single precision in two dimensions."""

    itk: Any
    parameters: Any
    registration: Any
    transformix: Any


@cache
def _elastix() -> _Elastix:
    """Elastix, loaded late: it takes a second and a half.

    Each class is taken from its own module. Asked for by its name in ``itk``, the first of them would load all that
    elastix depends on: 9 s and 0.5 GB more, for types that are not used here. These names are the wrapping's own:
    they were the same from itk-elastix 0.23 to 0.25, and a later one must be tried before it is allowed.
    """
    itk = import_module("itk")
    return _Elastix(
        itk,
        import_module("itk.elxParameterObjectPython").elastixParameterObject,
        import_module("itk.itkElastixRegistrationMethodPython").itkElastixRegistrationMethodIF2IF2,
        import_module("itk.itkTransformixFilterPython").itkTransformixFilterIF2,
    )


__all__ = ["Image", "affine", "deformable", "rigid"]
