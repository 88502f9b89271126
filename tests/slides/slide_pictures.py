"""Small pictures that look like tissue, and TIFFs made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
HALF_UM: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": 3}
OME_HALF_UM: dict[str, Any] = {
    "axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
}  # fmt: skip


def tissue(height: int = 256, width: int = 384, seed: int = 0) -> Pixels:
    """Blobs of two colours on white: no two places, channels or seeds alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, 3), 242.0)
    for _ in range(60):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(6, 26)
        inside = (y - row) ** 2 + (x - column) ** 2 < radius**2
        picture[inside] = rng.uniform((60, 40, 90), (200, 140, 200))
    return picture.astype(np.uint8)


def halved(pixels: Pixels, factor: int = 2) -> Pixels:
    """Means of squares of ``factor`` pixels."""
    height, width = (side // factor for side in pixels.shape[:2])
    cut = pixels[: height * factor, : width * factor].astype(float)
    return cut.reshape(height, factor, width, factor, -1).mean((1, 3)).astype(np.uint8)


def write_tiff(path: Path, *pages: Pixels | tuple[Pixels, dict[str, Any]], **common: Any) -> Path:
    """Write pages one after the other, tiled and at 0.5 µm unless told otherwise."""
    usual = {"photometric": "rgb", "tile": (64, 64), "metadata": None} | HALF_UM
    with tifffile.TiffWriter(
        path, bigtiff=common.pop("bigtiff", False), byteorder=common.pop("byteorder", "<")
    ) as tiff:
        for page in pages:
            pixels, own = page if isinstance(page, tuple) else (page, {})
            tiff.write(pixels, **(usual | common | own))
    return path


def write_ome(path: Path, *pictures: tuple[Pixels, dict[str, Any]], levels: int = 0, **common: Any) -> Path:
    """Write OME-TIFF pictures, each with its metadata, and coarser levels of the (one) picture in sub-directories."""
    usual = {"photometric": "rgb", "tile": (64, 64)}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tiff:
        for pixels, metadata in pictures:
            tiff.write(pixels, metadata=metadata, subifds=levels, **(usual | common))
            for level in range(levels):
                factor = 2 ** (level + 1)
                grey_planes = metadata["axes"] == "CYX"
                coarse = (
                    np.stack([halved(plane[..., None], factor)[..., 0] for plane in pixels])
                    if grey_planes
                    else halved(pixels, factor)
                )
                tiff.write(coarse, metadata=None, subfiletype=1, **(usual | common))
    return path
