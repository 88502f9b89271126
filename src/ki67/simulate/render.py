"""One slide, drawn block by block from the scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.jobs import Pool, current
from ki67.light import LN10
from ki67.simulate.artefacts import Artefact
from ki67.simulate.cells import Cells, Stain
from ki67.simulate.deformation import SectionMap
from ki67.simulate.ground import HE_TINTS, IHC_TINTS, NEAR_UM, paint_ground, step, upsample
from ki67.simulate.nuclei import DAB, HAEMATOXYLIN, MASK, Library, Stamps, stamp
from ki67.simulate.scene import Scene
from ki67.simulate.stain import StainSet, light
from ki67.simulate.textures import Floats

BLOCK_PX = 512  # slides are drawn in these squares, whatever pieces are asked for, so that all pieces agree
NODE_UM = 2.0  # the scene is evaluated on nodes this far apart and interpolated: its parts are smoother than this
NOISE_SIDE_PX = 1024
# nuclei push the cytoplasm aside
DISPLACED = 0.75
FOLD_LAYERS = 0.85  # a fold adds most of a second layer (the upper one is slightly stretched)
SHARPENING, SHARPENING_UM = 0.6, 0.6  # scanners sharpen; the real files show its halos about dark nuclei
BLUR_REACH = 3.0  # sigmas to which a blur looks
FOCUS_STEPS = 6.0  # µm over which a patch goes out of focus


@dataclass(frozen=True)
class DrawnSection:
    """Everything needed to draw any piece of one slide."""

    scene: Scene
    stain: Stain
    placement: SectionMap  # scene µm -> slide µm
    size_px: tuple[int, int]
    mpp: float
    cells: Cells
    slide_xy_um: NDArray[np.float64]  # (N, 2): the cells on the slide
    library: Library
    stains: StainSet
    artefacts: tuple[Artefact, ...]
    blur_um: float
    noise: float
    seed: int

    @cached_property
    def stamps(self) -> Stamps:
        """The nuclei in pixels of the slide."""
        cells = self.cells
        return Stamps(
            x_px=self.slide_xy_um[:, 0] / self.mpp,
            y_px=self.slide_xy_um[:, 1] / self.mpp,
            major_px=cells.major_um / self.mpp,
            minor_px=cells.minor_um / self.mpp,
            angle=cells.angle + self.placement.rotation_rad,
            look=cells.look,
            variant=cells.variant,
            haematoxylin=cells.haematoxylin,
            dab=cells.dab,
        )

    @cached_property
    def by_row(self) -> tuple[NDArray[np.intp], NDArray[np.float64], float]:
        """Cells in order of y, their y in pixels, and the largest reach in pixels."""
        order = np.argsort(self.stamps.y_px, kind="stable")
        reach = float(self.stamps.reach_px.max()) if len(order) else 0.0
        return order, self.stamps.y_px[order], reach

    @cached_property
    def sensor(self) -> NDArray[np.float32]:
        """Noise of the sensor, repeated over the slide; a block's width of its beginning follows its end."""
        rng = np.random.default_rng([self.seed, 40])
        once = rng.standard_normal((NOISE_SIDE_PX, NOISE_SIDE_PX, 3), dtype=np.float32) * np.float32(self.noise)
        return np.pad(once, ((0, BLOCK_PX), (0, BLOCK_PX), (0, 0)), mode="wrap")


