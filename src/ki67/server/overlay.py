"""The H&E section in the frame of the Ki-67 slide, and points mapped from one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

from ki67.errors import RegistrationError
from ki67.geometry import RectUm, as_multipolygon
from ki67.light import WHITE, RgbImage
from ki67.registration import Piece, PiecewiseTransform
from ki67.registration.transform import Points, apply_matrix
from ki67.server.tiles import TilePlace
from ki67.slides import Slide

STEP_UM: Final = 32.0
"""Distance of the points that are mapped exactly, bilinear between them: displacements vary over hundreds of µm."""

LARGEST_STEP_PX: Final = 16
DERIVATIVE_UM: Final = 1.0
"""Step over which scale and angle at a point are measured."""

LARGEST_READ_PX: Final = 4096
"""Side of what is read for one tile: a map that asks for more folds, or is none."""


class SectionMap:
    """Map between the two slides of a case, with what corrections moved.

    Parameters
    ----------
    transform
        H&E µm to Ki-67 µm.
    motion
        What corrections add on the Ki-67 slide, float64 (3, 3).
    """

    def __init__(self, transform: PiecewiseTransform, motion: NDArray[np.float64]) -> None:
        self.transform, self.motion = transform, motion
        self._back = np.asarray(np.linalg.inv(motion), np.float64)

    def to_ki67(self, points_um: Points) -> Points:
        """Map points (N, 2) from H&E µm to Ki-67 µm; NaN on no registered piece."""
        return apply_matrix(self.motion, self.transform.map_points(points_um))

    def to_he(self, points_um: Points) -> Points:
        """Map points (N, 2) from Ki-67 µm to H&E µm; NaN on no registered piece."""
        return self.transform.inverse_points(apply_matrix(self._back, np.asarray(points_um, np.float64)))

    def region_to_ki67(self, region: MultiPolygon) -> MultiPolygon:
        """Map a region from H&E µm to Ki-67 µm.

        Raises
        ------
        RegionError
            Where nothing of it lies on a registered piece.
        """
        mapped = self.transform.map_geometry(region)
        return as_multipolygon(shapely.transform(mapped, lambda points: apply_matrix(self.motion, points)))

    def described(self, points_um: Points, *, to_ki67: bool) -> dict[str, Any]:
        """Return mapped points, and scale, angle and mirroring at each.

        Returns
        -------
        dict
            ``points_um``: [x, y] or None on no registered piece; ``scale``: µm there for each µm here;
            ``angle_deg``: turn of this slide's x axis there, clockwise on the screen; ``mirrored_at``; of the map as
            a whole ``mirrored``.
        """
        way = self.to_ki67 if to_ki67 else self.to_he
        places, matrices = _with_derivatives(way, points_um)
        a, b, c, d = (matrices[:, row, column] for row in (0, 1) for column in (0, 1))
        determinant = a * d - b * c
        # The nearest similarity: of a mirrored map the y axis is turned over first.
        side = np.where(determinant < 0, -1.0, 1.0)
        angle = np.degrees(np.arctan2(c - side * b, a + side * d))
        scale = np.sqrt(np.abs(determinant))
        known = np.isfinite(places).all(axis=1) & np.isfinite(determinant)
        return {
            "points_um": [point.tolist() if there else None for point, there in zip(places, known, strict=True)],
            "scale": _or_none(scale, known),
            "angle_deg": _or_none(angle, known),
            "mirrored_at": _or_none(determinant < 0, known),
            "mirrored": self.transform.main.mirrored,
        }

    def warped(self, he: Slide, place: TilePlace) -> RgbImage:
        """Read a tile of the Ki-67 slide's grid from the H&E slide; white where the map knows no place.

        Raises
        ------
        RegistrationError
            Where the map folds.
        """
        tile = np.full((place.height, place.width, 3), WHITE, np.uint8)
        for piece in self._pieces(place.rect_um):
            places, inside = self._places(piece, place)
            if inside.any():
                pixels = _sampled(he, places, place.mpp, inside)
                tile[inside] = pixels[inside]
        return tile

    def _pieces(self, rect_um: RectUm) -> Iterator[Piece]:
        corners = shapely.get_coordinates(rect_um.polygon)
        there = shapely.convex_hull(shapely.MultiPoint(apply_matrix(self._back, corners)))
        for piece in self.transform.pieces:
            if piece.ki67 is None or shapely.intersects(piece.ki67, there):
                yield piece

    def _places(self, piece: Piece, place: TilePlace) -> tuple[Points, NDArray[np.bool_]]:
        """H&E µm (H, W, 2) of each pixel by one piece, and which of them are its own."""
        step = int(np.clip(STEP_UM // place.mpp, 1, LARGEST_STEP_PX))
        centres = place.centres_um(step)
        grown = _grown(centres, step * place.mpp)
        ki67 = apply_matrix(self._back, grown.reshape(-1, 2))
        coarse = piece.transform.inverse_points(ki67).reshape(grown.shape)
        fine = _refined(coarse, step)[: place.height, : place.width]
        inside = np.ones((place.height, place.width), bool)
        if piece.ki67 is not None:
            there = apply_matrix(self._back, place.centres_um().reshape(-1, 2))
            shapely.prepare(piece.ki67)
            inside = np.asarray(shapely.contains_xy(piece.ki67, there)).reshape(inside.shape)
        if not self.transform.unregistered.is_empty:
            lost = self.transform.unregistered
            shapely.prepare(lost)
            inside &= ~np.asarray(shapely.contains_xy(lost, fine.reshape(-1, 2))).reshape(inside.shape)
        return fine, inside


def _with_derivatives(way: Any, points_um: Points) -> tuple[Points, NDArray[np.float64]]:
    """Mapped points (N, 2), and the matrix of the map's derivative (N, 2, 2) at each."""
    half = DERIVATIVE_UM / 2
    steps = np.array([[0, 0], [half, 0], [-half, 0], [0, half], [0, -half]])
    every = way((points_um[None] + steps[:, None]).reshape(-1, 2)).reshape(5, -1, 2)
    along_x, along_y = every[1] - every[2], every[3] - every[4]
    return every[0], np.stack([along_x, along_y], axis=-1) / DERIVATIVE_UM


