"""Regions taken apart for formats that know neither holes nor regions of several parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import shapely
from shapely.geometry import Polygon

from ki67.annotations.coordinates import rounded_px
from ki67.annotations.regions import UNCLASSIFIED, Region, Regions
from ki67.geometry import polygons_of
from ki67.slides import PixelFrame


@dataclass
class Loss:
    """What a format could not carry over, counted while it is written."""

    vanished: int = 0
    in_parts: int = 0
    cut: int = 0
    ids: int = 0
    other: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """One clause per kind of loss."""
        clauses = {
            f"{self.vanished} region(s) less than a thousandth of a pixel across": self.vanished,
            f"{self.in_parts} region(s) of several parts, written as one region each part": self.in_parts,
            f"{self.cut} region(s) with holes, cut into pieces without holes; the area is the same": self.cut,
            f"the ids of {self.ids} region(s)": self.ids,
        }
        return [text for text, count in clauses.items() if count] + self.other


def polygons_of_regions(
    regions: Regions, frame: PixelFrame, loss: Loss, *, holes: bool
) -> Iterator[tuple[Region, Polygon]]:
    """Each region's polygons in a frame's pixels, in the regions' order.

    Parameters
    ----------
    holes
        Whether the format knows holes; without, a region is cut through its holes into pieces that together cover
        the same area.
    """
    for region in regions:
        geometry = rounded_px(region.geometry, frame)
        polygons = list(polygons_of(geometry))
        loss.vanished += not polygons
        loss.in_parts += len(polygons) > 1
        if not holes and any(one.interiors for one in polygons):
            loss.cut += 1
            polygons = [piece for one in polygons for piece in without_holes(one)]
        for polygon in polygons:
            yield region, polygon


def without_holes(polygon: Polygon) -> list[Polygon]:
    """Pieces without holes that cover a polygon: cut through the middle one of its holes, again and again."""
    waiting, done = [polygon], []
    while waiting:
        one = waiting.pop()
        if not one.interiors:
            done.append(one)
            continue
        middles = sorted((ring.bounds[0] + ring.bounds[2]) / 2 for ring in one.interiors)
        middle = middles[len(middles) // 2]
        left, top, right, bottom = one.bounds
        for half in (shapely.box(left, top, middle, bottom), shapely.box(middle, top, right, bottom)):
            waiting.extend(polygons_of(shapely.intersection(one, half)))
    return done


def label_text(region: Region) -> str:
    """Label to write: nothing for a region without a class."""
    return "" if region.label == UNCLASSIFIED else region.label
