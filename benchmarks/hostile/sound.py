"""Small sound files of every format that is read, made in code: what hostile files are made from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import onnx
import tifffile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import ki67

WEIGHTS: Final = Path(ki67.__file__).parent / "weights"
MPP: Final = 0.5
SIZE: Final = (192, 256)
TIFF_KW: Final[dict[str, Any]] = {
    "photometric": "rgb",
    "metadata": None,
    "resolution": (20000, 20000),
    "resolutionunit": 3,
}
APERIO: Final = "Aperio Image Library v12.0.0\r\n256x192 [0,0 256x192] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"


@dataclass(frozen=True)
class Sound:
    """One sound file: what it is called, its bytes, which mutator knows it, what is done with it."""

    name: str
    data: bytes
    structure: str
    target: str


def picture(size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Blue nuclei and brown ones on pale pink, with glass around."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[: size[0], : size[1]]
    pixels = np.full((*size, 3), 240, np.uint8)
    inner = (rows > 20) & (columns > 20) & (rows < size[0] - 20) & (columns < size[1] - 20)
    pixels[inner] = (225, 205, 215)
    for y, x in rng.uniform(30, np.array(size) - 30, (60, 2)):
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 6.5**2
        pixels[disc] = (110, 70, 40) if rng.random() < 0.3 else (90, 95, 160)
    noise = rng.integers(-6, 7, (*size, 3))
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _tiff(write: Callable[[tifffile.TiffWriter], None], **options: Any) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        write(writer)
    return stream.getvalue()


def slides() -> list[Sound]:
    """TIFFs of several kinds, PNG, JPEG."""
    full = picture()
    half = np.ascontiguousarray(full[::2, ::2])

    def aperio(t: tifffile.TiffWriter) -> None:
        t.write(full, tile=(64, 64), compression="jpeg", description=APERIO, software=None, **TIFF_KW)
        t.write(half, tile=(64, 64), compression="jpeg", software=None, photometric="rgb", metadata=None)

    def pyramid(t: tifffile.TiffWriter) -> None:
        t.write(full, tile=(64, 64), compression="deflate", subifds=1, **TIFF_KW)
        t.write(half, tile=(64, 64), compression="deflate", subfiletype=1, photometric="rgb", metadata=None)

    def ome(t: tifffile.TiffWriter) -> None:
        sizes = {"PhysicalSizeX": MPP, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": MPP, "PhysicalSizeYUnit": "µm"}
        t.write(full, tile=(64, 64), compression="lzw", photometric="rgb", metadata={"axes": "YXS", **sizes})

    def plain(t: tifffile.TiffWriter) -> None:
        t.write(full, rowsperstrip=32, compression="packbits", **TIFF_KW)

    def deep(t: tifffile.TiffWriter) -> None:
        grey = full[..., 0].astype(np.uint16) * 16
        t.write(
            grey, tile=(64, 64), photometric="minisblack", resolution=(20000, 20000), resolutionunit=3, metadata=None
        )

    found = [
        Sound("aperio.svs", _tiff(aperio), "tiff", "slide"),
        Sound("pyramid.tif", _tiff(pyramid), "tiff", "slide"),
        Sound("big.tif", _tiff(pyramid, bigtiff=True), "tiff", "slide"),
        Sound("motorola.tif", _tiff(pyramid, byteorder=">"), "tiff", "slide"),
        Sound("ome.ome.tif", _tiff(ome, ome=True), "tiff", "slide"),
        Sound("plain.tif", _tiff(plain), "tiff", "slide"),
        Sound("deep.tif", _tiff(deep), "tiff", "slide"),
    ]
    for name, structure, options in (
        ("rgb.png", "png", {}),
        ("field.jpg", "jpeg", {"quality": 90}),
        ("progressive.jpg", "jpeg", {"quality": 80, "progressive": True}),
    ):
        stream = io.BytesIO()
        Image.fromarray(full).save(stream, "PNG" if structure == "png" else "JPEG", **options)
        found.append(Sound(name, stream.getvalue(), structure, "slide"))
    for mode in ("RGBA", "P", "I;16", "1", "LA"):
        stream = io.BytesIO()
        image = (
            Image.fromarray(full[..., 0].astype(np.uint16) * 200)
            if mode == "I;16"
            else Image.fromarray(full).convert(mode)
        )
        image.save(stream, "PNG")
        found.append(Sound(f"{mode.replace(';', '')}.png", stream.getvalue(), "png", "slide"))
    return found


def square(x: float, y: float, side: float) -> dict[str, Any]:
    """Return a GeoJSON square."""
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(geometry: dict[str, Any] | None, label: str | None, **more: Any) -> dict[str, Any]:
    """Return a QuPath feature."""
    properties: dict[str, Any] = {"objectType": more.pop("kind", "annotation")}
    if label:
        properties["classification"] = {"name": label, "color": [255, 0, 0]}
    return {"type": "Feature", "id": more.pop("id", "a"), "geometry": geometry, "properties": {**properties, **more}}


def region_files() -> list[Sound]:
    """QuPath exports: annotations with holes and parts, a hierarchy, detections, points."""
    holed = square(40, 40, 120)
    holed["coordinates"].append(square(60, 60, 20)["coordinates"][0])
    parts = {
        "type": "MultiPolygon",
        "coordinates": [square(10, 10, 20)["coordinates"], square(180, 10, 40)["coordinates"]],
    }
    plain = [
        feature(holed, "IDC", name="one"),
        feature(parts, "DCIS", id="b"),
        feature(square(70, 70, 9), "Ignore*", id="c"),
    ]
    inner = feature(square(50, 50, 60), "IDC", id="d")
    tree = feature(
        None, None, kind="root", id="r", childObjects=[feature(square(0, 0, 200), None, childObjects=[inner])]
    )
    cells: list[dict[str, Any]] = [
        feature(
            square(30 + 12 * n, 60, 8), "Tumor: Positive" if n % 2 else "Tumor: Negative", kind="detection", id=str(n)
        )
        for n in range(12)
    ]
    points = feature({"type": "MultiPoint", "coordinates": [[50, 60], [70, 80]]}, "Positive", id="p")
    documents = {
        "regions": {"type": "FeatureCollection", "features": plain},
        "tree": tree,
        "cells": {"type": "FeatureCollection", "features": [*cells, points]},
        "list": plain,
    }
    found = []
    for name, document in documents.items():
        data = json.dumps(document).encode()
        found += [
            Sound(f"{name}.geojson", data, "json", "regions"),
            Sound(f"{name}.geojson", data, "json", "labels-qupath"),
        ]
    return found


def tables() -> list[Sound]:
    """CSV files and label files of every layout."""
    pairs = "he_x,he_y,ki67_x,ki67_y\n10,10,12,11\n200,20,202,19\n100,150,101,152\n30,120,31,121\n"
    marks = ",X,Y\n1,10,10\n2,200,20\n3,100,150\n4,30,120\n"
    lines = ("p1,a.svs,a.geojson,train,0.5", "p2,b.svs,b.geojson,val,", "p3,c.svs,c.geojson,test,0.25")
    slide_list = "\n".join(("patient,slide,regions,split,mpp", *lines, ""))
    index = "case,index_percent\n" + "".join(f"c{n},{5 * n}\n" for n in range(1, 9))
    points = "x,y,label\n" + "".join(
        f"{30 + 9 * n},{60 + n},{('positive', 'negative', 'other')[n % 3]}\n" for n in range(15)
    )
    patches = "patient,split,x,y,label,file,random_sample,complete_slide\n" + "".join(
        f"p{n % 3},{('train', 'val', 'train')[n % 3]},{1 + 50 * n},1,{n % 2},p.png,1,0\n" for n in range(9)
    )
    shidc = json.dumps([{"x": 30 + 9 * n, "y": 60, "label_id": 1 + n % 3} for n in range(12)])
    glioma = json.dumps(
        {"field": {"positive": [[[30, 30], [40, 30], [40, 40]]], "negative": [[[60, 60], [70, 60], [70, 70]]]}}
    )
    stream = io.BytesIO()
    with h5py.File(stream, "w") as store:
        store["coordinates"] = np.array([[30, 30], [50, 60], [90, 90]])
    return [
        Sound("pairs.csv", pairs.encode(), "csv", "landmark-pairs"),
        Sound("marks.csv", marks.encode(), "csv", "landmarks"),
        Sound("slides.csv", slide_list.encode(), "csv", "slide-list"),
        Sound("index.csv", index.encode(), "csv", "index"),
        Sound("field.csv", points.encode(), "csv", "labels-points"),
        Sound("index.csv", patches.encode(), "csv", "patches"),
        Sound("field.json", shidc.encode(), "json", "labels-shidc"),
        Sound("polygons.json", glioma.encode(), "json", "labels-glioma"),
        Sound("field.h5", stream.getvalue(), "bytes", "labels-bcdata"),
    ]


def _graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def network_graph() -> bytes:
    """Return a cell network of one convolution that calls dark places negative and brown ones positive."""
    kernel = np.zeros((3, 3, 2, 2), np.float32)
    kernel[1, 2], kernel[2, 0], kernel[2, 2] = -2.0, -2.0, 1.0
    weights = [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(np.array([-3, 4, 4], np.float32), "b")]
    nodes = [
        helper.make_node("Conv", ["light", "w", "b"], ["c"], strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("Sigmoid", ["c"], ["proximity"]),
    ]
    return _graph(
        nodes,
        [helper.make_tensor_value_info("light", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("proximity", TensorProto.FLOAT, [1, 3, "h2", "w2"])],
        weights,
    )


def forest_graph() -> bytes:
    """Return a "forest" of one matrix: features in, two probabilities out."""
    count = len(json.loads((WEIGHTS / "cells_forest.json").read_text(encoding="utf-8"))["features"])
    matrix = np.random.default_rng(1).normal(0, 0.01, (count, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "m"], ["a"]),
        helper.make_node("Softmax", ["a"], ["s"], axis=1),
        helper.make_node("Slice", ["s", "begin", "end", "axis"], ["tumour_probabilities"]),
    ]
    weights = [numpy_helper.from_array(matrix, "m")] + [
        numpy_helper.from_array(np.array([value], np.int64), name)
        for name, value in (("begin", 0), ("end", 2), ("axis", 1))
    ]
    return _graph(
        nodes,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", count])],
        [helper.make_tensor_value_info("tumour_probabilities", TensorProto.FLOAT, ["n", 2])],
        weights,
    )


def idc_graph() -> bytes:
    """Return a patch classifier that goes by the mean colour."""
    px = int(json.loads((WEIGHTS / "idc_efficientnet_lite0.json").read_text(encoding="utf-8"))["patch_px"])
    matrix = np.array([[0.02, -0.02], [0.0, 0.0], [-0.02, 0.02]], np.float32)
    nodes = [
        helper.make_node("Cast", ["patches"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "m"], ["a"]),
        helper.make_node("Softmax", ["a"], ["probabilities"], axis=1),
    ]
    return _graph(
        nodes,
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["n", px, px, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(matrix, "m")],
    )


SHIPPED: Final = {"network": "cells_network", "forest": "cells_forest", "idc": "idc_efficientnet_lite0"}
GRAPHS: Final = {"network": network_graph, "forest": forest_graph, "idc": idc_graph}


def card_of(kind: str, graph: bytes) -> bytes:
    """Return the shipped card of a kind of model, made out to this graph."""
    card = json.loads((WEIGHTS / f"{SHIPPED[kind]}.json").read_text(encoding="utf-8"))
    card |= {"sha256": hashlib.sha256(graph).hexdigest(), "int8": None}
    return json.dumps(card).encode()


def models() -> list[Sound]:
    """Graphs and cards of the three kinds of model."""
    found = []
    for kind, make in GRAPHS.items():
        graph = make()
        onnx.checker.check_model(onnx.load_from_string(graph))
        found.append(Sound(f"{kind}.onnx", graph, "onnx", f"graph-{kind}"))
        found.append(Sound(f"{kind}.json", card_of(kind, graph), "json", f"card-{kind}"))
    return found
