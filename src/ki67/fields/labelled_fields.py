"""Fields with labelled nuclei, in the layouts of :class:`ki67.vocabulary.Layout`.

Coordinates in the files are pixels; the centre of the first pixel is (0, 0), so half a pixel is added on the way to
µm (QuPath counts from the corner and is read as it counts).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ki67.annotations import read_cells
from ki67.cells.channels import check_resolution
from ki67.errors import DataSetError
from ki67.fields.labelled_area import AREA_SUFFIX, LabelledArea, read_labelled_area, read_mask
from ki67.fields.qupath_classes import cell_class
from ki67.files import read_json, read_text
from ki67.parquet import parquet_file
from ki67.slides import PixelFrame, Slide, open_slide
from ki67.vocabulary import CLASSES, NEGATIVE, OTHER, POSITIVE, TUMOUR_CLASSES, Layout

Points = NDArray[np.float64]

PUBLISHED_MPP = {"bcdata": 0.25, "shidc": 0.25, "deepliif": 0.25, "glioma": 0.1}
"""Pixel size of the public sets in µm; their authors do not give it, it follows from the size of nuclei."""

DEFAULT_RADIUS_UM = dict.fromkeys(map(str, Layout), 2.5) | {"shidc": 4.0}
"""How far from a labelled point a nucleus may be found: 10 px in BCData, 16 px in SHIDC."""

ALL_NUCLEI = ("deepliif", "glioma")
"""Layouts whose negative nuclei may be of any kind, tumour cells or not."""

# Labels are set by hand: at the edge they may lie a little outside the picture.
_OUTSIDE_PX = 2.0
# A field holds hundreds of nuclei; a header may claim more than memory holds.
_MOST_COORDINATES = 2_000_000
_SHIDC_LABELS = {1: POSITIVE.label, 2: NEGATIVE.label, 3: OTHER.label}
# DeepLIIF's masks: full red, blue or green; smaller specks than this are rests of edges.
_FULL_COLOUR, _LEAST_FILLED_PX = 255, 30
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class LabelledField:
    """One picture and its labelled points (N, 2) in µm, by class.

    ``labelled`` is where labelling is complete; None where it is complete all over the picture. ``radius_um`` is how
    far from a label its nucleus may be found; None where it is the layout's (:data:`DEFAULT_RADIUS_UM`).
    """

    name: str
    image: Path
    mpp: float
    points: dict[str, Points]
    warnings: tuple[str, ...] = ()
    labelled: LabelledArea | None = None
    radius_um: float | None = None

    def open(self) -> Slide:
        """Open the picture again, at the pixel size that was settled when its labels were read."""
        return open_slide(self.image, self.mpp, overrides_file=True)

    def can_judge(self, places_um: Points, radius_um: float) -> NDArray[np.bool_]:
        """Whether the labels tell if there is a nucleus at points (N, 2) in µm.

        They do where labelling is complete, and within ``radius_um`` of a labelled nucleus wherever it is: the
        outline of the area often runs through nuclei. A nucleus found elsewhere is neither hit nor false alarm.
        """
        if self.labelled is None:
            return np.ones(len(places_um), np.bool_)
        known = np.concatenate(list(self.points.values()))
        near = (
            cKDTree(known).query(places_um, distance_upper_bound=radius_um)[0] <= radius_um if len(known) else False
        )
        return self.labelled.contains(places_um) | near


def read_fields(
    directory: str | Path,
    layout: str,
    mpp: float | None = None,
    images: Sequence[str] | None = None,
    *,
    overrides_file: bool = False,
) -> list[LabelledField]:
    """Find the fields of a data set and read their labels.

    Parameters
    ----------
    directory
        The data set.
    layout
        One of :class:`ki67.vocabulary.Layout`.
    mpp
        Pixel size. Where None, the public sets are taken at :data:`PUBLISHED_MPP` and any other file must tell its
        own; simulated sections always do.
    images
        Names (without suffix) of the fields to use; all where None.
    overrides_file
        Take ``mpp`` although a picture's file says otherwise.

    Raises
    ------
    DataSetError
        Where the folder, a picture or a label file is not as described; the message names the file.
    PixelSizeError
        Where a picture has no pixel size, or one that is too coarse for nuclei.
    """
    folder = Path(directory)
    if layout not in _READERS:
        raise DataSetError(folder, f"layout '{layout}' is not known", f"Choose one of {', '.join(Layout)}.")
    if not folder.is_dir():
        raise DataSetError(folder, "is not a folder", "Name the folder of the data set.")
    find, read = _READERS[layout]
    found = _by_name(folder, layout, find(folder))
    names = sorted(found, key=_natural) if images is None else _chosen(folder, images, found)
    given = PUBLISHED_MPP.get(layout) if mpp is None or layout == Layout.simulated else mpp
    fields = []
    for name in names:
        with open_slide(found[name], given, overrides_file=overrides_file) as slide:
            size = check_resolution(slide.path, slide.mpp)
            points = read(folder, found[name], slide.frame)
            area = read_labelled_area(found[name], slide.size_px, slide.frame)
            field = LabelledField(name, found[name], size, points, slide.named_warnings, area)
            _check_inside(field, slide.size_px)
        fields.append(field)
    return fields


LABEL_SUFFIXES = (".geojson", ".geojson.gz", ".csv")
"""Ends of the names of label files that are read without their picture: GeoJSON from QuPath, points in a CSV."""


def read_labels(path: Path, mpp: float) -> dict[str, Points]:
    """Read the labelled points (N, 2) in µm of one label file, by class, without its picture.

    Parameters
    ----------
    path
        Its name ends in one of :data:`LABEL_SUFFIXES`; a CSV has the columns x, y, label, in pixels.
    mpp
        Pixel size of the slide in µm.

    Raises
    ------
    DataSetError, AnnotationError
        Where the file is not as described; the message names it.
    """
    read = _csv_points if path.suffix.lower() == ".csv" else _qupath_points
    return read(path, PixelFrame(mpp))


def _by_name(folder: Path, layout: str, pictures: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in pictures:
        name = path.parent.name if layout == Layout.simulated else path.stem
        if name in found:
            raise DataSetError(
                path, f"has the name of {found[name].name}; the labels belong to one of them", "Remove the other."
            )
        found[name] = path
    if not found:
        raise DataSetError(folder, f"holds no labelled field in the '{layout}' layout", "Check --layout.")
    return found


def _chosen(folder: Path, images: Sequence[str], found: Mapping[str, Path]) -> list[str]:
    missing = sorted(set(images) - set(found))
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise DataSetError(folder, f"has no labelled field {names}", "Check the names given.")
    twice = sorted({name for name in images if list(images).count(name) > 1})
    if twice:
        raise DataSetError(folder, f"was asked for the field {', '.join(twice)} twice", "Name each field once.")
    return list(images)


def _check_inside(field: LabelledField, size_px: tuple[int, int]) -> None:
    places = np.concatenate(list(field.points.values())) / field.mpp
    outside = ((places < -_OUTSIDE_PX) | (places > np.array(size_px) + _OUTSIDE_PX)).any(axis=1)
    if outside.any():
        raise DataSetError(
            field.image,
            f"has {outside.sum()} of {len(places)} labels outside its {size_px[0]} x {size_px[1]} pixels",
            "Give coordinates in pixels, not in µm, and check that the labels belong to this picture.",
        )


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)


def _bcdata_images(folder: Path) -> list[Path]:
    if not (folder / "images").is_dir() or not (folder / "annotations").is_dir():
        raise DataSetError(folder, "has no folders 'images' and 'annotations'", "Check --layout.")
    return [path for path in sorted((folder / "images").iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES]


def _bcdata_points(folder: Path, image: Path, frame: PixelFrame) -> dict[str, Points]:
    files = {label: folder / "annotations" / label / f"{image.stem}.h5" for label in TUMOUR_CLASSES}
    if not any(path.is_file() for path in files.values()):
        raise DataSetError(image, f"has no labels: {files['positive']} and its negative twin are missing")
    # A field without a cell of one class may come without that class's file.
    rows = [(x, y, label) for label, path in files.items() if path.is_file() for x, y in _h5_points(path).tolist()]
    return _by_class(image, rows, frame)


def _h5_points(path: Path) -> Points:
    try:
        with h5py.File(path) as store:
            coordinates = store["coordinates"]
            if coordinates.size > _MOST_COORDINATES:  # says the header, whatever the file holds
                raise ValueError(f"{coordinates.size} coordinates, at most {_MOST_COORDINATES} are read")
            points = np.asarray(coordinates, np.float64)
    except (AttributeError, OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataSetError(path, f"is no BCData label file ({error})", "Expected a dataset 'coordinates'.") from error
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DataSetError(path, f"holds coordinates of shape {points.shape}", "Expected finite rows of x, y.")
    return points


def _beside(suffix: str) -> Callable[[Path], list[Path]]:
    def find(folder: Path) -> list[Path]:
        images = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES]
        return [path for path in images if path.with_suffix(suffix).is_file() and not path.stem.endswith(AREA_SUFFIX)]

    return find


def _labels_beside(
    suffix: str, read: Callable[[Path, PixelFrame], dict[str, Points]]
) -> Callable[[Path, Path, PixelFrame], dict[str, Points]]:
    return lambda _folder, image, frame: read(image.with_suffix(suffix), frame)


def _shidc_points(_folder: Path, image: Path, frame: PixelFrame) -> dict[str, Points]:
    path = image.with_suffix(".json")
    try:
        entries = read_json(path, DataSetError, "Expected a list of x, y, label_id.", "an SHIDC label file")
        rows = [(float(entry["x"]), float(entry["y"]), _SHIDC_LABELS[entry["label_id"]]) for entry in entries]
    except (ArithmeticError, ValueError, TypeError) as error:
        raise DataSetError(path, f"is no SHIDC label file ({error})", "Expected a list of x, y, label_id.") from error
    except KeyError as error:
        raise DataSetError(
            path, f"has an entry without or with an unknown {error}", "Expected label_id 1, 2, 3."
        ) from error
    return _by_class(path, rows, frame)


_CSV_COLUMNS = ("x", "y", "label")
_CSV_EXPECTED = "Expected the columns x, y, label with commas between, x and y in pixels."


def _csv_points(path: Path, frame: PixelFrame) -> dict[str, Points]:
    try:
        stream = io.StringIO(read_text(path, DataSetError, _CSV_EXPECTED, "list of points"), newline="")
        header, *lines = list(csv.reader(stream)) or [[]]
    except csv.Error as error:
        raise DataSetError(path, f"is no list of points ({error})", _CSV_EXPECTED) from error
    names = [name.strip().lower() for name in header]
    if not set(_CSV_COLUMNS) <= set(names):
        raise DataSetError(path, f"has the columns '{', '.join(header)}'", _CSV_EXPECTED)
    rows = []
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        row = dict(zip(names, line, strict=False))
        try:
            x, y, label = float(row["x"]), float(row["y"]), row["label"].strip().lower()
        except (KeyError, ValueError) as error:
            raise DataSetError(path, f"line {number} is no point ({error})", _CSV_EXPECTED) from error
        if label not in CLASSES:
            raise DataSetError(path, f"line {number} has the label '{label}'", f"Expected {', '.join(CLASSES)}.")
        rows.append((x, y, label))
    return _by_class(path, rows, frame)


def _qupath_points(path: Path, frame: PixelFrame) -> dict[str, Points]:
    points: dict[str, list[Points]] = {label: [np.empty((0, 2))] for label in CLASSES}
    for name, places in read_cells(path, frame).items():
        label = cell_class(path, name)
        if label is not None:
            points[label].append(places)
    return {label: np.concatenate(parts) for label, parts in points.items()}


_SECTION, _SECTION_CELLS = "ki67.tif", "ki67_cells.parquet"


def _simulated_sections(folder: Path) -> list[Path]:
    return [path / _SECTION for path in sorted(folder.iterdir()) if (path / _SECTION_CELLS).is_file()]


def _simulated_points(_folder: Path, image: Path, _frame: PixelFrame) -> dict[str, Points]:
    path = image.with_name(_SECTION_CELLS)
    try:
        with parquet_file(path) as stream:
            table = pq.read_table(stream, columns=["x_um", "y_um", "label"])
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


def _deepliif_points(_folder: Path, image: Path, frame: PixelFrame) -> dict[str, Points]:
    path = _deepliif_mask(image)
    mask = read_mask(path, cv2.IMREAD_COLOR)
    if mask is None:
        raise DataSetError(path, "is no picture", "Expected nuclei in red and blue with green edges.")
    blue, green, red = (mask[..., channel] > _FULL_COLOUR / 2 for channel in range(3))
    rows = []
    for label, filled in ((POSITIVE.label, red & ~green), (NEGATIVE.label, blue & ~green)):
        _, _, sizes, centres = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=4)
        large = sizes[1:, cv2.CC_STAT_AREA] >= _LEAST_FILLED_PX
        rows += [(x, y, label) for x, y in centres[1:][large].tolist()]
    return _by_class(path, rows, frame)


_POLYGONS = "polygons.json"


def _glioma_images(folder: Path) -> list[Path]:
    known = _glioma_polygons(folder / _POLYGONS)
    return [
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES and path.stem in known
    ]


def _glioma_points(folder: Path, image: Path, frame: PixelFrame) -> dict[str, Points]:
    path = folder / _POLYGONS
    known = _glioma_polygons(path)[image.stem]
    try:
        rows = [
            (*(np.asarray(polygon, np.float64).reshape(-1, 2).mean(axis=0) - 0.5).tolist(), label)
            for label in TUMOUR_CLASSES
            for polygon in known.get(label, [])
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise DataSetError(path, f"has a malformed entry for {image.stem} ({error})", _GLIOMA_EXPECTED) from error
    return _by_class(path, rows, frame)


_GLIOMA_EXPECTED = "Expected picture, class, list of polygons of x, y."


def _glioma_polygons(path: Path) -> dict[str, Any]:
    polygons = read_json(path, DataSetError, _GLIOMA_EXPECTED, "list of polygons")
    if not isinstance(polygons, dict):
        raise DataSetError(path, "is no list of polygons", _GLIOMA_EXPECTED)
    return polygons


def _by_class(path: Path, rows: Sequence[tuple[float, float, str]], frame: PixelFrame) -> dict[str, Points]:
    points = {name: np.array([row[:2] for row in rows if row[2] == name], float).reshape(-1, 2) for name in CLASSES}
    if not all(np.isfinite(values).all() for values in points.values()):
        raise DataSetError(path, "holds a coordinate that is not a number", "Expected x and y in pixels.")
    return {name: (values + 0.5) * frame.mpp for name, values in points.items()}


_READERS: dict[str, tuple[Callable[[Path], list[Path]], Callable[[Path, Path, PixelFrame], dict[str, Points]]]] = {
    Layout.bcdata: (_bcdata_images, _bcdata_points),
    Layout.shidc: (_beside(".json"), _shidc_points),
    Layout.points: (_beside(".csv"), _labels_beside(".csv", _csv_points)),
    Layout.qupath: (_beside(".geojson"), _labels_beside(".geojson", _qupath_points)),
    Layout.simulated: (_simulated_sections, _simulated_points),
    Layout.deepliif: (_deepliif_images, _deepliif_points),
    Layout.glioma: (_glioma_images, _glioma_points),
}
"""Finds the pictures of a folder; reads the labels of one of them (folder, picture, its frame) in µm."""
