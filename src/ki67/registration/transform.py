"""The map from the H&E section to the Ki-67 section, as data, in micrometres.

A :class:`Transform` is one 3 x 3 matrix and, where the tissue was stretched unevenly, a displacement field on a
regular grid in the H&E frame. A point ``p`` of the H&E section lies on the Ki-67 section at
``matrix @ (p + u(p))``. The field is applied first, so that it stays small, smooth and in the H&E frame whatever
rotation or mirroring the matrix holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67.errors import RegionError, RegistrationError
from ki67.geometry import as_multipolygon

# Straight edges are cut into pieces of at most this length before mapping: far below the distance over which a
# section stretches (hundreds of µm), so that the error of a chord is well under one µm.
EDGE_STEP_UM = 50.0
# The inverse is found by fixed-point iteration; a tenth of a µm is a fraction of a pixel at 40x.
INVERSE_TOLERANCE_UM = 0.1
INVERSE_ITERATIONS = 100
# A matrix is taken as singular when it shrinks area by more than this; no two scans of one block differ so much.
MINIMUM_DETERMINANT = 1e-6

Points = NDArray[np.float64]


@dataclass(frozen=True)
class DisplacementField:
    """Displacements on a regular grid in the H&E frame.

    Parameters
    ----------
    origin_um
        Position (x, y) of the first grid point.
    spacing_um
        Distance between grid points, in x and in y.
    vectors_um
        float32 (rows, columns, 2): displacement (dx, dy) at each grid point. Outside the grid the nearest edge
        value holds.
    """

    origin_um: tuple[float, float]
    spacing_um: float
    vectors_um: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = self.vectors_um.shape
        if len(shape) != 3 or shape[2] != 2 or min(shape[:2]) < 2:
            msg = f"a displacement field needs an array (rows, columns, 2), at least 2 x 2, got {shape}"
            raise RegistrationError(msg)
        if not (self.spacing_um > 0 and np.isfinite(self.vectors_um).all()):
            raise RegistrationError("a displacement field needs a positive spacing and finite vectors")

    def at(self, points_um: Points) -> Points:
        """Displacement (N, 2) in µm at points (N, 2) in µm, bilinear between grid points."""
        place = (points_um - np.asarray(self.origin_um)) / self.spacing_um
        coordinates = [place[:, 1], place[:, 0]]
        return np.stack(
            [
                ndimage.map_coordinates(self.vectors_um[..., axis], coordinates, order=1, mode="nearest")
                for axis in (0, 1)
            ],
            axis=1,
        ).astype(np.float64)

    def jacobian(self) -> NDArray[np.float64]:
        """Determinant of the derivative of ``p + u(p)`` at each grid point, (rows, columns); <= 0 is a fold."""
        vectors = self.vectors_um.astype(np.float64)
        dy = np.asarray(np.gradient(vectors, self.spacing_um, axis=0))
        dx = np.asarray(np.gradient(vectors, self.spacing_um, axis=1))
        return np.asarray((1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0])


@dataclass(frozen=True)
class Transform:
    """Map from H&E µm to Ki-67 µm and back.

    Parameters
    ----------
    matrix
        float64 (3, 3), homogeneous, last row 0 0 1.
    displacement
        Added to the points before the matrix, or None.
    """

    matrix: NDArray[np.float64]
    displacement: DisplacementField | None = None

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not np.allclose(matrix[2], (0, 0, 1)):
            raise RegistrationError("a transform needs a finite 3 x 3 matrix whose last row is 0 0 1")
        if abs(np.linalg.det(matrix[:2, :2])) < MINIMUM_DETERMINANT:
            raise RegistrationError("a transform needs a matrix that can be inverted")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Transform:
        """The transform that leaves every point where it is."""
        return cls(np.eye(3))

    @property
    def mirrored(self) -> bool:
        """Whether one section was mounted upside down."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)

    @property
    def scales(self) -> tuple[float, float]:
        """Smallest and largest stretch of the matrix (singular values)."""
        singular = np.linalg.svd(self.matrix[:2, :2], compute_uv=False)
        return float(singular[1]), float(singular[0])

    @property
    def rotation_deg(self) -> float:
        """Turn of the H&E x axis on the Ki-67 section, in degrees, clockwise on the screen (y points down)."""
        return math.degrees(math.atan2(self.matrix[1, 0], self.matrix[0, 0]))

    def reframed(self, he_um: tuple[float, float], ki67_um: tuple[float, float]) -> Transform:
        """The same map between the slides, where this one is between parts of them that begin at these places."""
        to_part, to_slide = np.eye(3), np.eye(3)
        to_part[:2, 2], to_slide[:2, 2] = -np.asarray(he_um), ki67_um
        field = self.displacement
        if field is not None:
            x_um, y_um = field.origin_um
            field = DisplacementField((x_um + he_um[0], y_um + he_um[1]), field.spacing_um, field.vectors_um)
        return Transform(to_slide @ self.matrix @ to_part, field)

    def map_points(self, points_um: Points) -> Points:
        """Map points (N, 2) from H&E µm to Ki-67 µm."""
        points = _as_points(points_um)
        if self.displacement is not None:
            points += self.displacement.at(points)
        return apply_matrix(self.matrix, np.asarray(points, np.float64))

    def inverse_points(self, points_um: Points) -> Points:
        """Map points (N, 2) from Ki-67 µm to H&E µm.

        Raises
        ------
        RegistrationError
            Where the displacement field folds so that the iteration does not settle.
        """
        target = apply_matrix(np.asarray(np.linalg.inv(self.matrix), np.float64), _as_points(points_um))
        if self.displacement is None or len(target) == 0:
            return target
        points = target.copy()
        for _ in range(INVERSE_ITERATIONS):
            residual = target - points - self.displacement.at(points)
            points += residual
            if np.hypot(residual[:, 0], residual[:, 1]).max() < INVERSE_TOLERANCE_UM:
                return points
        raise RegistrationError(
            "the displacement field cannot be inverted at "
            f"{int((np.hypot(*residual.T) >= INVERSE_TOLERANCE_UM).sum())} of {len(points)} points: it folds. "
            "Register with --mode affine."
        )

    def map_geometry(self, geometry: BaseGeometry) -> MultiPolygon:
        """Map a region from H&E µm to Ki-67 µm; holes and parts are kept, straight edges bend.

        Raises
        ------
        RegionError
            Where the region is empty or its map is not a valid region.
        """
        return map_region(geometry, self.map_points)

    def inverse_geometry(self, geometry: BaseGeometry) -> MultiPolygon:
        """Map a region from Ki-67 µm to H&E µm; as :meth:`map_geometry`, the other way."""
        return map_region(geometry, self.inverse_points)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the displacement vectors, ready for JSON; see :func:`ki67.registration.write_transform`."""
        field = self.displacement
        return {
            "format": "ki67-transform-1",
            "direction": "H&E micrometres to Ki-67 micrometres: matrix @ (p + displacement(p))",
            "matrix": self.matrix.tolist(),
            "mirrored": self.mirrored,
            "rotation_deg": self.rotation_deg,
            "scales": list(self.scales),
            "displacement": None
            if field is None
            else {
                "origin_um": list(field.origin_um),
                "spacing_um": field.spacing_um,
                "rows": int(field.vectors_um.shape[0]),
                "columns": int(field.vectors_um.shape[1]),
            },
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], vectors_um: NDArray[np.float32] | None = None) -> Transform:
        """Build the transform again from :meth:`to_dict` and the vectors stored beside it.

        Raises
        ------
        RegistrationError
            Where the data is not a transform or its displacement vectors are missing.
        """
        try:
            matrix = np.array(data["matrix"], dtype=np.float64)
            described = data.get("displacement")
            if described is None:
                return cls(matrix)
            if vectors_um is None:
                raise RegistrationError("the transform has a displacement field, but its vectors are missing")
            if vectors_um.shape[:2] != (described["rows"], described["columns"]):
                raise RegistrationError(
                    f"the displacement field has {vectors_um.shape[:2]} points, the transform says "
                    f"{(described['rows'], described['columns'])}"
                )
            x_um, y_um = (float(value) for value in described["origin_um"])
            return cls(matrix, DisplacementField((x_um, y_um), float(described["spacing_um"]), vectors_um))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"this is not a transform: {type(error).__name__} {error}"
            raise RegistrationError(msg) from error


def apply_matrix(matrix: NDArray[np.float64], points: Points) -> Points:
    """Apply a homogeneous matrix (3, 3) to points (N, 2)."""
    mapped: Points = points @ matrix[:2, :2].T + matrix[:2, 2]
    return mapped


def _as_points(points_um: Points) -> Points:
    points = np.array(points_um, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise RegistrationError("points to be mapped must be finite")
    return points


def map_region(geometry: BaseGeometry, mapping: Callable[[Points], Points]) -> MultiPolygon:
    """Map a region by any map of points; straight edges bend, what vanishes is refused."""
    source = as_multipolygon(geometry)
    if source.is_empty:
        raise RegionError("the region to be mapped is empty")
    mapped = shapely.transform(shapely.segmentize(source, EDGE_STEP_UM), mapping)
    if not mapped.is_valid:
        # A thin spike can cross itself when its corners move by a fraction of a µm: repair, then keep the areas.
        mapped = shapely.make_valid(mapped)
    result = as_multipolygon(mapped)
    if result.is_empty:
        raise RegionError("the region vanishes when it is mapped to the other section")
    return result
