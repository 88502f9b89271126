"""A region carried over from the H&E to the Ki-67 slide, and what of it is not believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import shapely
from shapely.geometry import MultiPolygon

from ki67.annotations import Regions
from ki67.domain import Check, Verdict
from ki67.errors import RegistrationError
from ki67.geometry import area_mm2
from ki67.registration.belief import WORTH_A_WORD, LocalBelief, parts_of
from ki67.registration.pieces import PiecewiseTransform

MOST_UNREGISTERED: Final = 1 / 3
"""Share of a region that may lie on tissue without a believable place; of a region that has lost more, the rest is no
index. With a third of unknown index the spread is 33 points wide."""

WAY_OUT: Final = (
    "Mark pairs of places that are seen on both slides, two or more in each piece of tissue, and give them with "
    "--landmarks FILE; or outline the region on the Ki-67 slide and use 'ki67 count --regions'; or count what is "
    "registered with --use-unaccepted-registration"
)


@dataclass(frozen=True)
class Carried:
    """A region on the Ki-67 slide.

    Parameters
    ----------
    regions
        In Ki-67 µm.
    left_out
        In H&E µm: what of the region lies on tissue without a believable place.
    whole_mm2
        Area of the region on the H&E slide.
    parts
        Each connected part of it: :func:`ki67.registration.belief.parts_of`.
    """

    regions: Regions
    left_out: MultiPolygon
    whole_mm2: float
    parts: tuple[dict[str, Any], ...]

    @property
    def left_out_mm2(self) -> float:
        """Area that is left out."""
        return area_mm2(self.left_out)

    @property
    def left_out_share(self) -> float:
        """Share of the region that is left out, 0 to 1."""
        return min(1.0, self.left_out_mm2 / self.whole_mm2) if self.whole_mm2 > 0 else 0.0

    def check(self) -> Check:
        """Whether the region is registered: unusual where part of it is left out."""
        share = self.left_out_share
        text = (
            f"{self.left_out_mm2:.2f} mm² of the region ({share:.0%}) lies on tissue that has no believable place on "
            "the Ki-67 slide and was not counted; the spread of the index allows for any index there"
        )
        unusual = share >= WORTH_A_WORD
        verdict = Verdict.unusual if unusual else Verdict.usual
        return Check("region_unregistered", verdict, text if unusual else "", share, (0.0, WORTH_A_WORD))


def carry_over(regions: Regions, transform: PiecewiseTransform, belief: LocalBelief, *, insist: bool) -> Carried:
    """Carry regions of the H&E slide over, without what lies on tissue that is not registered.

    Parameters
    ----------
    regions
        In H&E µm.
    transform, belief
        The map, and what is believed of it place by place.
    insist
        Carry over what can be, however little that is.

    Raises
    ------
    RegistrationError
        Where more than :data:`MOST_UNREGISTERED` of the region is not registered.
    """
    whole = regions.union()
    left_out = transform.left_out(whole)
    kept = [region for region in regions if not (shapely.make_valid(region.geometry) - left_out).is_empty]
    share = left_out.area / whole.area if whole.area > 0 else 0.0
    if not kept or (share > MOST_UNREGISTERED and not insist):
        msg = (
            f"{area_mm2(left_out):.2f} mm² of the region ({share:.0%}) lies on tissue that has no believable place "
            f"on the Ki-67 slide, at most {MOST_UNREGISTERED:.0%} may. {WAY_OUT}"
        )
        raise RegistrationError(msg)
    mapped = Regions(kept, notes=regions.notes, source=regions.source).map_geometry(transform.map_geometry)
    return Carried(mapped, left_out, area_mm2(whole), tuple(parts_of(belief, whole, left_out)))