def read_section(section: DrawnSection, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Draw any rectangle of the slide, in pixels; the same pixels whatever rectangle they are part of."""
    out = np.empty((height, width, 3), np.uint8)
    for y in range(top // BLOCK_PX * BLOCK_PX, top + height, BLOCK_PX):
        for x in range(left // BLOCK_PX * BLOCK_PX, left + width, BLOCK_PX):
            block = draw_block(section, x, y, BLOCK_PX, BLOCK_PX)
            x0, y0 = max(x, left), max(y, top)
            x1, y1 = min(x + BLOCK_PX, left + width), min(y + BLOCK_PX, top + height)
            out[y0 - top : y1 - top, x0 - left : x1 - left] = block[y0 - y : y1 - y, x0 - x : x1 - x]
    return out


def bands(section: DrawnSection) -> Iterator[NDArray[np.uint8]]:
    """Yield the slide as full-width bands, top to bottom; blocks are drawn by several threads, a few ahead."""
    width, height = section.size_px
    corners = [(x, y) for y in range(0, height, BLOCK_PX) for x in range(0, width, BLOCK_PX)]
    _ = section.stamps, section.by_row, section.sensor  # once, before threads ask for them

    def draw(corner: tuple[int, int]) -> NDArray[np.uint8]:
        x, y = corner
        return draw_block(section, x, y, BLOCK_PX, BLOCK_PX)[: height - y, : width - x]

    workers = current().workers
    with Pool("draw") as pool:
        waiting: deque[Future[NDArray[np.uint8]]] = deque()
        upcoming = iter(corners)
        for corner in upcoming:
            waiting.append(pool.submit(draw, corner))
            if len(waiting) > 2 * workers:
                break
        band: list[NDArray[np.uint8]] = []
        per_row = -(-width // BLOCK_PX)
        while waiting:
            band.append(waiting.popleft().result())
            following = next(upcoming, None)
            if following is not None:
                waiting.append(pool.submit(draw, following))
            if len(band) == per_row:
                yield np.concatenate(band, axis=1)
                band = []


def draw_block(section: DrawnSection, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Draw one rectangle of the slide, of ``BLOCK_PX`` a side at most, from the scene."""
    pitch = max(1, round(NODE_UM / section.mpp))
    reach_um = section.blur_um + SHARPENING_UM + max((a.sigma_um for a in section.artefacts), default=0.0)
    halo = int(np.ceil(BLUR_REACH * reach_um / section.mpp)) + 4
    x0, y0 = left - halo, top - halo
    # nodes lie on a grid of the whole slide, so that neighbouring blocks interpolate between the same ones
    x0, y0 = x0 // pitch * pitch, y0 // pitch * pitch
    w, h = left + width + halo - x0, top + height + halo - y0
    columns = (np.arange(-1, -(-w // pitch) + 1) + 0.5) * pitch + x0
    rows = (np.arange(-1, -(-h // pitch) + 1) + 0.5) * pitch + y0
    slide_x, slide_y = np.meshgrid(columns * section.mpp, rows * section.mpp)
    scene_xy = section.placement.inverse_points(np.stack([slide_x.ravel(), slide_y.ravel()], 1))
    scene_x, scene_y = (scene_xy[:, i].reshape(slide_x.shape) for i in range(2))
    bare = section.scene.tissue_distance.at(scene_x, scene_y).min() > NEAR_UM
    pens = [a for a in section.artefacts if a.kind == "pen"]
    if bare and not any((a.depth(slide_x, slide_y) > -NEAR_UM).any() for a in pens):
        picture = np.broadcast_to(np.asarray(section.stains.glass, np.float32), (height, width, 3))
        return _developed(section, picture, left, top)
    picture = _exposed(section, (scene_x, scene_y), (slide_x, slide_y), (x0, y0), (h, w), pitch)
    sharp = _blurred(picture, section.blur_um / section.mpp)
    sharp = _defocused(section, sharp, slide_x, slide_y, pitch)
    sharp += np.float32(SHARPENING) * (sharp - _blurred(sharp, SHARPENING_UM / section.mpp))
    crop = sharp[top - y0 : top - y0 + height, left - x0 : left - x0 + width]
    return _developed(section, crop, left, top)


def _exposed(
    section: DrawnSection,
    scene_um: tuple[NDArray[np.float64], NDArray[np.float64]],
    slide_um: tuple[NDArray[np.float64], NDArray[np.float64]],
    origin_px: tuple[int, int],
    shape: tuple[int, int],
    pitch: int,
) -> Floats:
    """Return the light (H, W, 3) before the scanner's blur and noise."""
    height, width = shape
    is_he = section.stain == "he"
    fields = section.scene.fields(*scene_um)
    ground = paint_ground(section.scene, fields, scene_um, pitch, shape, HE_TINTS if is_he else IHC_TINTS)
    canvas = np.zeros((height, width, 3), np.float32)
    stamp(canvas, origin_px, section.library, section.stamps, _cells_within(section, origin_px, shape))
    kept = 1 - np.float32(DISPLACED) * canvas[..., MASK]
    haematoxylin = ground.haematoxylin * kept + canvas[..., HAEMATOXYLIN]
    tinted = ground.ground * kept
    second = tinted if is_he else canvas[..., DAB]
    rest = np.zeros_like(tinted) if is_he else tinted
    layers = _layers(section, slide_um, shape, pitch)
    if layers is not None:
        haematoxylin, second, rest = haematoxylin * layers, second * layers, rest * layers
    picture = light(section.stains, haematoxylin, second, rest, dab=not is_he)
    for artefact in section.artefacts:
        if artefact.kind == "pen":
            ink = step(_depth(artefact, slide_um, shape, pitch), -4.0, 4.0)
            picture *= cv2.exp(-LN10 * ink[..., None] * np.asarray(artefact.ink, np.float32))
    return picture


def _cells_within(section: DrawnSection, origin_px: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.intp]:
    order, y_sorted, reach = section.by_row
    low, high = np.searchsorted(y_sorted, [origin_px[1] - reach, origin_px[1] + shape[0] + reach])
    rows = order[low:high]
    x = section.stamps.x_px[rows]
    # in the cells' own order, so that overlapping nuclei add up the same way in every block
    return np.sort(rows[(x > origin_px[0] - reach) & (x < origin_px[0] + shape[1] + reach)])


def _depth(
    artefact: Artefact,
    slide_um: tuple[NDArray[np.float64], NDArray[np.float64]],
    shape: tuple[int, int],
    pitch: int,
) -> Floats:
    return upsample(np.clip(artefact.depth(*slide_um), -NEAR_UM, NEAR_UM), pitch, *shape)


def _layers(
    section: DrawnSection,
    slide_um: tuple[NDArray[np.float64], NDArray[np.float64]],
    shape: tuple[int, int],
    pitch: int,
) -> Floats | None:
    """Layers of tissue above one another: 0 in a tear, nearly 2 in a fold; None where it is 1 throughout."""
    found = [a for a in section.artefacts if a.kind in {"fold", "tear"}]
    if not found:
        return None
    layers = np.ones(shape, np.float32)
    for artefact in found:
        inside = step(_depth(artefact, slide_um, shape, pitch), -1.0, 1.0)
        layers *= 1 + FOLD_LAYERS * inside if artefact.kind == "fold" else 1 - inside
    return layers


def _blurred(picture: Floats, sigma_px: float) -> Floats:
    if sigma_px <= 0:
        return picture
    reach = 2 * int(np.ceil(BLUR_REACH * sigma_px)) + 1
    return np.asarray(cv2.GaussianBlur(picture, (reach, reach), sigma_px, borderType=cv2.BORDER_REPLICATE))


def _defocused(
    section: DrawnSection, picture: Floats, slide_x: NDArray[np.float64], slide_y: NDArray[np.float64], pitch: int
) -> Floats:
    for artefact in section.artefacts:
        if artefact.kind != "out_of_focus":
            continue
        depth = artefact.depth(slide_x, slide_y)
        if depth.max() < -FOCUS_STEPS:
            continue
        share = step(_depth(artefact, (slide_x, slide_y), picture.shape[:2], pitch), -FOCUS_STEPS, 4 * FOCUS_STEPS)
        soft = _blurred(picture, artefact.sigma_um / section.mpp)
        picture = picture + share[..., None] * (soft - picture)
    return picture


def _developed(section: DrawnSection, picture: Floats, left: int, top: int) -> NDArray[np.uint8]:
    """Add the sensor's noise and round to grey levels."""
    height, width = picture.shape[:2]
    y, x = top % NOISE_SIDE_PX, left % NOISE_SIDE_PX
    noisy = picture + section.sensor[y : y + height, x : x + width]
    noisy += 0.5
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
