"""Faults of regions and of fields: other frames, the other slide, QuPath's hierarchy, wild rings, pale tissue."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from hostile.fault import Draw, fault, index, no_index, refused, same, told
from hostile.faults_slides import CM, TILED, crop, tif
from hostile.sound import feature, square

Json = dict[str, Any]
COUNT: Final = "count {small}/ki67.tif --regions {i}/r.geojson"
OFF: Final = "tissue|frame|pixel|outside|dense|densit|few|other slide|belong"


def collection(*features: Json) -> Json:
    """Return a FeatureCollection."""
    return {"type": "FeatureCollection", "features": list(features)}


def document(make: Callable[[], Any]) -> Draw:
    """Write a GeoJSON document."""
    return lambda folder, _: (folder / "r.geojson").write_text(json.dumps(make()), encoding="utf-8") and None


def walked(node: Any, change: Callable[[float, float], list[float]]) -> Any:
    """Return coordinates, each changed."""
    if node and isinstance(node[0], int | float):
        return change(node[0], node[1])
    return [walked(one, change) for one in node]


def changed(source: str, change: Callable[[float, float], list[float]]) -> Draw:
    """Write a region of the simulated pair with its coordinates changed."""

    def draw(folder: Path, sim: Path) -> None:
        found = json.loads((sim.parent / "small" / source).read_text(encoding="utf-8"))
        for one in found["features"]:
            one["geometry"]["coordinates"] = walked(one["geometry"]["coordinates"], change)
        (folder / "r.geojson").write_text(json.dumps(found), encoding="utf-8")

    return draw


SMALL_HEIGHT: Final = 3300
SAID: Final = (told(OFF), refused(OFF), no_index(OFF))
RIGHT_OR_REFUSED: Final = (index(0, 100), refused("."))
SAID_OR_NEAR: Final = (*SAID, index(27.5, 33.5))
"""A region that still lies in the carcinoma cannot be told from an honest one: its index must be the section's."""
OURS: Final = "ki67_regions.geojson"
# fmt: off
FRAMES: Final = [
    fault(0, "small", "count {small}/ki67.tif --regions {small}/ki67_regions.geojson", index(26, 34, (430, 540)),
        "30 % of 487", sound=True),
    fault(5, "half scale", COUNT, SAID, "said or refused", changed(OURS, lambda x, y: [x / 2, y / 2])),
    fault(5, "double scale", COUNT, SAID, "said or refused", changed(OURS, lambda x, y: [x * 2, y * 2])),
    fault(5, "quarter scale", COUNT, SAID, "said or refused", changed(OURS, lambda x, y: [x / 4, y / 4])),
    fault(5, "in µm, not in pixels", COUNT, SAID, "said or refused", changed(OURS, lambda x, y: [x * 0.5, y * 0.5])),
    fault(5, "the H&E slide's region", COUNT, SAID, "said or refused", changed("he_regions.geojson", lambda x,
        y: [x, y])),
    fault(5, "y upwards", COUNT, SAID_OR_NEAR, "said, refused or right", changed(OURS, lambda x,
        y: [x, SMALL_HEIGHT - y])),
    fault(5, "x and y exchanged", COUNT, SAID_OR_NEAR, "said, refused or right", changed(OURS, lambda x, y: [y, x])),
    fault(5, "moved by 430 µm", COUNT, SAID, "said or refused", changed(OURS, lambda x, y: [x + 700, y + 500])),
    fault(5, "on bare glass", COUNT, refused("."), "refused",
        document(lambda: collection(feature(square(5, 5, 150), "IDC")))),
]
# fmt: on


def nested(*children: Json, **more: Any) -> Json:
    """Return the whole field as an annotation with children."""
    return feature(square(0, 0, 640), None, childObjects=list(children), **more)


def inner(label: str = "IDC", identifier: str = "in") -> Json:
    """Return the region that is right in all of the hierarchy's files: 280 x 280 px."""
    return feature(square(180, 180, 280), label, id=identifier)


def hole_outside() -> Json:
    """Return a region with a hole that lies outside its shell."""
    geometry = square(180, 180, 280)
    geometry["coordinates"].append(square(10, 10, 120)["coordinates"][0])
    return feature(geometry, "IDC")


def degenerate(identifier: str) -> Json:
    """Return a region without area."""
    return feature(
        {"type": "Polygon", "coordinates": [[[10, 10], [20, 20], [10, 10], [10, 10]]]}, "IDC", id=identifier
    )


