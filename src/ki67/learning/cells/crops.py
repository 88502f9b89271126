"""Training crops of labelled fields: turned, restained, as another scanner sees them.

What becomes of each crop is drawn on the processor, a row of numbers, and follows from seed and step; the pixels are
made of it on the device that learns, all crops of a step at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ki67.cells.network import MOST_LIGHT, STRIDE
from ki67.learning.cells.cross_validation import GroupedField
from ki67.light import REFERENCE_DAB, REFERENCE_EOSIN, REFERENCE_HEMATOXYLIN
from ki67.vocabulary import CLASSES, NEGATIVE, OTHER

CROPS_VERSION = 3
"""Counts up when crops change: a training goes on with crops like those it began with."""

# Peaks of the maps: sigma in pixels of the maps (µm at 0.5 µm/px), about a quarter of a nucleus' width.
_PEAK_SIGMA_PX = 1.5
# How far from a labelled nucleus a map of a class that is not labelled everywhere is believed to be known.
_KNOWN_REACH_PX = 4
_BASIS = np.array([REFERENCE_HEMATOXYLIN, REFERENCE_DAB, REFERENCE_EOSIN])
_BASIS = _BASIS / np.linalg.norm(_BASIS, axis=1, keepdims=True)
_LEAST_LIGHT = 1.0 / 255
_BLUR_REACH_PX = 4
_SHARE_OF_ANY_NUCLEI = 1 / 3
# Farther than any map sees, and still a number in half precision.
_FAR = 1e4

# JPEG (ITU-T T.81): example tables K.1 and K.2, colours of JFIF, tables scaled by quality as libjpeg does.
_BLOCK_PX = 8
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Breadth:
    """How far crops are drawn from what the fields look like.

    Ranges of nuclear ``sizes``, of the strength of all stains (``strengths``) and of each stain beside the others
    (``balances``), all drawn in logarithms, and of the tone curve (``gammas``); spread of the stains' colours
    (``hues``); widest blur; the share of crops on ``yellowish`` glass, and how far the others' ``tint`` may go.
    """

    sizes: tuple[float, float]
    strengths: tuple[float, float]
    balances: tuple[float, float]
    hues: float
    gammas: tuple[float, float]
    most_blur_px: float
    yellowish: float
    tint: float


SCANNERS = Breadth((0.8, 1.25), (0.85, 1.15), (0.75, 1.3), 0.04, (0.75, 1.35), 1.2, 0.0, 0.0)
"""Other scanners and other days of the laboratory that the fields come from."""

LABORATORIES = Breadth((0.6, 1.6), (0.55, 1.7), (0.75, 1.3), 0.05, (0.7, 1.4), 1.5, 0.3, 0.04)
"""Other laboratories: sizes 0.6 to 1.6, each stain 0.4 to 2.2 times as strong, yellowed mounting."""


@dataclass(frozen=True)
class NetworkField(GroupedField):
    """A field at the working resolution with labelled nuclei.

    ``light`` float32 (H, W, 3), 1 for the background; ``points`` (N, 2) in pixels by class, the centre of the first
    pixel at 0.5; ``complete`` says for each class whether every such nucleus of the field is labelled;
    ``tumour_told_apart`` whether those labelled negative are known to be tumour cells; ``labelled`` (H, W) where
    labelling is complete, None everywhere: elsewhere nothing is asked for.
    """

    light: NDArray[np.float32]
    points: tuple[NDArray[np.float64], ...]
    complete: tuple[bool, ...]
    tumour_told_apart: bool = True
    labelled: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Draws:
    """What becomes of each of B crops.

    ``field`` (B,) which field it is of; ``turn`` (B, 2, 2) and ``centre`` (B, 2) lead from offsets from the crop's
    centre to pixels of the field, ``scale`` (B,) enlarges; ``stain_gain``, ``stain_shift`` (B, 3) and ``basis``
    (B, 3, 3) restain in optical density (natural logarithm), ``lamp`` (B, 3) is its colour; of the difference from
    the picture blurred by ``blur_px`` (B,) ``sharpening`` (B,) times is added, -1 for the blurred picture itself;
    ``gamma``, ``saturation`` (B,) are the scanner's tone curve and colour strength, ``noise`` (B,) its noise,
    ``quality`` (B,) that of its JPEG, 0 for none; ``other_weight`` (B,) how much a nucleus labelled as no tumour cell
    weighs.
    """

    field: Any
    turn: Any
    centre: Any
    scale: Any
    stain_gain: Any
    stain_shift: Any
    basis: Any
    lamp: Any
    blur_px: Any
    sharpening: Any
    gamma: Any
    saturation: Any
    noise: Any
    quality: Any
    other_weight: Any

    def to(self, device: torch.device) -> Draws:
        """The same as tensors on a device."""
        return Draws(**{one.name: torch.from_numpy(getattr(self, one.name)).to(device) for one in fields(self)})


class Crops:
    """All fields on one device, and crops of them.

    Parameters
    ----------
    labelled
        The fields.
    size_px
        Edge of a crop at the working resolution, a multiple of 16.
    device
        Where pixels and labels are kept and crops are made.
    """

    def __init__(self, labelled: Sequence[NetworkField], size_px: int, device: torch.device) -> None:
        self.device, self.labelled = device, labelled
        self._size = size_px
        self._amounts = torch.from_numpy(np.linalg.inv(_BASIS).astype(np.float32)).to(device)
        self._jpeg = Jpeg(device)
        self._sizes = np.array([field.light.shape[1::-1] for field in labelled], np.int64)
        counts = self._sizes.prod(axis=1), (-(-self._sizes // STRIDE)).prod(axis=1)
        self._first, self._first_map = (torch.from_numpy(np.cumsum(count) - count).to(device) for count in counts)
        # In half precision: light to 0.0005, ways from a nucleus that a map can see to 0.01 px.
        self._light = torch.empty((int(counts[0].sum()), 3), dtype=torch.half, device=device)
        self._nearest = torch.empty((int(counts[1].sum()), len(CLASSES), 2), dtype=torch.half, device=device)
        parts = (
            torch.split(whole, count.tolist())
            for whole, count in zip((self._light, self._nearest), counts, strict=True)
        )
        self._labelled = torch.ones(int(counts[1].sum()), dtype=torch.bool, device=device)
        areas = torch.split(self._labelled, counts[1].tolist())
        for field, pixels, ways, area in zip(labelled, *parts, areas, strict=True):
            pixels.copy_(torch.from_numpy(field.light.reshape(-1, 3)))
            ways.copy_(torch.from_numpy(_nearest(field)))
            if field.labelled is not None:
                area.copy_(torch.from_numpy(np.ascontiguousarray(field.labelled[::STRIDE, ::STRIDE]).reshape(-1)))
        self._field_size = torch.from_numpy(self._sizes).to(device)
        # Where nuclei of any kind are labelled, only the brown ones are told for certain.
        asked = np.ones((len(labelled), len(CLASSES)), np.float32)
        asked[[not field.tumour_told_apart for field in labelled]] = [
            float(label not in (OTHER, NEGATIVE)) for label in range(len(CLASSES))
        ]
        self._asked = torch.from_numpy(asked).to(device)
        self._complete = torch.tensor([field.complete for field in labelled], device=device)

    def draw(
        self,
        rng: np.random.Generator,
        per_group: int,
        other_weight: float = 1.0,
        *,
        shares: Mapping[str, float] | None = None,
        breadth: Breadth = SCANNERS,
    ) -> Draws:
        """Draw what becomes of the crops of one step.

        Every data set gives ``per_group`` crops times its share, in the long run to the letter; where ``shares`` has
        none it is 1, of a set that does not tell tumour cells apart a third. A patient is drawn as often as the root
        of the labels, then a field likewise: an almost empty one teaches little, and a patient of many fields no
        more than one of a single large one.
        """
        groups = sorted({field.group for field in self.labelled})
        wanted = per_group * np.array([(shares or {}).get(group, self._default_share(group)) for group in groups])
        crops = max(1, round(wanted.sum()))
        edges = np.cumsum(wanted) * (crops / wanted.sum())
        turn_of = np.searchsorted(edges, np.arange(crops) + rng.uniform(0, 1), side="right")
        chosen = [self._draw_field(rng, groups[min(turn, len(groups) - 1)]) for turn in turn_of.tolist()]
        number, size = len(chosen), self._sizes[chosen].astype(np.float64)
        scale = _spread(rng, breadth.sizes, (number,))
        angle, flip = rng.uniform(0, 2 * math.pi, number), rng.choice([-1.0, 1.0], number)
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.stack([flip * cosine, flip * sine, -sine, cosine], axis=1).reshape(number, 2, 2)
        inset = 0.4 * self._size
        centre = rng.uniform(0, 1, (number, 2)) * size
        centre = np.clip(centre, np.minimum(inset, size / 2), np.maximum(size - inset, size / 2))
        kind = rng.random(number)
        blurred, sharpened = kind < 0.3, (kind >= 0.3) & (kind < 0.45)
        sharpening = np.where(blurred, -1.0, np.where(sharpened, rng.uniform(0.2, 0.7, number), 0.0))
        quality = np.where(rng.random(number) < 0.35, rng.integers(35, 90, number), 0)
        drawn = {
            "field": np.array(chosen, np.int64),
            "turn": turn / scale[:, None, None],
            "centre": centre,
            "scale": scale,
            # Another laboratory's stains (Tellez et al., TMI 2018), all of them and each for itself.
            "stain_gain": _spread(rng, breadth.strengths, (number, 1)) * _spread(rng, breadth.balances, (number, 3)),
            "stain_shift": rng.normal(0, 0.02, (number, 3)),
            "basis": _BASIS + rng.normal(0, breadth.hues, (number, 3, 3)),
            "lamp": rng.uniform(0.93, 1.04, (number, 1)) * _tints(rng, number, breadth),
            "blur_px": np.where(blurred, rng.uniform(0.3, breadth.most_blur_px, number), 1.2),
            "sharpening": sharpening,
            "gamma": np.where(rng.random(number) < 0.4, rng.uniform(*breadth.gammas, number), 1.0),
            "saturation": np.where(rng.random(number) < 0.4, rng.uniform(0.7, 1.35, number), 1.0),
            "noise": rng.uniform(0, 0.02, number),
            "quality": quality,
            "other_weight": np.full(number, other_weight),
        }
        return Draws(**{
            name: values if name == "field" else values.astype(np.float32) for name, values in drawn.items()
        })  # fmt: skip

    @torch.no_grad()
    def make(self, drawn: Draws, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Light (B, 3, S, S), proximity targets and weights (B, classes, S/2, S/2) of what was drawn.

        ``drawn`` holds tensors on the device; ``generator`` gives the noise.
        """
        light = self._restained(self._pixels(drawn), drawn)
        light = light + drawn.sharpening.view(-1, 1, 1, 1) * (light - _blurred(light, drawn.blur_px))
        light = light.clamp_min(0) ** drawn.gamma.view(-1, 1, 1, 1)
        grey = light.mean(dim=1, keepdim=True)
        light = grey + (light - grey) * drawn.saturation.view(-1, 1, 1, 1)
        noise = torch.randn(light.shape, device=light.device, generator=generator)
        light = (light + noise * drawn.noise.view(-1, 1, 1, 1)).clamp(0, MOST_LIGHT)
        packed = drawn.quality > 0
        if packed.any():
            light[packed] = self._jpeg(light[packed], drawn.quality[packed])
        return light, *self._targets(drawn)

    def _default_share(self, group: str) -> float:
        """A set that does not tell which nuclei are tumour cells gives less."""
        told_apart = next(field for field in self.labelled if field.group == group).tumour_told_apart
        return 1.0 if told_apart else _SHARE_OF_ANY_NUCLEI

    def _draw_field(self, rng: np.random.Generator, group: str) -> int:
        own = [(index, field) for index, field in enumerate(self.labelled) if field.group == group]
        labels = np.array([1.0 + sum(map(len, field.points)) for _, field in own])
        patients, of_patient = np.unique([field.patient for _, field in own], return_inverse=True)
        share = np.sqrt(np.bincount(of_patient, labels))
        fields = np.flatnonzero(of_patient == rng.choice(len(patients), p=share / share.sum()))
        share = np.sqrt(labels[fields])
        return own[int(rng.choice(fields, p=share / share.sum()))][0]

    def _places(self, drawn: Draws, step_px: int) -> Tensor:
        """Centres of pixels of ``step_px`` in their fields, (B, S', S', 2) in pixels from the corner."""
        along = (torch.arange(self._size // step_px, device=self.device) + 0.5) * step_px - self._size / 2
        offsets = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1)
        places: Tensor = torch.einsum("ijk,blk->bijl", offsets, drawn.turn) + drawn.centre[:, None, None]
        return places

    def _pixels(self, drawn: Draws) -> Tensor:
        """Light (B, S, S, 3) between the fields' pixels; a field is mirrored at its edges."""
        place = self._places(drawn, 1) - 0.5
        last = (self._field_size[drawn.field] - 1)[:, None, None]
        floor = place.floor()
        part = (place - floor).unsqueeze(-1)
        corner = floor.long()
        first = self._first[drawn.field][:, None, None]
        rows = [_mirrored(corner[..., 1] + step, last[..., 1]) * (last[..., 0] + 1) + first for step in (0, 1)]
        columns = [_mirrored(corner[..., 0] + step, last[..., 0]) for step in (0, 1)]
        above, below = (
            torch.lerp(self._light[row + columns[0]].float(), self._light[row + columns[1]].float(), part[..., 0, :])
            for row in rows
        )
        return torch.lerp(above, below, part[..., 1, :])

    def _restained(self, light: Tensor, drawn: Draws) -> Tensor:
        """Light (B, 3, S, S) of other amounts of stains of other colours, from light (B, S, S, 3)."""
        mixed = self._amounts @ (drawn.stain_gain[..., None] * drawn.basis)
        offset = torch.einsum("bj,bjk->bk", drawn.stain_shift, drawn.basis)
        density = torch.einsum("bhwi,bik->bkhw", -light.clamp_min(_LEAST_LIGHT).log(), mixed)
        result: Tensor = torch.exp(-density - offset[..., None, None]) * drawn.lamp[..., None, None]
        return result.clamp(0, MOST_LIGHT)

    def _targets(self, drawn: Draws) -> tuple[Tensor, Tensor]:
        place = self._places(drawn, STRIDE)
        size = self._field_size[drawn.field][:, None, None]
        inside = ((place >= 0) & (place < size)).all(dim=-1)
        cell = (place / STRIDE).long()
        cells = -(-size // STRIDE)
        cell = torch.minimum(cell.clamp_min(0), cells - 1)
        index = self._first_map[drawn.field][:, None, None] + cell[..., 1] * cells[..., 0] + cell[..., 0]
        # From the centre of its own cell each pixel of the maps knows the way to the nearest nucleus of each class.
        centre = (cell + 0.5) * STRIDE
        away = self._nearest[index].float() + (centre - place).unsqueeze(-2)
        distance2 = away.square().sum(dim=-1) * (drawn.scale.view(-1, 1, 1, 1) / STRIDE) ** 2
        target = torch.exp(-distance2 / (2 * _PEAK_SIGMA_PX**2)).permute(0, 3, 1, 2)
        edge = math.exp(-(_KNOWN_REACH_PX**2) / (2 * _PEAK_SIGMA_PX**2))
        near = target.amax(dim=1, keepdim=True) > edge
        inside = inside & self._labelled[index]
        known = self._complete[drawn.field][..., None, None] | near
        weight = known * self._asked[drawn.field][..., None, None] * inside.unsqueeze(1)
        return target, weight * (1 + (drawn.other_weight.view(-1, 1, 1, 1) - 1) * target[:, OTHER : OTHER + 1])


def _spread(rng: np.random.Generator, ends: tuple[float, float], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Factors between two ends, evenly in their logarithm."""
    return np.exp(rng.uniform(math.log(ends[0]), math.log(ends[1]), shape))


def _tints(rng: np.random.Generator, number: int, breadth: Breadth) -> NDArray[np.float64]:
    """Colours (N, 3) of glass that is not as white as it was taken for: yellowish, or of any colour a little."""
    yellow = np.stack([np.ones(number), rng.uniform(0.95, 1.0, number), rng.uniform(0.8, 1.0, number)], axis=1)
    any_colour = 1 + breadth.tint * rng.uniform(-1, 0.5, (number, 3))
    return np.where(rng.random((number, 1)) < breadth.yellowish, yellow, any_colour)


def _nearest(field: NetworkField) -> NDArray[np.float32]:
    """Way (pixels, classes, 2) in px from each pixel of the maps to the nearest nucleus of each class.

    Which is nearest is told to a pixel of the maps: half way between two nuclei it may be the other.
    """
    height, width = (-(-length // STRIDE) for length in field.light.shape[:2])
    result = np.full((height, width, len(CLASSES), 2), _FAR, np.float32)
    centre = (
        np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32) * STRIDE + STRIDE / 2
    )
    for label, points in enumerate(field.points):
        if len(points) == 0:
            continue
        cell = np.clip((points / STRIDE).astype(int), 0, [width - 1, height - 1])
        free = np.ones((height, width), np.uint8)
        free[cell[:, 1], cell[:, 0]] = 0
        _, owner = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        of_owner = np.empty((owner.max() + 1, 2), np.float32)
        of_owner[owner[cell[:, 1], cell[:, 0]]] = points
        result[:, :, label] = of_owner[owner] - centre
    return result.reshape(height * width, len(CLASSES), 2)


def _mirrored(index: Tensor, last: Tensor) -> Tensor:
    """Indices within 0 … last, mirrored at both ends without repeating the last pixel."""
    return last - (last - torch.remainder(index, (2 * last).clamp_min(1))).abs()


def _blurred(light: Tensor, sigma_px: Tensor) -> Tensor:
    """Each image (3, H, W) of a batch under a Gaussian of its own."""
    number, channels, *_ = light.shape
    along = torch.arange(-_BLUR_REACH_PX, _BLUR_REACH_PX + 1, device=light.device)
    kernel = torch.exp(-(along**2) / (2 * sigma_px[:, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None, None]
    planes = functional.pad(light, (_BLUR_REACH_PX,) * 4, mode="reflect").reshape(1, -1, *(
        length + 2 * _BLUR_REACH_PX for length in light.shape[2:]
    ))  # fmt: skip
    down = functional.conv2d(planes, kernel.transpose(2, 3), groups=number * channels)
    return functional.conv2d(down, kernel, groups=number * channels).reshape(light.shape)


class Jpeg:
    """What JPEG leaves of light; colours are kept at half the resolution."""

    def __init__(self, device: torch.device) -> None:
        order = np.arange(_BLOCK_PX)
        cosines = np.cos((2 * order + 1) * order[:, None] * (math.pi / (2 * _BLOCK_PX))) / 2
        cosines[0] /= math.sqrt(2)
        constants = (_YCBCR, np.linalg.inv(_YCBCR), cosines, _LUMINANCE, _CHROMINANCE)
        self._there, self._back, self._cosines, self._luminance, self._chrominance = (
            torch.tensor(values, dtype=torch.float32, device=device) for values in constants
        )

    def __call__(self, light: Tensor, quality: Tensor) -> Tensor:
        """Light (B, 3, H, W), H and W multiples of 16, kept at a quality (B,) of 1 to 100."""
        values = torch.einsum("ij,bjhw->bihw", self._there, light * (255 / MOST_LIGHT))
        share = torch.where(quality < 50, 5000 / quality.clamp_min(1), 200 - 2 * quality)
        luminance = self._quantised(values[:, :1] - 128, self._luminance, share) + 128
        chrominance = self._quantised(functional.avg_pool2d(values[:, 1:], 2), self._chrominance, share)
        chrominance = functional.interpolate(chrominance, scale_factor=2.0, mode="nearest")
        back = torch.einsum("ij,bjhw->bihw", self._back, torch.cat([luminance, chrominance], dim=1))
        return back.round().clamp(0, 255) * (MOST_LIGHT / 255)

    def _quantised(self, planes: Tensor, table: Tensor, share_percent: Tensor) -> Tensor:
        """Planes (B, C, H, W) whose cosines in blocks are rounded to steps of the table."""
        number, channels, height, width = planes.shape
        steps = ((table * share_percent[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, None, None]
        blocks = planes.reshape(number, channels, height // _BLOCK_PX, _BLOCK_PX, width // _BLOCK_PX, _BLOCK_PX)
        cosines = self._cosines @ blocks.transpose(3, 4) @ self._cosines.T
        rounded = (cosines / steps).round() * steps
        return (self._cosines.T @ rounded @ self._cosines).transpose(3, 4).reshape(planes.shape)
