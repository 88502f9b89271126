"""One map made of pieces: each part of the H&E section has its own way to the Ki-67 section, some have none.

Pieces of tissue float apart between the two sections, one is lost or turned over, a section tears. Each piece then
has a :class:`~ki67.registration.transform.Transform` of its own, and a domain on either slide in which it holds. What
lies on no piece is not mapped: points come out as NaN, regions are cut, and :meth:`PiecewiseTransform.left_out` says
what was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, mapping, shape
from shapely.geometry.base import BaseGeometry

from ki67.errors import RegionError, RegistrationError
from ki67.geometry import as_multipolygon
from ki67.registration.transform import DisplacementField, Points, Transform

# Domains that lie closer than this touch: the line between them is a seam.
SEAM_UM = 5.0
FORMAT = "ki67-transform-2"


@dataclass(frozen=True)
class Piece:
    """One piece of tissue and its way.

    Parameters
    ----------
    transform
        H&E µm to Ki-67 µm, smooth.
    he, ki67
        Where it holds, in µm of either slide; None for everywhere.
    """

    transform: Transform
    he: MultiPolygon | None = None
    ki67: MultiPolygon | None = None


@dataclass(frozen=True)
class PiecewiseTransform:
    """Map from H&E µm to Ki-67 µm and back, piece by piece.

    Parameters
    ----------
    pieces
        At least one; the first is the one with most tissue. Their domains do not overlap.
    unregistered
        Tissue of the H&E section, in µm, that has no believable place on the Ki-67 section.
    """

    pieces: tuple[Piece, ...]
    unregistered: MultiPolygon = field(default_factory=MultiPolygon)

    def __post_init__(self) -> None:
        if not self.pieces:
            raise RegistrationError("a transform needs at least one piece")
        if len(self.pieces) > 1 and any(piece.he is None or piece.ki67 is None for piece in self.pieces):
            raise RegistrationError("a transform of several pieces needs to know where each of them holds")

    @classmethod
    def whole(cls, transform: Transform) -> PiecewiseTransform:
        """The same smooth map everywhere."""
        return cls((Piece(transform),))

    @property
    def main(self) -> Transform:
        """The map of the piece with most tissue."""
        return self.pieces[0].transform

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Matrix of the main piece."""
        return self.main.matrix

    @property
    def displacement(self) -> DisplacementField | None:
        """Displacement field of the main piece."""
        return self.main.displacement

    @property
    def scales(self) -> tuple[float, float]:
        """Smallest and largest stretch of all pieces' matrices."""
        scales = [piece.transform.scales for piece in self.pieces]
        return min(low for low, _ in scales), max(high for _, high in scales)

    @property
    def rotation_deg(self) -> float:
        """Turn of the main piece; see :attr:`Transform.rotation_deg`."""
        return self.main.rotation_deg

    @property
    def mirrored(self) -> bool:
        """Whether any piece is mounted upside down."""
        return any(piece.transform.mirrored for piece in self.pieces)

    @property
    def seams(self) -> BaseGeometry:
        """Lines on the H&E section along which pieces touch; empty where they lie apart."""
        found = [
            piece.he.boundary & other.he.buffer(SEAM_UM)
            for number, piece in enumerate(self.pieces)
            for other in self.pieces[number + 1 :]
            if piece.he is not None and other.he is not None
        ]
        return shapely.union_all(found) if found else shapely.MultiLineString()

    def map_points(self, points_um: Points) -> Points:
        """Map points (N, 2) from H&E µm to Ki-67 µm; NaN for points on no registered piece."""
        return self._through(points_um, [piece.he for piece in self.pieces], Transform.map_points, self.unregistered)

    def inverse_points(self, points_um: Points) -> Points:
        """Map points (N, 2) from Ki-67 µm to H&E µm; NaN for points that belong to no registered piece."""
        found = self._through(points_um, [piece.ki67 for piece in self.pieces], Transform.inverse_points, None)
        found[_inside(self.unregistered, found)] = np.nan
        return found

    def _through(
        self,
        points_um: Points,
        domains: list[MultiPolygon | None],
        way: Callable[[Transform, Points], Points],
        without: BaseGeometry | None,
    ) -> Points:
        points = np.array(points_um, np.float64).reshape(-1, 2)
        if not np.isfinite(points).all():
            raise RegistrationError("points to be mapped must be finite")
        result = np.full(points.shape, np.nan)
        for piece, domain in zip(self.pieces, domains, strict=True):
            inside = np.ones(len(points), bool) if domain is None else _inside(domain, points)
            if inside.any():
                result[inside] = way(piece.transform, points[inside])
        if without is not None:
            result[_inside(without, points)] = np.nan
        return result

    def map_geometry(self, geometry: BaseGeometry) -> MultiPolygon:
        """Map a region from H&E µm to Ki-67 µm, cut along the seams; what is on no registered piece is left out.

        Raises
        ------
        RegionError
            Where the region is empty, or nothing of it lies on a registered piece.
        """
        return self._region(geometry, forward=True)

    def inverse_geometry(self, geometry: BaseGeometry) -> MultiPolygon:
        """Map a region from Ki-67 µm to H&E µm; as :meth:`map_geometry`, the other way."""
        return self._region(geometry, forward=False)

    def _region(self, geometry: BaseGeometry, *, forward: bool) -> MultiPolygon:
        source = as_multipolygon(geometry)
        if source.is_empty:
            raise RegionError("the region to be mapped is empty")
        mapped = []
        for piece in self.pieces:
            here, there = (piece.he, piece.ki67) if forward else (piece.ki67, piece.he)
            part = source if here is None else as_multipolygon(shapely.make_valid(source) & here)
            if forward and not self.unregistered.is_empty:
                part = as_multipolygon(shapely.make_valid(part) - self.unregistered)
            if part.is_empty:
                continue
            way = piece.transform.map_geometry if forward else piece.transform.inverse_geometry
            found = way(part)
            mapped.append(found if there is None else as_multipolygon(found & there))
        if len(mapped) == 1:
            result = mapped[0]
        else:
            result = as_multipolygon(shapely.union_all(mapped)) if mapped else MultiPolygon()
        if not forward and not self.unregistered.is_empty:
            result = as_multipolygon(result - self.unregistered)
        if result.is_empty:
            raise RegionError("nothing of the region lies on a piece of tissue that is registered")
        return result

    def left_out(self, geometry: BaseGeometry) -> MultiPolygon:
        """What of a region in H&E µm is not mapped: tissue that has no believable place on the Ki-67 section."""
        if self.unregistered.is_empty:
            return MultiPolygon()
        return as_multipolygon(shapely.make_valid(geometry) & self.unregistered)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the displacement vectors, ready for JSON.

        One piece that holds everywhere is written as :meth:`Transform.to_dict` does.
        """
        if len(self.pieces) == 1 and self.pieces[0].he is None and self.unregistered.is_empty:
            return self.main.to_dict()
        return {
            "format": FORMAT,
            "direction": "H&E micrometres to Ki-67 micrometres, each piece within its own domain",
            "pieces": [
                {
                    **piece.transform.to_dict(),
                    "he": None if piece.he is None else mapping(piece.he),
                    "ki67": None if piece.ki67 is None else mapping(piece.ki67),
                }
                for piece in self.pieces
            ],
            "unregistered": mapping(self.unregistered),
        }

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], vectors_um: list[NDArray[np.float32] | None] | None = None
    ) -> PiecewiseTransform:
        """Build the transform again from :meth:`to_dict` and the vectors of each piece stored beside it.

        Raises
        ------
        RegistrationError
            Where the data is not a transform or displacement vectors are missing.
        """
        entries = pieces_of(data)
        vectors = vectors_um or [None] * len(entries)
        try:
            pieces = tuple(
                Piece(Transform.from_dict(entry, field), _domain(entry.get("he")), _domain(entry.get("ki67")))
                for entry, field in zip(entries, vectors, strict=True)
            )
            return cls(pieces, _domain(data.get("unregistered")) or MultiPolygon())
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            msg = f"this is not a transform: {type(error).__name__} {error}"
            raise RegistrationError(msg) from error


def pieces_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The pieces' entries of a transform's data, of either format."""
    pieces = data.get("pieces", [data])
    if not isinstance(pieces, list) or not all(isinstance(entry, dict) for entry in pieces):
        raise RegistrationError("this is not a transform: its pieces are no list of transforms")
    return pieces


def _domain(data: Any) -> MultiPolygon | None:
    return None if data is None else as_multipolygon(shape(data))


def _inside(geometry: BaseGeometry, points: Points) -> NDArray[np.bool_]:
    if geometry.is_empty:
        return np.zeros(len(points), bool)
    shapely.prepare(geometry)
    finite = np.isfinite(points).all(axis=1)
    inside = np.zeros(len(points), bool)
    inside[finite] = shapely.intersects_xy(geometry, points[finite])
    return inside