FIELD: Final = "count {i}/f.tif --regions {i}/r.geojson"


def with_field(make: Callable[[], Any]) -> Draw:
    """Write the middle of the section and a document for it."""

    def draw(folder: Path, sim: Path) -> None:
        tif("f.tif")(folder, sim)
        document(make)(folder, sim)

    return draw


def around(cut: str) -> Json:
    """Return an IDC annotation with one of another class inside."""
    return collection(feature(square(60, 60, 520), "IDC", id="o"), feature(square(180, 180, 280), cut, id="x"))


def ring() -> Json:
    """Return what is left where the inside is cut out."""
    geometry = square(60, 60, 520)
    geometry["coordinates"].append(square(180, 180, 280)["coordinates"][0])
    return collection(feature(geometry, "IDC", id="o"))


# fmt: off
HIERARCHY: Final = [
    fault(0, "inner", FIELD, index(0, 100, (20, 800)), "an index", with_field(lambda: collection(inner())),
        sound=True),
    fault(0, "ring", FIELD, index(0, 100, (40, 1500)), "an index", with_field(ring), sound=True),
    fault(8, "child of an annotation", FIELD, same("inner"), "the child alone",
        with_field(lambda: collection(nested(inner())))),
    fault(8, "child of a child", FIELD, same("inner"), "the innermost alone",
        with_field(lambda: collection(nested(nested(inner(), id="m"))))),
    fault(8, "a root without geometry", FIELD, same("inner"), "the child alone",
        with_field(lambda: feature(None, None, kind="root", childObjects=[nested(inner())]))),
    *[fault(8, f"{label} inside the tumour", FIELD, same("ring", 0.0, "cut|left out|taken out|Ignore|Necrosis"),
        "cut out, said", with_field(lambda label=label: around(label)),) for label in ("Ignore*", "Necrosis")],
    fault(8, "one degenerate among sound ones", FIELD, same("inner", 0.0, "."), "left out, said",
        with_field(lambda: collection(degenerate("d"), inner()))),
    fault(8, "all degenerate", FIELD, refused("."), "refused",
        with_field(lambda: collection(degenerate("d"), degenerate("e")))),
    fault(8, "a hole outside its shell", FIELD, (same("inner", 0.0), refused("hole")), "no tissue",
        with_field(lambda: collection(hole_outside()))),
    fault(8, "a null geometry beside", FIELD, same("inner"), "left out",
        with_field(lambda: collection(feature(None, "IDC", id="n"), inner()))),
]
# fmt: on


