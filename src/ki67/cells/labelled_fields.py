"""Fields with labelled nuclei, in the layouts the public data sets come in.

``bcdata``: ``DIR/images/N.png`` with ``DIR/annotations/{positive,negative}/N.h5`` (dataset ``coordinates``: x, y).
``shidc``: ``NAME.jpg`` with ``NAME.json``, a list of ``{x, y, label_id}``; 1 positive, 2 negative, 3 lymphocyte.
``points``: an image with a CSV of the same name beside it, columns ``x,y,label``.
``qupath``: an image with a GeoJSON of the same name beside it, points or detections; classes whose name holds
"positive" or "negative" are tumour cells, every other class is other, "Ignore*" is passed over.
``simulated``: ``DIR/NAME/`` as ``ki67 simulate`` writes it: its Ki-67 section and all its cells.
``deepliif``: ``NAME_ihc.png`` with ``NAME_mask.png``, nuclei filled red (positive) or blue (negative), edges green.
``glioma``: pictures with one ``polygons.json`` beside them: picture, class, list of polygons.
The last two label nuclei of every kind, and not all pale ones: what is negative need not be a tumour cell.
Coordinates are pixels; the centre of the first pixel is (0, 0), so half a pixel is added on the way to µm (QuPath
counts from the corner and is read as it counts).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ki67.annotations import read_points, read_regions
from ki67.cells.card import CLASSES
from ki67.errors import DataSetError
from ki67.slides import open_slide

Points = NDArray[np.float64]

LAYOUTS = ("bcdata", "shidc", "points", "qupath", "simulated", "deepliif", "glioma")
"""Layouts of labelled fields."""

FIELD_MPP = dict.fromkeys(LAYOUTS, 0.25) | {"glioma": 0.1}
"""Pixel size of the public sets in µm; their authors do not give it, it follows from the size of nuclei."""

DEFAULT_RADIUS_UM = dict.fromkeys(LAYOUTS, 2.5) | {"shidc": 4.0}
"""How far from a labelled point a nucleus may be found: 10 px in BCData, 16 px in SHIDC."""

ALL_NUCLEI = ("deepliif", "glioma")
"""Layouts whose negative nuclei may be of any kind, tumour cells or not."""

_SHIDC_LABELS = {1: "positive", 2: "negative", 3: "other"}
# DeepLIIF's masks: full red, blue or green; smaller specks than this are rests of edges.
_FULL_COLOUR, _LEAST_FILLED_PX = 255, 30
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class LabelledField:
    """One picture and its labelled points (N, 2) in µm, by class."""

    name: str
    image: Path
    mpp: float
    points: dict[str, Points]


def read_fields(
    directory: str | Path, layout: str, mpp: float | None = None, images: Sequence[str] | None = None
) -> list[LabelledField]:
    """Find the fields of a data set and read their labels.

    Parameters
    ----------
    directory
        The data set.
    layout
        One of :data:`LAYOUTS`.
    mpp
        Pixel size; where None, simulated sections know theirs and others take :data:`FIELD_MPP`.
    images
        Names (without suffix) of the fields to use; all where None.

    Raises
    ------
    DataSetError
        Where the folder, a picture or a label file is not as described; the message names the file.
    """
    folder = Path(directory)
    readers: dict[str, tuple[Callable[[Path], list[Path]], Callable[[Path, Path], dict[str, Points]]]] = {
        "bcdata": (_bcdata_images, _bcdata_points),
        "shidc": (_beside(".json"), _shidc_points),
        "points": (_beside(".csv"), _csv_points),
        "qupath": (_beside(".geojson"), _qupath_points),
        "simulated": (_simulated_sections, _simulated_points),
        "deepliif": (_deepliif_images, _deepliif_points),
        "glioma": (_glioma_images, _glioma_points),
    }
    if layout not in readers:
        raise DataSetError(folder, f"layout '{layout}' is not known", f"Choose one of {', '.join(readers)}.")
    if not folder.is_dir():
        raise DataSetError(folder, "is not a folder", "Name the folder of the data set.")
    find, read = readers[layout]
    found = {path.parent.name if layout == "simulated" else path.stem: path for path in find(folder)}
    if not found:
        raise DataSetError(folder, f"holds no labelled field in the '{layout}' layout", "Check --layout.")
    missing = sorted(set(images or ()) - set(found))
    if missing:
        raise DataSetError(folder, f"has no labelled field {', '.join(missing)}", "Check the names given.")
    names = list(images) if images is not None else sorted(found, key=_natural)
    if layout == "simulated":
        return [LabelledField(n, found[n], _own_mpp(found[n]), read(folder, found[n])) for n in names]
    size = FIELD_MPP[layout] if mpp is None else mpp
    return [_in_um(name, found[name], size, read(folder, found[name])) for name in names]


def _in_um(name: str, image: Path, mpp: float, pixels: dict[str, Points]) -> LabelledField:
    return LabelledField(name, image, mpp, {label: (points + 0.5) * mpp for label, points in pixels.items()})


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)


def _bcdata_images(folder: Path) -> list[Path]:
    if not (folder / "images").is_dir() or not (folder / "annotations").is_dir():
        raise DataSetError(folder, "has no folders 'images' and 'annotations'", "Check --layout.")
    return [path for path in sorted((folder / "images").iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES]


def _bcdata_points(folder: Path, image: Path) -> dict[str, Points]:
    files = {label: folder / "annotations" / label / f"{image.stem}.h5" for label in ("positive", "negative")}
    if not any(path.is_file() for path in files.values()):
        raise DataSetError(image, f"has no labels: {files['positive']} and its negative twin are missing")
    # A field without a cell of one class may come without that class's file.
    points = {label: _h5_points(path) if path.is_file() else np.empty((0, 2)) for label, path in files.items()}
    return {**points, "other": np.empty((0, 2))}


def _h5_points(path: Path) -> Points:
    try:
        with h5py.File(path) as store:
            points = np.asarray(store["coordinates"], np.float64)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataSetError(path, f"is no BCData label file ({error})", "Expected a dataset 'coordinates'.") from error
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DataSetError(path, f"holds coordinates of shape {points.shape}", "Expected finite rows of x, y.")
    return points


def _beside(suffix: str) -> Callable[[Path], list[Path]]:
    def find(folder: Path) -> list[Path]:
        images = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES]
        return [path for path in images if path.with_suffix(suffix).is_file()]

    return find


def _shidc_points(_folder: Path, image: Path) -> dict[str, Points]:
    path = image.with_suffix(".json")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        rows = [(float(entry["x"]), float(entry["y"]), _SHIDC_LABELS[int(entry["label_id"])]) for entry in entries]
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise DataSetError(path, f"is no SHIDC label file ({error})", "Expected a list of x, y, label_id.") from error
    except KeyError as error:
        raise DataSetError(
            path, f"has an entry without or with an unknown {error}", "Expected label_id 1, 2, 3."
        ) from error
    return _by_class(path, rows)


def _csv_points(_folder: Path, image: Path) -> dict[str, Points]:
    path = image.with_suffix(".csv")
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            for line, row in enumerate(csv.DictReader(stream), start=2):
                label = (row.get("label") or "").strip().lower()
                if label not in CLASSES:
                    raise DataSetError(
                        path, f"line {line} has the label '{label}'", f"Expected {', '.join(CLASSES)}."
                    )
                rows.append((float(row["x"]), float(row["y"]), label))
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataSetError(path, f"is no list of points ({error})", "Expected columns x, y, label.") from error
    return _by_class(path, rows)


def _qupath_points(_folder: Path, image: Path) -> dict[str, Points]:
    path = image.with_suffix(".geojson")
    rows = [
        (x - 0.5, y - 0.5, label)
        for points in read_points(path, 1.0)
        if (label := _class_of(path, points.label)) is not None
        for x, y in points.xy_um.tolist()
    ]
    rows += [
        (region.geometry.centroid.x - 0.5, region.geometry.centroid.y - 0.5, label)
        for region in read_regions(path, 1.0)
        if (label := _class_of(path, region.label)) is not None
    ]
    return _by_class(path, rows)


def _class_of(path: Path, name: str) -> str | None:
    lower = name.lower()
    if not lower:
        raise DataSetError(path, "has a cell without a class", "Classify every point or detection in QuPath.")
    if lower.startswith("ignore"):
        return None
    return next((label for label in ("positive", "negative") if label in lower), "other")


_SECTION, _SECTION_CELLS = "ki67.tif", "ki67_cells.parquet"


def _simulated_sections(folder: Path) -> list[Path]:
    return [path / _SECTION for path in sorted(folder.iterdir()) if (path / _SECTION_CELLS).is_file()]


def _own_mpp(image: Path) -> float:
    with open_slide(image) as slide:
        return slide.mpp


def _simulated_points(_folder: Path, image: Path) -> dict[str, Points]:
    path = image.with_name(_SECTION_CELLS)
    try:
        table = pq.read_table(path, columns=["x_um", "y_um", "label"])
    except (OSError, pa.ArrowException) as error:
        raise DataSetError(path, f"is no table of simulated cells ({error})", "Simulate the pair again.") from error
    places = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()])
    labels = np.array(table["label"].to_pylist(), dtype=object)
    return {name: places[labels == name] for name in CLASSES}


def _deepliif_images(folder: Path) -> list[Path]:
    images = [path for path in sorted(folder.iterdir()) if path.stem.endswith("_ihc")]
    return [path for path in images if path.suffix.lower() in _IMAGE_SUFFIXES and _deepliif_mask(path).is_file()]


def _deepliif_mask(image: Path) -> Path:
    return image.with_name(image.stem.removesuffix("_ihc") + "_mask.png")


def _deepliif_points(_folder: Path, image: Path) -> dict[str, Points]:
    path = _deepliif_mask(image)
    mask = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if mask is None:
        raise DataSetError(path, "is no picture", "Expected nuclei in red and blue with green edges.")
    blue, green, red = (mask[..., channel] > _FULL_COLOUR / 2 for channel in range(3))
    rows = []
    for label, filled in (("positive", red & ~green), ("negative", blue & ~green)):
        _, _, sizes, centres = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=4)
        large = sizes[1:, cv2.CC_STAT_AREA] >= _LEAST_FILLED_PX
        rows += [(x, y, label) for x, y in centres[1:][large].tolist()]
    return _by_class(path, rows)


_POLYGONS = "polygons.json"


def _glioma_images(folder: Path) -> list[Path]:
    known = _glioma_polygons(folder / _POLYGONS)
    return [
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES and path.stem in known
    ]


def _glioma_points(folder: Path, image: Path) -> dict[str, Points]:
    path = folder / _POLYGONS
    known = _glioma_polygons(path)[image.stem]
    try:
        rows = [
            (*(np.asarray(polygon, np.float64).reshape(-1, 2).mean(axis=0) - 0.5).tolist(), label)
            for label in ("positive", "negative")
            for polygon in known.get(label, [])
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise DataSetError(path, f"has a malformed entry for {image.stem} ({error})", _GLIOMA_EXPECTED) from error
    return _by_class(path, rows)


_GLIOMA_EXPECTED = "Expected picture, class, list of polygons of x, y."


def _glioma_polygons(path: Path) -> dict[str, Any]:
    try:
        polygons = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataSetError(path, f"is no list of polygons ({error})", _GLIOMA_EXPECTED) from error
    if not isinstance(polygons, dict):
        raise DataSetError(path, "is no list of polygons", _GLIOMA_EXPECTED)
    return polygons


def _by_class(path: Path, rows: list[tuple[float, float, str]]) -> dict[str, Points]:
    points = {name: np.array([row[:2] for row in rows if row[2] == name], float).reshape(-1, 2) for name in CLASSES}
    if not all(np.isfinite(values).all() for values in points.values()):
        raise DataSetError(path, "holds a coordinate that is not a number", "Expected x and y in pixels.")
    return points
