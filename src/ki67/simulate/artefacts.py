"""What goes wrong on real slides: folds, tears, pen, patches out of focus; all in the slide's frame."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67.simulate.options import SimulationOptions

Array = NDArray[np.float64]
ArtefactKind = Literal["fold", "tear", "pen", "out_of_focus"]

PEN_INKS = ((1.1, 0.65, 0.12), (1.0, 0.30, 0.75), (0.9, 0.9, 0.9))  # optical density of blue, green, black ink
FOCUS_SIGMA_UM = (1.5, 3.5)  # blur of a patch out of focus


@dataclass(frozen=True)
class Artefact:
    """A bent stroke or, for ``out_of_focus``, an ellipse, at (``x_um``, ``y_um``) on the slide."""

    kind: ArtefactKind
    x_um: float
    y_um: float
    angle: float
    half_length_um: float
    half_width_um: float
    bend_um: float
    ink: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sigma_um: float = 0.0

    def depth(self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]) -> Array:
        """How far inside positions lie, in µm (negative outside)."""
        dx, dy = x_um - self.x_um, y_um - self.y_um
        along = dx * np.cos(self.angle) + dy * np.sin(self.angle)
        across = dy * np.cos(self.angle) - dx * np.sin(self.angle)
        share = along / self.half_length_um
        if self.kind == "out_of_focus":
            return np.asarray((1 - np.hypot(share, across / self.half_width_um)) * self.half_width_um)
        across = across - self.bend_um * np.sin(2.2 * share + self.x_um)
        across = across - 0.12 * self.bend_um * np.sin(9 * share + self.y_um)
        # strokes taper towards their ends
        width = self.half_width_um * (1 - np.minimum(np.abs(share), 1.3) ** 4)
        return np.asarray(width - np.abs(across))

    def to_dict(self) -> dict[str, Any]:
        """Return the artefact as JSON-ready data."""
        return asdict(self)


def draw_artefacts(
    rng: np.random.Generator, options: SimulationOptions, tissue: BaseGeometry
) -> tuple[Artefact, ...]:
    """Draw the artefacts of one slide; ``tissue`` is the tissue's outline on it, µm."""
    scale = float(np.sqrt(tissue.area))

    def stroke(
        kind: ArtefactKind, length: tuple[float, float], width_um: tuple[float, float], bend: float
    ) -> Artefact:
        reach = float(scale * rng.uniform(*length))
        return _stroke(rng, kind, tissue, reach, float(rng.uniform(*width_um)), bend * scale)

    drawn = [stroke("fold", (0.2, 0.45), (10, 22), 0.06) for _ in range(options.folds)]
    drawn += [stroke("tear", (0.08, 0.2), (12, 35), 0.03) for _ in range(options.tears)]
    drawn += [_pen(rng, tissue, scale) for _ in range(options.pen)]
    for _ in range(options.out_of_focus):
        size = (0.05 * scale, 0.12 * scale)
        drawn.append(stroke("out_of_focus", (0.08, 0.18), size, 0.0))
    return tuple(drawn)


def _stroke(
    rng: np.random.Generator,
    kind: ArtefactKind,
    tissue: BaseGeometry,
    half_length_um: float,
    half_width_um: float,
    bend_um: float,
) -> Artefact:
    left, top, right, bottom = tissue.buffer(-0.15 * np.sqrt(tissue.area)).bounds
    x_um, y_um = float(rng.uniform(left, right)), float(rng.uniform(top, bottom))
    sigma = float(rng.uniform(*FOCUS_SIGMA_UM)) if kind == "out_of_focus" else 0.0
    angle = float(rng.uniform(0, np.pi))
    return Artefact(
        kind, x_um, y_um, angle, float(half_length_um), float(half_width_um), float(bend_um), sigma_um=sigma
    )


def _pen(rng: np.random.Generator, tissue: BaseGeometry, scale_um: float) -> Artefact:
    # a pathologist's mark runs beside the tissue and touches its edge
    spot = tissue.exterior.interpolate(rng.random(), normalized=True)
    middle = tissue.centroid
    tangent = float(np.arctan2(spot.y - middle.y, spot.x - middle.x) + np.pi / 2)
    ink = PEN_INKS[int(rng.integers(len(PEN_INKS)))]
    length, width = float(scale_um * rng.uniform(0.12, 0.3)), float(rng.uniform(60, 110))
    return Artefact("pen", float(spot.x), float(spot.y), tangent, length, width, 0.04 * scale_um, ink=ink)