def _or_none(values: NDArray[Any], known: NDArray[np.bool_]) -> list[Any]:
    return [value if there else None for value, there in zip(values.tolist(), known, strict=True)]


def _grown(centres: NDArray[np.float64], step_um: float) -> NDArray[np.float64]:
    """One more row and column of points on each side, so that every pixel lies between points."""
    x = np.concatenate([[centres[0, 0, 0] - step_um], centres[0, :, 0], [centres[0, -1, 0] + step_um]])
    y = np.concatenate([[centres[0, 0, 1] - step_um], centres[:, 0, 1], [centres[-1, 0, 1] + step_um]])
    return np.stack(np.meshgrid(x, y), axis=-1)


def _refined(coarse: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Values at the middles of all pixels, from those at middles of squares of ``step`` pixels and one around."""
    rows, columns = coarse.shape[0] - 2, coarse.shape[1] - 2
    down, across = (_between(count, step) for count in (rows, columns))
    return np.asarray(np.einsum("ri,cj,ijk->rck", down, across, coarse, optimize=True))


def _between(count: int, step: int) -> NDArray[np.float64]:
    """Weights (count * step, count + 2) of linear interpolation: pixel i lies at square (i + 0.5) / step - 0.5."""
    place = (np.arange(count * step) + 0.5) / step + 0.5  # one square lies before the first
    first = np.clip(np.floor(place).astype(np.intp), 0, count)
    weights = np.zeros((count * step, count + 2))
    row = np.arange(count * step)
    weights[row, first], weights[row, first + 1] = first + 1 - place, place - first
    return weights


def _sampled(he: Slide, places: Points, mpp: float, inside: NDArray[np.bool_]) -> RgbImage:
    """Pixels of the H&E slide at places (H, W, 2) in µm, read at about the tile's own resolution."""
    wanted = places[inside]
    low, high = wanted.min(axis=0) - 2 * mpp, wanted.max(axis=0) + 2 * mpp
    if (high - low).max() > LARGEST_READ_PX * mpp:
        raise RegistrationError("the registration folds here: no picture can be made of it")
    corner = np.floor(low / mpp) * mpp
    size = np.ceil((high - corner) / mpp) * mpp
    block = he.read(RectUm(float(corner[0]), float(corner[1]), float(size[0]), float(size[1])), mpp)
    at = ((places - corner) / mpp - 0.5).astype(np.float32)
    border = (WHITE, WHITE, WHITE)
    sampled = cv2.remap(
        block, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border
    )
    return np.asarray(sampled, np.uint8)
