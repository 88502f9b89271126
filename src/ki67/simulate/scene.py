"""The tissue as a scene in µm, from which both sections are cut.

Every part is a function of position (periodic textures, outlines, round structures), so that a tile of a slide
is drawn from its position alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.errors import SimulationError
from ki67.simulate import textures
from ki67.simulate.glands import Gland, draw_gland, gland_fields, recut
from ki67.simulate.options import SimulationOptions
from ki67.simulate.textures import Floats, Texture
from ki67.simulate.tissue_shapes import DistanceRaster, distance_raster, place_tumour, tissue_outline, tumour_shape

GLASS_MARGIN = 0.06  # of the slide's shorter side: the tissue's edge is needed to find the turn
LEAST_MARGIN_UM = 120.0
TISSUE_RIM_UM = 70.0  # a tumour of the simulation does not reach the cut edge
WARP_UM = 70.0  # with the wavelength below, fibre directions swing by about ±30°
WARP_WAVELENGTH_UM = 800.0
NEST_WAVELENGTH_UM = {1: 75.0, 2: 95.0, 3: 130.0}  # nests grow with the loss of differentiation
NEST_SHARE = {1: 0.54, 2: 0.61, 3: 0.66}  # of the invasive area; the rest is desmoplastic stroma
NEST_UNEVENNESS = 0.40  # the share of nests varies over 0.4 mm: cellular and fibrous parts of a tumour
NEST_CHANGE = 0.22  # part of the nests' outline that differs between sections 4 µm apart
CRIMP_UM, CRIMP_WAVELENGTH_UM = 2.2, 34.0  # collagen is wavy at the scale of a few cells
MOTTLE_UM = 11.0  # about a cell
FAT_CELL_UM = 62.0  # 14 to 16 px at 4 µm in the real sections
BROAD_WAVELENGTHS_UM = (900.0, 500.0, 400.0, 800.0)  # fat lobules, collagen, patchiness, hot spots
IDC_SHARE = 0.42  # of the tissue, where no number of cells is asked for
LARGEST_IDC_SHARE = 0.85
FIT_STEPS = 6
GLAND_REACH_UM = 70.0  # how far around a gland its fields are needed


@dataclass(frozen=True)
class Fields:
    """The scene at some positions; distances in µm, negative inside."""

    tissue: Floats
    idc: Floats
    nest: Floats  # positive inside a nest, about 0.06 per µm
    fat: Floats  # positive in fat
    collagen: Floats  # standard normal: density of the stroma
    patchy: Floats  # standard normal over about 0.4 mm
    outer: Floats
    lumen: Floats
    necrosis: Floats
    blood: Floats
    fibre_u: NDArray[np.float64]
    fibre_v: NDArray[np.float64]


@dataclass(frozen=True)
class Paint:
    """The periodic textures a scene is made of."""

    warp: tuple[Texture, Texture]
    broad: tuple[Texture, Texture, Texture, Texture]  # fat, collagen, patchiness, hot spots
    nests: tuple[Texture, Texture]  # shared by the sections, this section's own
    fibres: Texture
    foam: Texture
    grain: Texture
    crimp: Texture  # waviness of the fibres
    mottle: Texture  # unevenness of the cytoplasm from cell to cell
    deeper: Texture  # the next section's own part of the nests


@dataclass(frozen=True)
class Scene:
    """A piece of breast with a tumour, in the H&E slide's frame."""

    options: SimulationOptions
    size_um: tuple[float, float]
    tissue: Polygon
    idc: MultiPolygon
    glands: tuple[Gland, ...]
    aggregates: NDArray[np.float64]  # (N, 3): x, y, radius of lymphocyte aggregates, µm
    tissue_distance: DistanceRaster
    idc_distance: DistanceRaster
    paint: Paint
    nest_threshold: float
    fat_threshold: float

    def fields(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> Fields:
        """Evaluate the scene at positions of any shape, µm in the H&E frame."""
        fibre_u = x_um + WARP_UM * self.paint.warp[0].at(x_um, y_um)
        fibre_v = y_um + WARP_UM * self.paint.warp[1].at(x_um, y_um)
        fibre_v = fibre_v + CRIMP_UM * self.paint.crimp.at(0.6 * fibre_u, fibre_v)
        tissue, idc = self.tissue_distance.at(x_um, y_um), self.idc_distance.at(x_um, y_um)
        fat, collagen, patchy, _ = (texture.at(x_um, y_um) for texture in self.paint.broad)
        glands = gland_fields(self.glands, x_um, y_um, GLAND_REACH_UM)
        own = self.paint.nests[1].at(x_um, y_um)
        # nests are drawn out along the fibres
        shared = self.paint.nests[0].at(0.75 * fibre_u, 1.15 * fibre_v)
        mixed = np.sqrt(1 - NEST_CHANGE**2) * shared + NEST_CHANGE * own
        nest = np.minimum(mixed - self.nest_threshold + NEST_UNEVENNESS * patchy, 0.06 * (-idc - 4.0))
        nest = np.minimum(nest, 0.06 * (glands.outer - 6.0))
        # fat keeps off glands and the tumour's core and creeps in at the tumour's edge
        fat = fat + np.float32(0.25) * own - np.float32(self.fat_threshold)
        fat = np.minimum(fat, 0.02 * (idc + 40.0 + 30.0 * own))
        fat = np.minimum(fat, 0.02 * (glands.outer - 25.0))
        fat = np.where(nest > 0, np.minimum(fat, -nest), fat)
        return Fields(
            tissue, idc, nest, fat, collagen, patchy,
            glands.outer, glands.lumen, glands.necrosis, glands.blood, fibre_u, fibre_v,
        )  # fmt: skip

    def hot_spots(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> Floats:
        """Standard normal field over about 0.7 mm: where the tumour proliferates more."""
        return self.paint.broad[3].at(x_um, y_um)

    def fibre_angle(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Direction of the fibres at positions, in radians from x towards y."""
        step = 4.0

        def across(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(y + WARP_UM * self.paint.warp[1].at(x, y), dtype=np.float64)

        slope_x = across(x_um + step, y_um) - across(x_um - step, y_um)
        slope_y = across(x_um, y_um + step) - across(x_um, y_um - step)
        return np.asarray(np.arctan2(-slope_x, slope_y))

    def glands_of(self, *kinds: str) -> tuple[Gland, ...]:
        """Return the round structures of these kinds."""
        return tuple(gland for gland in self.glands if gland.kind in kinds)


def draw_paint(options: SimulationOptions) -> Paint:
    """Draw the textures of a pair."""
    rng = np.random.default_rng([options.seed, 3])
    nest_wavelength = NEST_WAVELENGTH_UM[options.grade]
    broad = [textures.noise(rng, 512, 12.0, length, 0.6) for length in BROAD_WAVELENGTHS_UM]
    return Paint(
        warp=(
            textures.noise(rng, 512, 16.0, WARP_WAVELENGTH_UM, 0.45),
            textures.noise(rng, 512, 16.0, WARP_WAVELENGTH_UM, 0.45),
        ),
        broad=(broad[0], broad[1], broad[2], broad[3]),
        nests=(
            textures.noise(rng, 1024, 2.0, nest_wavelength, 0.45),
            textures.noise(rng, 1024, 2.0, nest_wavelength * 0.6, 0.5),
        ),
        fibres=textures.fibres(rng, 2048, 0.5),
        foam=textures.foam(rng, 1024, 1.0, FAT_CELL_UM),
        grain=textures.power_noise(rng, 1024, 0.5, 0.6),
        crimp=textures.noise(rng, 512, 2.0, CRIMP_WAVELENGTH_UM, 0.4),
        mottle=textures.noise(rng, 1024, 0.5, MOTTLE_UM, 0.4),
        deeper=textures.noise(rng, 1024, 2.0, nest_wavelength * 0.6, 0.5),
    )


def draw_scene(options: SimulationOptions, paint: Paint, idc_area_um2: float | None) -> Scene:
    """Draw the scene of a pair.

    Parameters
    ----------
    options
        What it shall be.
    paint
        Its textures.
    idc_area_um2
        Area of the invasive tumour; None for ``IDC_SHARE`` of the tissue.

    Raises
    ------
    SimulationError
        Where the tumour does not fit into the tissue.
    """
    rng = np.random.default_rng([options.seed, 1])
    size_um = (options.size_mm[0] * 1000.0, options.size_mm[1] * 1000.0)
    margin = max(LEAST_MARGIN_UM, GLASS_MARGIN * min(size_um))
    tissue = tissue_outline(rng, size_um, margin)
    idc = _tumour(rng, tissue, idc_area_um2)
    glands, aggregates = _structures(np.random.default_rng([options.seed, 2]), options, tissue, idc)
    return Scene(
        options=options,
        size_um=size_um,
        tissue=tissue,
        idc=idc,
        glands=glands,
        aggregates=aggregates,
        tissue_distance=distance_raster(tissue, size_um),
        idc_distance=distance_raster(idc, size_um),
        paint=paint,
        nest_threshold=_normal_quantile(1 - NEST_SHARE[options.grade]),
        fat_threshold=_normal_quantile(1 - options.fat_fraction),
    )


def _tumour(rng: np.random.Generator, tissue: Polygon, area_um2: float | None) -> MultiPolygon:
    inner = tissue.buffer(-TISSUE_RIM_UM)
    wanted = IDC_SHARE * inner.area if area_um2 is None else area_um2
    largest = LARGEST_IDC_SHARE * inner.area
    if wanted > largest:
        msg = (
            f"the tumour asked for would cover {wanted / 1e6:.2f} mm², and this slide has room for "
            f"{largest / 1e6:.2f} mm². Ask for fewer cells or a larger slide"
        )
        raise SimulationError(msg)
    shape = tumour_shape(rng)
    way = rng.uniform(0, 2 * np.pi)
    left, top, right, bottom = inner.bounds
    extent = np.array([right - left, bottom - top])
    # off the middle, so that the two slides cannot be mixed up by half a turn; a tumour near the largest
    # size has to sit in the middle to fit
    away = 0.22 * max(0.0, 1 - wanted / largest) * extent * np.array([np.cos(way), np.sin(way)])
    centre = np.array([left + right, top + bottom]) / 2 + away
    area = wanted
    shape = shape * np.sqrt(extent / np.sqrt(extent.prod()))  # a long piece of tissue holds a long tumour
    idc = place_tumour(shape, centre, area, inner)
    for _ in range(FIT_STEPS):  # what the tissue's edge cuts off grows back elsewhere
        area *= wanted / idc.area
        idc = place_tumour(shape, centre, area, inner)
    return idc


def next_section(scene: Scene) -> Scene:
    """Return the scene as it is a few µm deeper: glands and nests change slightly at their borders."""
    rng = np.random.default_rng([scene.options.seed, 4])
    return replace(
        scene,
        glands=tuple(recut(rng, gland) for gland in scene.glands),
        paint=replace(scene.paint, nests=(scene.paint.nests[0], scene.paint.deeper)),
    )


def _normal_quantile(share: float) -> float:
    return NormalDist().inv_cdf(min(max(share, 1e-4), 1 - 1e-4))


def _structures(
    rng: np.random.Generator, options: SimulationOptions, tissue: Polygon, idc: MultiPolygon
) -> tuple[tuple[Gland, ...], NDArray[np.float64]]:
    area_mm2 = tissue.area / 1e6
    benign = tissue.buffer(-TISSUE_RIM_UM).difference(idc.buffer(40.0))
    taken: list[BaseGeometry] = []
    glands: list[Gland] = []

    def room(radius_um: float, zone: BaseGeometry) -> NDArray[np.float64] | None:
        centre = _free_spot(rng, zone.buffer(-radius_um), taken, radius_um)
        if centre is not None:
            taken.append(shapely.Point(centre).buffer(radius_um + 15.0))
        return centre

    if options.dcis:
        for _ in range(max(2, round(0.5 * area_mm2))):
            radius = float(rng.uniform(65, 145))
            core = radius * float(rng.uniform(0.3, 0.55)) if rng.random() < 0.55 else 0.0
            if (centre := room(radius * 1.3, benign)) is not None:
                glands.append(draw_gland(rng, "dcis", centre, radius, core_um=core))
    if options.normal_glands:
        for _ in range(max(1, round(0.5 * area_mm2))):
            radius = float(rng.uniform(110, 200))
            if (centre := room(radius, benign)) is not None:
                glands.extend(_lobule(rng, centre, radius))
        for _ in range(max(1, round(0.7 * area_mm2))):
            radius = float(rng.uniform(28, 60))
            if (centre := room(radius * 1.7, benign)) is not None:
                glands.append(draw_gland(rng, "duct", centre, radius, lumen_um=radius - 17.0))
    for _ in range(max(3, round(2.5 * area_mm2))):
        radius = float(np.exp(rng.normal(np.log(18), 0.45)))
        if (centre := room(radius * 1.5, tissue.buffer(-TISSUE_RIM_UM))) is not None:
            lumen = radius * 0.72
            core = lumen if rng.random() < 0.6 else 0.0
            glands.append(draw_gland(rng, "vessel", centre, radius, lumen_um=lumen, core_um=core))
    if options.necrosis and not idc.is_empty:
        for _ in range(round({1: 0.0, 2: 0.4, 3: 1.2}[options.grade] * idc.area / 1e6)):
            radius = float(rng.uniform(40, 90))
            if (centre := room(radius * 1.3, idc)) is not None:
                glands.append(draw_gland(rng, "necrosis", centre, radius, core_um=radius))
    return tuple(glands), _aggregates(rng, options, tissue, idc)


def _lobule(rng: np.random.Generator, centre_um: NDArray[np.float64], radius_um: float) -> list[Gland]:
    acini: list[Gland] = []
    for _ in range(round(0.9e-3 * radius_um**2)):
        radius = float(rng.uniform(16, 26))
        for _attempt in range(20):
            angle, out = rng.uniform(0, 2 * np.pi), (radius_um - radius) * np.sqrt(rng.random())
            spot = centre_um + out * np.array([np.cos(angle), np.sin(angle)])
            gaps = [np.hypot(*(spot - (g.x_um, g.y_um))) - 1.15 * (g.radius_um + radius) for g in acini]
            if not gaps or min(gaps) > 0:
                lumen = max(radius - 15.0, 2.5)
                acini.append(draw_gland(rng, "acinus", spot, radius, lumen_um=lumen))
                break
    return acini


def _aggregates(
    rng: np.random.Generator, options: SimulationOptions, tissue: Polygon, idc: MultiPolygon
) -> NDArray[np.float64]:
    if not options.lymphocytes:
        return np.zeros((0, 3))
    # lymphocytes gather at the tumour's edge
    zone = idc.buffer(60.0).difference(idc.buffer(-60.0)).intersection(tissue.buffer(-TISSUE_RIM_UM))
    spots = [_free_spot(rng, zone, [], 0.0) for _ in range(max(1, round(0.7 * tissue.area / 1e6)))]
    return np.array([[*spot, rng.uniform(35, 90)] for spot in spots if spot is not None]).reshape(-1, 3)


def _free_spot(
    rng: np.random.Generator, zone: BaseGeometry, taken: list[BaseGeometry], radius_um: float
) -> NDArray[np.float64] | None:
    if zone.is_empty:
        return None
    left, top, right, bottom = zone.bounds
    tries = rng.uniform((left, top), (right, bottom), (150, 2))
    for spot in tries[shapely.contains_xy(zone, tries[:, 0], tries[:, 1])]:
        point = shapely.Point(spot)
        if all(other.distance(point) > radius_um for other in taken):
            return np.asarray(spot)
    return None
