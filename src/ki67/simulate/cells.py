"""The cells of one section: where they lie, what they are, how they are stained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ki67.simulate.nuclei import LOOK_NAMES, VARIANTS
from ki67.simulate.options import SimulationOptions
from ki67.simulate.scene import Fields, Scene
from ki67.vocabulary import CellClass

Array = NDArray[np.float64]
Stain = Literal["he", "ki67"]


class Kind(IntEnum):
    """What a cell is."""

    INVASIVE = 0
    DCIS = 1
    EPITHELIUM = 2
    MYOEPITHELIUM = 3
    LYMPHOCYTE = 4
    FIBROBLAST = 5
    ENDOTHELIUM = 6
    ADIPOCYTE = 7


TUMOUR = (Kind.INVASIVE, Kind.DCIS)
# nuclei per mm² of nest, by grade: labelled fields that are full of tumour hold 4000 to 7000
NEST_DENSITY = {1: 6300.0, 2: 5700.0, 3: 4500.0}
# mean nuclear diameter in µm and its relative spread, by grade (Nottingham: 1 small and regular, 3 pleomorphic)
TUMOUR_NUCLEUS = {1: (6.8, 0.08), 2: (7.6, 0.13), 3: (9.3, 0.19)}
SPACING_UM = {
    Kind.LYMPHOCYTE: 8.6,
    Kind.FIBROBLAST: 30.0,
    Kind.ADIPOCYTE: 30.0,
}
INFILTRATE_SPACING_UM = 24.0  # of the loose lymphocytes, before thinning
LEAST_GAP = 0.70  # of the mean diameter: nuclei closer than this lie in one another
# mean diameter, relative spread, mean and spread of length / width, by kind
NUCLEUS = {
    Kind.EPITHELIUM: (6.6, 0.09, 1.25, 0.12),
    Kind.MYOEPITHELIUM: (5.6, 0.10, 1.9, 0.3),
    Kind.LYMPHOCYTE: (5.7, 0.08, 1.08, 0.06),
    Kind.FIBROBLAST: (5.5, 0.16, 4.0, 1.1),
    Kind.ENDOTHELIUM: (5.0, 0.12, 3.2, 0.7),
    Kind.ADIPOCYTE: (5.2, 0.12, 2.4, 0.5),
}
# share of DAB-positive nuclei among the cells that are not counted
OTHER_POSITIVE = {
    Kind.DCIS: 0.15,
    Kind.EPITHELIUM: 0.02,
    Kind.MYOEPITHELIUM: 0.0,
    Kind.LYMPHOCYTE: 0.03,
    Kind.FIBROBLAST: 0.01,
    Kind.ENDOTHELIUM: 0.01,
    Kind.ADIPOCYTE: 0.0,
}
# haematoxylin amount (optical density along the stain vector) on H&E and on the Ki-67 section, and its spread: within
# a labelled field negative tumour nuclei differ by 0.39 to 0.43 of their mean, which is 0.14 (BCData) to 0.30 (SHIDC)
HAEMATOXYLIN = {
    Kind.INVASIVE: (0.45, 0.24, 0.38),
    Kind.DCIS: (0.47, 0.24, 0.32),
    Kind.EPITHELIUM: (0.72, 0.30, 0.20),
    Kind.MYOEPITHELIUM: (0.70, 0.36, 0.18),
    Kind.LYMPHOCYTE: (0.92, 0.40, 0.20),
    Kind.FIBROBLAST: (0.60, 0.25, 0.25),
    Kind.ENDOTHELIUM: (0.65, 0.33, 0.2),
    Kind.ADIPOCYTE: (0.6, 0.30, 0.2),
}


COUNTERSTAIN_UNDER_DAB = 0.65


@dataclass(frozen=True)
class Cells:
    """The nuclei of one section in the scene's frame; arrays of equal length."""

    x_um: Array
    y_um: Array
    kind: NDArray[np.intp]
    diameter_um: Array
    elongation: Array
    angle: Array
    look: NDArray[np.intp]
    variant: NDArray[np.intp]
    haematoxylin: Array
    dab: Array
    label: NDArray[np.intp]
    equivocal: NDArray[np.bool_]
    in_idc: NDArray[np.bool_]

    @property
    def major_um(self) -> Array:
        """Length of each nucleus."""
        return np.asarray(self.diameter_um * np.sqrt(self.elongation))

    @property
    def minor_um(self) -> Array:
        """Width of each nucleus."""
        return np.asarray(self.diameter_um / np.sqrt(self.elongation))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Invasive tumour cells inside the invasive region."""
        return np.asarray((self.kind == Kind.INVASIVE) & self.in_idc)


def place_cells(scene: Scene, stain: Stain, there: Callable[[Array], NDArray[np.bool_]] | None = None) -> Cells:
    """Place and stain the cells of one section.

    Parameters
    ----------
    scene
        The scene as this section cuts it.
    stain
        ``"he"`` or ``"ki67"``; decides the random numbers too, the cells of the sections are different ones.
    there
        Tells for points (N, 2), µm, whether the section is there (not torn); None where it is whole.
    """
    options = scene.options
    rng = np.random.default_rng([options.seed, 20, 0 if stain == "he" else 1])
    parts = [
        _invasive(rng, scene),
        _dcis(rng, scene),
        *_rings(rng, scene),
        *_stroma(rng, scene),
    ]
    points = np.concatenate([part for part, _ in parts])
    kinds = np.concatenate([np.full(len(part), kind, np.intp) for part, kind in parts])
    placed = scene.fields(points[:, 0], points[:, 1])
    alive = placed.tissue < -6.0
    if there is not None:
        alive &= there(points)
    points, kinds, in_idc = points[alive], kinds[alive], (placed.idc < 0)[alive]
    diameter, elongation = _sizes(rng, kinds, options)
    keep = _apart(points, diameter)
    points, kinds, in_idc = points[keep], kinds[keep], in_idc[keep]
    diameter, elongation = diameter[keep], elongation[keep]
    blank = Cells(
        x_um=points[:, 0],
        y_um=points[:, 1],
        kind=kinds,
        diameter_um=diameter,
        elongation=elongation,
        angle=_angles(rng, scene, points, kinds),
        look=_looks(kinds, options),
        variant=rng.integers(0, VARIANTS, len(kinds)),
        haematoxylin=np.zeros(len(kinds)),
        dab=np.zeros(len(kinds)),
        label=np.full(len(kinds), CellClass.OTHER, np.intp),
        equivocal=np.zeros(len(kinds), bool),
        in_idc=in_idc,
    )
    return _stained(rng, scene, blank, stain)


def _lattice(
    rng: np.random.Generator, bounds_um: tuple[float, ...], spacing_um: float, jitter: float = 0.27
) -> Array:
    left, top, right, bottom = bounds_um
    rise = spacing_um * np.sqrt(3) / 2
    rows = np.arange(top, bottom, rise)
    columns = np.arange(left, right, spacing_um)
    x, y = np.meshgrid(columns, rows)
    x = x + (np.arange(len(rows)) % 2)[:, None] * spacing_um / 2
    points = np.stack([x.ravel(), y.ravel()], 1)
    return np.asarray(points + rng.normal(0, jitter * spacing_um, points.shape).clip(-spacing_um, spacing_um))


def _hex_spacing(density_mm2: float) -> float:
    return float(np.sqrt(2 / (np.sqrt(3) * density_mm2 * 1e-6)))


def _invasive(rng: np.random.Generator, scene: Scene) -> tuple[Array, Kind]:
    if scene.idc.is_empty:
        return np.zeros((0, 2)), Kind.INVASIVE
    spacing = _hex_spacing(NEST_DENSITY[scene.options.grade])
    points = _lattice(rng, scene.idc.bounds, spacing * 0.94, 0.19)
    fields = scene.fields(points[:, 0], points[:, 1])
    keep = (fields.nest > 0.15) & (fields.fat < 0) & (rng.random(len(points)) > 0.04)
    return points[keep], Kind.INVASIVE


def _dcis(rng: np.random.Generator, scene: Scene) -> tuple[Array, Kind]:
    parts = [np.zeros((0, 2))]
    spacing = _hex_spacing(NEST_DENSITY[scene.options.grade]) * 0.97
    for gland in scene.glands_of("dcis"):
        r = gland.reach_um
        points = _lattice(rng, (gland.x_um - r, gland.y_um - r, gland.x_um + r, gland.y_um + r), spacing, 0.2)
        radius, wave = gland.polar(points[:, 0], points[:, 1])
        inside = (radius < wave * gland.radius_um - 5.0) & (radius > wave * gland.core_um)
        parts.append(points[inside])
    return np.concatenate(parts), Kind.DCIS


def _rings(rng: np.random.Generator, scene: Scene) -> list[tuple[Array, Kind]]:
    parts: dict[Kind, list[Array]] = {k: [] for k in (Kind.EPITHELIUM, Kind.MYOEPITHELIUM, Kind.ENDOTHELIUM)}
    layers = {
        "duct": ((Kind.EPITHELIUM, -9.0, 6.8), (Kind.MYOEPITHELIUM, -3.0, 11.0)),
        "acinus": ((Kind.EPITHELIUM, -8.0, 6.8), (Kind.MYOEPITHELIUM, -2.5, 12.0)),
        "dcis": ((Kind.MYOEPITHELIUM, -1.5, 15.0),),
        "vessel": ((Kind.ENDOTHELIUM, -2.0, 11.0),),
    }
    for gland in scene.glands:
        for kind, depth, step in layers.get(gland.kind, ()):
            radius = max(gland.radius_um + depth, 2.0)
            count = max(3, round(2 * np.pi * radius / step))
            phi = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
            ring = gland.ring(radius, phi)
            parts[kind].append(ring + rng.normal(0, 0.8, ring.shape))
    return [(np.concatenate(part) if part else np.zeros((0, 2)), kind) for kind, part in parts.items()]


def _stroma(rng: np.random.Generator, scene: Scene) -> list[tuple[Array, Kind]]:
    bounds = scene.tissue.bounds
    fibroblasts = _lattice(rng, bounds, SPACING_UM[Kind.FIBROBLAST] * 0.8, 0.4)
    fields = scene.fields(fibroblasts[:, 0], fibroblasts[:, 1])
    share = np.where(fields.idc < 30, 0.5, 0.3)  # desmoplastic stroma is more cellular
    fibroblasts = fibroblasts[_in_stroma(fields) & (rng.random(len(fibroblasts)) < share)]
    parts = [(fibroblasts, Kind.FIBROBLAST)]
    fat = _lattice(rng, bounds, SPACING_UM[Kind.ADIPOCYTE], 0.45)
    fields = scene.fields(fat[:, 0], fat[:, 1])
    border = scene.paint.foam.at(*_foam_position(fat, fields)) < 3.0
    parts.append((fat[(fields.fat > 0.1) & border], Kind.ADIPOCYTE))
    if scene.options.lymphocytes:
        parts.append((_lymphocytes(rng, scene), Kind.LYMPHOCYTE))
    return parts


def _foam_position(points: Array, fields: Fields) -> tuple[Array, Array]:
    # the renderer reads the foam at the same place: half the fibres' warp
    return (points[:, 0] + fields.fibre_u) / 2, (points[:, 1] + fields.fibre_v) / 2


def _in_stroma(fields: Fields) -> NDArray[np.bool_]:
    return np.asarray((fields.nest < -0.12) & (fields.fat < -0.05) & (fields.outer > 4.0))


def _lymphocytes(rng: np.random.Generator, scene: Scene) -> Array:
    loose = _lattice(rng, scene.tissue.bounds, INFILTRATE_SPACING_UM, 0.45)
    fields = scene.fields(loose[:, 0], loose[:, 1])
    share = 0.5 / (1 + np.exp(-2.2 * (fields.patchy - 0.9))) * np.where(fields.idc < 80, 1.0, 0.25)
    parts = [loose[_in_stroma(fields) & (rng.random(len(loose)) < share)]]
    for x, y, radius in scene.aggregates:
        reach = 1.5 * radius
        points = _lattice(rng, (x - reach, y - reach, x + reach, y + reach), SPACING_UM[Kind.LYMPHOCYTE])
        fields = scene.fields(points[:, 0], points[:, 1])
        ragged = np.hypot(points[:, 0] - x, points[:, 1] - y) / radius
        chance = 0.95 / (1 + np.exp((ragged - 1.0) / 0.12))
        parts.append(points[_in_stroma(fields) & (rng.random(len(points)) < chance)])
    return np.concatenate(parts)


def _sizes(rng: np.random.Generator, kinds: NDArray[np.intp], options: SimulationOptions) -> tuple[Array, Array]:
    mean, spread = TUMOUR_NUCLEUS[options.grade]
    table = dict(NUCLEUS)
    table[Kind.INVASIVE] = (mean, spread, 1.22, 0.15 + 0.05 * options.grade)
    table[Kind.DCIS] = (mean * 0.97, spread * 0.8, 1.18, 0.12)
    rows = np.array([table[Kind(k)] for k in range(len(Kind))])[kinds].reshape(-1, 4)
    diameter = rows[:, 0] * np.exp(rows[:, 1] * rng.standard_normal(len(kinds)).clip(-2.5, 2.5))
    elongation = 1.0 + np.abs(rows[:, 2] - 1 + rows[:, 3] * rng.standard_normal(len(kinds)))
    return diameter, elongation


def _apart(points: Array, diameter: Array) -> NDArray[np.bool_]:
    """Keep cells that do not lie in one another; of two the earlier one stays."""
    keep = np.ones(len(points), bool)
    if len(points) < 2:
        return keep
    pairs = cKDTree(points).query_pairs(LEAST_GAP * float(np.percentile(diameter, 99)), output_type="ndarray")
    gap = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    close = pairs[gap < LEAST_GAP * (diameter[pairs[:, 0]] + diameter[pairs[:, 1]]) / 2]
    for first, second in close[np.lexsort((close[:, 1], close[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return keep


def _angles(rng: np.random.Generator, scene: Scene, points: Array, kinds: NDArray[np.intp]) -> Array:
    angle = rng.uniform(0, np.pi, len(kinds))
    spindle = kinds == Kind.FIBROBLAST
    along = scene.fibre_angle(points[spindle, 0], points[spindle, 1])
    angle[spindle] = along + rng.normal(0, 0.15, spindle.sum())
    for kind, turn in ((Kind.ENDOTHELIUM, np.pi / 2), (Kind.MYOEPITHELIUM, np.pi / 2), (Kind.EPITHELIUM, 0.0)):
        of_kind = np.flatnonzero(kinds == kind)
        if not len(of_kind) or not scene.glands:
            continue
        centres = np.array([(g.x_um, g.y_um) for g in scene.glands])
        nearest = cKDTree(centres).query(points[of_kind])[1]
        out = points[of_kind] - centres[nearest]
        angle[of_kind] = np.arctan2(out[:, 1], out[:, 0]) + turn + rng.normal(0, 0.2, len(of_kind))
    return angle


def _looks(kinds: NDArray[np.intp], options: SimulationOptions) -> NDArray[np.intp]:
    tumour = f"tumour{options.grade}"
    names = {
        Kind.INVASIVE: tumour,
        Kind.DCIS: tumour,
        Kind.EPITHELIUM: "benign",
        Kind.MYOEPITHELIUM: "benign",
        Kind.LYMPHOCYTE: "lymphocyte",
        Kind.FIBROBLAST: "spindle",
        Kind.ENDOTHELIUM: "spindle",
        Kind.ADIPOCYTE: "spindle",
    }
    return np.array([LOOK_NAMES.index(names[Kind(k)]) for k in range(len(Kind))], np.intp)[kinds]


def _stained(rng: np.random.Generator, scene: Scene, cells: Cells, stain: Stain) -> Cells:
    table = np.array([HAEMATOXYLIN[Kind(k)] for k in range(len(Kind))])[cells.kind].reshape(-1, 3)
    amount = table[:, 0 if stain == "he" else 1]
    haematoxylin = amount * np.exp(table[:, 2] * rng.standard_normal(len(amount)).clip(-2.2, 2.2))
    cells = replace(cells, haematoxylin=haematoxylin)
    if stain == "he":
        return cells
    positive = np.zeros(len(amount), bool)
    counted = np.flatnonzero(cells.counted)
    positive[counted] = draw_positive(rng, scene, cells.x_um[counted], cells.y_um[counted])
    rest = ~cells.counted
    chance = np.array([0.0, *(OTHER_POSITIVE[Kind(k)] for k in range(1, len(Kind)))])[cells.kind]
    positive[rest] = rng.random(rest.sum()) < chance[rest]
    equivocal = cells.counted & (rng.random(len(amount)) < scene.options.equivocal_percent / 100)
    dab = np.where(positive, draw_dab(rng, len(amount)), 0.0)
    # weak staining: a reader may call it either way, the truth follows the protein
    dab = np.where(equivocal, np.where(positive, rng.uniform(0.16, 0.28, len(amount)), 0.0), dab)
    dab = np.where(equivocal & ~positive, rng.uniform(0.04, 0.10, len(amount)), dab)
    tumour = np.isin(cells.kind, TUMOUR)
    label = np.where(tumour, np.where(positive, CellClass.POSITIVE, CellClass.NEGATIVE), CellClass.OTHER)
    # proliferating nuclei are larger, and DAB keeps the counterstain out of them
    larger = np.where(positive & tumour, 1.06, 1.0)
    masked = np.where(positive, COUNTERSTAIN_UNDER_DAB, 1.0)
    return replace(
        cells,
        dab=dab,
        label=label.astype(np.intp),
        equivocal=equivocal,
        diameter_um=cells.diameter_um * larger,
        haematoxylin=cells.haematoxylin * masked,
    )


def draw_positive(rng: np.random.Generator, scene: Scene, x_um: Array, y_um: Array) -> NDArray[np.bool_]:
    """Choose exactly the asked share of cells, more of them where the hot-spot field is high.

    The share is met as a whole: the cells with the highest log-odds plus logistic noise are taken, which is a
    draw from a logistic model with the field as its covariate and the total held fixed.
    """
    count = round(scene.options.index_percent / 100 * len(x_um))
    field = scene.options.hot_spot * 1.4 * scene.hot_spots(x_um, y_um)
    score = field + rng.logistic(size=len(x_um))
    positive = np.zeros(len(x_um), bool)
    positive[np.argsort(-score, kind="stable")[:count]] = True
    return positive


def draw_dab(rng: np.random.Generator, count: int) -> Array:
    """DAB amounts of positive nuclei: a broad mixture from weak (1+) to near black (3+)."""
    grade = rng.choice(3, count, p=(0.17, 0.33, 0.50))
    middle = np.array([0.40, 0.90, 1.85])[grade]
    spread = np.array([0.20, 0.22, 0.25])[grade]
    return np.asarray(middle * np.exp(spread * rng.standard_normal(count).clip(-2, 2)))