def squares(count: int, side: float, step: float) -> Callable[[], Json]:
    """Return a document of many squares, as a detection export."""

    def make() -> Json:
        across = int(np.ceil(np.sqrt(count)))
        return collection(
            *[
                feature(square(1200 + step * (n % across), 900 + step * (n // across), side), "IDC", id=f"s{n}")
                for n in range(count)
            ]
        )

    return make


def scribble(count: int, low: float = 1300, high: float = 2200) -> Callable[[], Json]:
    """Return one ring of random points."""

    def make() -> Json:
        points = np.random.default_rng(count).uniform(low, high, (count, 2)).round(2).tolist()
        return collection(feature({"type": "Polygon", "coordinates": [[*points, points[0]]]}, "IDC"))

    return make


def shore(count: int) -> Json:
    """Return a sound ring of many points."""
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = 500 + 30 * np.sin(40 * turns) + 3 * np.sin(3000 * turns)
    points = np.column_stack([1850 + radius * np.cos(turns), 1650 + radius * np.sin(turns)]).round(2).tolist()
    return collection(feature({"type": "Polygon", "coordinates": [[*points, points[0]]]}, "IDC"))


# fmt: off
WILD: Final = [
    fault(9, "10,000 squares", COUNT, index(0, 100), "counted, 60 s, 2 GB", document(squares(10_000, 9, 13))),
    fault(9, "10,000 squares that overlap", COUNT, index(0, 100), "counted, 60 s, 2 GB",
        document(squares(10_000, 16, 13))),
    fault(9, "10,000 squares edge to edge", COUNT, index(0, 100), "counted, 60 s, 2 GB",
        document(squares(10_000, 13, 13))),
    fault(9, "30,000 specks", COUNT, (index(0, 100), no_index("."), refused(".")), "counted or told",
        document(squares(30_000, 2, 8))),
    fault(9, "a scribble of 500 points", COUNT, RIGHT_OR_REFUSED, "right or one line", document(scribble(500))),
    fault(9, "a scribble of 2,000 points", COUNT, RIGHT_OR_REFUSED, "right or one line", document(scribble(2000))),
    fault(9, "a scribble of 20,000 points", COUNT, RIGHT_OR_REFUSED, "right or one line",
        document(scribble(20_000))),
    fault(9, "ten scribbles of 1,000", COUNT, RIGHT_OR_REFUSED, "right or one line",
        document(lambda: collection(*[{**scribble(1000 + n)()["features"][0], "id": str(n)} for n in range(10)]))),
    fault(9, "a shore of 200,000 points", COUNT, index(0, 100), "counted", document(lambda: shore(200_000))),
]
# fmt: on


def field_of(
    stroma: float, fibre: float = 6.0, glass: bool = False, colour: tuple[int, int, int] = (236, 222, 230)
) -> NDArray[np.uint8]:
    """Return a field of 0.6 mm at 0.5 µm: nests of tumour in pale ground, with or without glass at the edges."""
    rng = np.random.default_rng(17)
    side = 1200
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    waves = np.sin(rows / 9 + 3 * np.sin(columns / 70)) * fibre
    pixels = np.asarray(colour, np.float32) + waves[..., None] * np.array([0.5, 1.0, 0.7], np.float32)
    nests = np.zeros((side, side), bool)
    edge = 120 if stroma > 0.1 else 0  # beyond it no nest reaches, and nearly all is to be nests
    while nests.mean() < 1 - stroma:
        y, x, r = rng.uniform(edge, side - edge), rng.uniform(edge, side - edge), rng.uniform(60, 110)
        nests |= (rows - y) ** 2 + (columns - x) ** 2 < r**2
    pixels[nests] = (205, 185, 205)
    step = 19
    for y in range(40, side - 40, step):
        for x in range(40, side - 40, step):
            if nests[y, x]:
                cy, cx = y + int(rng.integers(-3, 4)), x + int(rng.integers(-3, 4))
                block = np.s_[cy - 8 : cy + 9, cx - 8 : cx + 9]
                disc = (rows[block] - cy) ** 2 + (columns[block] - cx) ** 2 < 6.8**2
                pixels[block][disc] = (112, 72, 42) if rng.random() < 0.25 else (92, 100, 158)
    if glass:
        pixels[:, :150] = pixels[:, -150:] = 244
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def field(make: Callable[[], NDArray[np.uint8]], region: Json | None = None) -> Draw:
    """Write a field as a tiled TIFF, and a region for it."""

    def draw(folder: Path, sim: Path) -> None:
        tifffile.imwrite(folder / "f.tif", make(), compression="deflate", **TILED, **CM)
        if region is not None:
            document(lambda: collection(region))(folder, sim)

    return draw


ALL: Final = feature(square(60, 60, 1080), "IDC")
PLAIN, WITH_REGION = "count {i}/f.tif", FIELD
PALE: Final = [
    *[
        fault(
            7,
            f"{name}, {'with' if region else 'without'} regions",
            FIELD if region else PLAIN,
            index(15, 35, (60, 6000)),
            "about 25 %",
            field(make, ALL if region else None),
        )
        for name, make in (
            ("87 % pale stroma", lambda: field_of(0.87)),
            ("87 % paler, smoother stroma", lambda: field_of(0.87, 3.0, colour=(242, 232, 238))),
            ("95 % pale stroma and glass", lambda: field_of(0.95, glass=True)),
            ("60 % mucin, bluish", lambda: field_of(0.6, 3.0, colour=(222, 226, 238))),
            ("60 % pale fat", lambda: field_of(0.6, 1.0, colour=(240, 239, 241))),
            ("no glass, all tumour", lambda: field_of(0.05)),
        )
        for region in (True, False)
    ],
    fault(
        7,
        "an empty slide",
        PLAIN,
        refused("tissue"),
        "refused",
        field(lambda: np.random.default_rng(1).normal(243, 2, (1200, 1200, 3)).astype(np.uint8)),
    ),
]


def png_field(folder: Path, sim: Path) -> None:
    """Write the middle of the section as PNG."""
    Image.fromarray(crop(sim)).save(folder / "f.png")


FAULTS: Final = [*FRAMES, *HIERARCHY, *WILD, *PALE]
