"""SimpleITK's registration framework in the place of elastix: ``python benchmarks/simpleitk_engine.py``.

The real pairs, both ways (``KI67_DATA``). Both engines get the same sections in the same coarse pose, the same mask,
one thread, mutual information (Mattes), four resolutions: an affine map, then a B-spline of the same grid from that
engine's own affine map. SimpleITK gets every pixel, since its optimisers stop at once on random samples. Prints the
median error at the landmarks in pixels after each, the processor's seconds, and what either takes on the disk.
``--simpleitk`` names the folder of ``pip install --target DIR SimpleITK`` where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.progress import configure
from ki67.registration import DisplacementField, Transform, fine, sections
from ki67.registration.coarse import find_pose
from ki67.registration.images import Section
from ki67.registration.steps import GRID_UM
from ki67.registration.warp import Matrix, Warped, pixel_matrix, warp
from ki67.slides import open_slide
from registration_peers import Pair, real_pairs

BINS = 32
SHRINK, SMOOTH = (8, 4, 2, 1), (4.0, 2.0, 1.0, 0.0)
ITERATIONS, SMALLEST_STEP, RELAXATION = 400, 1e-4, 0.7
SPLINE_ITERATIONS = 100


class Elastix:
    """The engine as shipped."""

    packages = ("itk",)

    def affine(self, fixed: Section, warped: Warped) -> Matrix:
        """Affine map that remains, µm to µm."""
        return fine.affine(fixed, warped, fixed.tissue | warped.tissue)

    def spline(self, fixed: Section, warped: Warped) -> DisplacementField:
        """Displacements that remain."""
        return fine.deformable(fixed, warped, fixed.tissue | warped.tissue, GRID_UM)


class SimpleItk:
    """SimpleITK's ImageRegistrationMethod, set as near to that as it goes."""

    packages = ("SimpleITK",)

    def __init__(self) -> None:
        import SimpleITK

        self.sitk: Any = SimpleITK
        self.sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

    def _method(self, fixed: Section, warped: Warped) -> tuple[Any, Any, Any]:
        sitk = self.sitk
        images = [sitk.GetImageFromArray(np.ascontiguousarray(part.density, np.float32)) for part in (fixed, warped)]
        mask = ((fixed.tissue | warped.tissue) & warped.valid).astype(np.uint8)
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(sitk.GetImageFromArray(mask))
        if not warped.valid.all():
            method.SetMetricMovingMask(sitk.GetImageFromArray(warped.valid.astype(np.uint8)))
        method.SetInterpolator(sitk.sitkLinear)
        method.SetShrinkFactorsPerLevel(SHRINK)
        method.SetSmoothingSigmasPerLevel(SMOOTH)
        return method, *images

    def affine(self, fixed: Section, warped: Warped) -> Matrix:
        """Affine map that remains, µm to µm."""
        method, image, moving = self._method(fixed, warped)
        start = self.sitk.AffineTransform(2)
        start.SetCenter([side / 2 for side in image.GetSize()])
        method.SetInitialTransform(start, inPlace=True)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, SMALLEST_STEP, ITERATIONS, RELAXATION)
        method.SetOptimizerScalesFromPhysicalShift()
        method.Execute(image, moving)
        in_px = np.eye(3)
        in_px[:2, :2] = np.reshape(start.GetMatrix(), (2, 2))
        in_px[:2, 2] = start.TransformPoint((0.0, 0.0))
        scale = pixel_matrix(fixed.mpp)
        return np.asarray(scale @ in_px @ np.linalg.inv(scale))

    def spline(self, fixed: Section, warped: Warped) -> DisplacementField:
        """Displacements that remain."""
        method, image, moving = self._method(fixed, warped)
        mesh = [max(1, round(side * fixed.mpp / GRID_UM)) for side in image.GetSize()]
        start = self.sitk.BSplineTransformInitializer(image, mesh)
        method.SetInitialTransform(start, inPlace=True)
        method.SetOptimizerAsLBFGSB(numberOfIterations=SPLINE_ITERATIONS)
        method.Execute(image, moving)
        field = self.sitk.TransformToDisplacementField(start, self.sitk.sitkVectorFloat64, image.GetSize())
        step = max(1, round(GRID_UM / fixed.mpp / 4))
        vectors = self.sitk.GetArrayFromImage(field)[::step, ::step].astype(np.float32) * np.float32(fixed.mpp)
        return DisplacementField((0.5 * fixed.mpp,) * 2, step * fixed.mpp, np.ascontiguousarray(vectors))


def measure(pair: Pair, engines: dict[str, Elastix | SimpleItk]) -> None:
    """Print both engines' errors on one pair."""
    with open_slide(pair.fixed, pair.mpp) as f, open_slide(pair.moving, pair.mpp) as m:
        fixed, moving = sections(f, m)
    coarse = find_pose(fixed, moving).best.matrix
    print(f"{pair.name:40s} coarse {error_px(pair, Transform(coarse)):5.2f}", end="")
    for name, engine in engines.items():
        start = time.process_time()
        matrix = coarse @ engine.affine(fixed, warp(fixed, moving, coarse))
        middle = time.process_time()
        bent = Transform(matrix, engine.spline(fixed, warp(fixed, moving, matrix)))
        errors = error_px(pair, Transform(matrix)), error_px(pair, bent)
        seconds = middle - start, time.process_time() - middle
        print(f"  {name}: {errors[0]:5.2f} ({seconds[0]:.0f} s) {errors[1]:5.2f} ({seconds[1]:.0f} s)", end="")
    print(flush=True)


def error_px(pair: Pair, transform: Transform) -> float:
    """Median error at the landmarks, in pixels of the fixed picture."""
    carried: NDArray[np.float64] = transform.inverse_points((pair.moving_points + 0.5) * pair.mpp)
    return float(np.median(np.hypot(*(carried / pair.mpp - 0.5 - pair.fixed_points).T)))


def installed_bytes(package: str) -> int:
    """Size of a package, its libraries beside it with it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return 0
    around = Path(spec.origin).parent.parent
    folders = [path for path in around.glob(f"{package.lower()}*") if path.is_dir()]
    folders += [path for path in around.glob(f"{package}*") if path.is_dir() and path not in folders]
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simpleitk", type=Path)
    parser.add_argument("--pairs", type=int, help="only so many of the pairs")
    given = parser.parse_args()
    if given.simpleitk is not None:
        sys.path.append(str(given.simpleitk))
    if importlib.util.find_spec("SimpleITK") is None:
        sys.exit("SimpleITK is not installed: pip install --target DIR SimpleITK, then --simpleitk DIR")
    data = os.environ.get("KI67_DATA")
    if data is None:
        sys.exit("KI67_DATA does not say where the real pairs are")
    configure(quiet=True)
    engines: dict[str, Elastix | SimpleItk] = {"elastix": Elastix(), "SimpleITK": SimpleItk()}
    for name, engine in engines.items():
        print(f"{name}: {sum(installed_bytes(package) for package in engine.packages) / 1e9:.2f} GB installed")
    for pair in real_pairs(Path(data))[: given.pairs]:
        measure(pair, engines)


if __name__ == "__main__":
    main()
