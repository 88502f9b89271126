"""The cell network as it ships: a small U-Net as an ONNX graph, from pixels to proximity maps, and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.cells.card import REINSTALL, CellCard, checked_card, run_graph
from ki67.cells.tiling import GRID_PX
from ki67.errors import ModelError
from ki67.jobs import current
from ki67.model_files import Runner, Signature, run_on, try_once
from ki67.vocabulary import CLASSES, NEGATIVE, POSITIVE, Device

SHIPPED_NETWORK = Path(__file__).parent.parent / "weights" / "cells_network.onnx"
"""The network that comes with the package."""

INPUT_NAME, OUTPUT_NAME = "light", "proximity"
"""Names in the graph: float32 (1, 3, H, W) in, 1 for the background; float32 (1, 3, H/2, W/2) out, 0 to 1."""

STRIDE = 2
"""Pixels of the input per pixel of the maps."""

SEEN = "seen_px"
"""Key in the card: how far across an end of the pixels a map depends on what is there."""

# Cards of the first architecture do not say it.
_SEEN_UNSAID_PX = (78, 62)
_FARTHEST_SEEN_PX = 512

MOST_LIGHT = 1.1
"""Light brighter than this share of the background is a reflection, not tissue."""


@dataclass(frozen=True)
class NetworkModel:
    """A network ready to run; made by :func:`load_network`. Runs from several threads at once.

    Where pixels end at a multiple of the grid, its maps are what they are without an end from ``seen_px[0]`` px on
    after it, and up to ``seen_px[1]`` px before it: strided convolutions lean to one side.
    """

    path: Path
    card: CellCard
    seen_px: tuple[int, int]
    device: Device = Device.cpu

    @property
    def in_floats(self) -> NetworkModel:
        """The same model without its graph in whole numbers: what it says is then what its weights say."""
        return replace(self, card=replace(self.card, int8=None))

    @cached_property
    def runner(self) -> Runner:
        """The graph in ONNX Runtime."""
        takes, gives = (1, 3, None, None), (1, len(CLASSES), None, None)
        signature = Signature(INPUT_NAME, OUTPUT_NAME, "tensor(float)", takes, gives)
        return run_on(self.device, self.path, self.card, partial(run_graph, signature))

    def run(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Proximity maps (1, 3, H/2, W/2) of light (1, 3, H, W) of a size that the network takes."""
        return self.runner.run(light)

    def try_out(self) -> None:
        """Run it once on a little glass, of other height than width."""
        height, width = 4 * GRID_PX, 6 * GRID_PX
        glass = np.ones((1, 3, height, width), np.float32)
        self.runner.run_alone(glass, (1, len(CLASSES), height // STRIDE, width // STRIDE))

    def maps(self, rgb: NDArray[np.uint8], background_rgb: tuple[float, float, float]) -> NDArray[np.float32]:
        """Proximity maps (3, ⌈H/2⌉, ⌈W/2⌉), in the order of the classes, of pixels (H, W, 3)."""
        return maps_of(transmitted(rgb, background_rgb), self.run)


def maps_of(
    light: NDArray[np.float32], run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Proximity maps (3, ⌈H/2⌉, ⌈W/2⌉) of light (H, W, 3), filled up to a size that the network takes.

    ``run`` is the network: (1, 3, H, W) in, (1, 3, H/2, W/2) out, H and W multiples of the tiles' grid.
    """
    height, width = light.shape[:2]
    rest = ((0, -height % GRID_PX), (0, -width % GRID_PX), (0, 0))
    if any(after for _, after in rest):
        light = np.pad(light, rest, mode="edge")
    maps: NDArray[np.float32] = run(np.ascontiguousarray(light.transpose(2, 0, 1))[None])[0]
    return maps[:, : -(-height // STRIDE), : -(-width // STRIDE)]


def transmitted(rgb: NDArray[np.uint8], background_rgb: tuple[float, float, float]) -> NDArray[np.float32]:
    """Transmitted light (H, W, 3) as a share of the background's, whatever the colour of the lamp.

    Laid out plane by plane, as the network takes it.
    """
    steps = np.arange(256, dtype=np.float32)[:, None] / np.array(background_rgb, np.float32)
    table = np.minimum(steps, np.float32(MOST_LIGHT))
    planes = np.empty((3, *rgb.shape[:2]), np.float32)
    for light, channel, levels in zip(planes, cv2.split(rgb), table.T, strict=True):
        cv2.LUT(channel, np.ascontiguousarray(levels), dst=light)
    return planes.transpose(1, 2, 0)


def load_network(path: str | Path | None = None, device: Device | None = None) -> NetworkModel:
    """Load a network and check it against its card; None takes the shipped one, and the device of the job.

    Raises
    ------
    ModelError
        Where the graph or the card is missing, damaged or no network, or the two do not belong together.
    """
    graph = SHIPPED_NETWORK if path is None else Path(path)
    card = checked_card(graph, "network")
    if set(card.curves) != {POSITIVE, NEGATIVE}:
        raise ModelError(graph.with_suffix(".json"), "lacks the calibration of both classes", REINSTALL)
    device = device or current().device
    model = NetworkModel(graph, card, _seen(graph, card), device)
    try_once(("network", card.sha256, card.int8, device), model.try_out)
    return model


def _seen(graph: Path, card: CellCard) -> tuple[int, int]:
    said = card.details.get(SEEN, _SEEN_UNSAID_PX)
    try:
        before, after = (int(value) for value in said)
    except (TypeError, ValueError):
        before, after = -1, -1
    if not 0 <= min(before, after) <= max(before, after) <= _FARTHEST_SEEN_PX:
        raise ModelError(graph.with_suffix(".json"), f"says of what the network sees '{said}'", REINSTALL)
    return before, after
