"""How close simulated sections are to real ones, in numbers.

Prints real and simulated values side by side: colours of labelled nuclei, stain amounts, nucleus area, cells per
mm², power spectrum of the Ki-67 and H&E sections, and the patch colours at 4 µm that an IDC classifier sees.

    python benchmarks/simulation_realism.py [--out DIR] [--seed N]

Real data are found through KI67_DATA (default ../shared/data); with ``--out`` pictures are put side by side.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow.parquet as pq
import shapely
import tifffile
from scipy.stats import wasserstein_distance

from ki67.annotations import read_regions
from ki67.geometry import RectUm
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import open_slide

DATA = Path(os.environ.get("KI67_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
IHC_MPP, HE_MPP, PATCH_MPP, PATCH_PX = 0.25, 0.2271, 4.0, 50
# one fixed basis for real and simulated alike: differences in colour show as differences in amounts
IHC_BASIS = np.array([[0.72, 0.62, 0.30], [0.22, 0.57, 0.79]])
HE_BASIS = np.array([[0.62, 0.70, 0.36], [0.10, 0.83, 0.55]])
PERCENTILES = (5, 25, 50, 75, 95)


def density(pixels: np.ndarray, glass: np.ndarray) -> np.ndarray:
    """Optical density against the light without tissue."""
    return -np.log10(np.clip(pixels.astype(float), 1, None) / glass)


def glass_of(pixels: np.ndarray) -> np.ndarray:
    """Return a field's brightest level per channel."""
    return np.percentile(pixels.reshape(-1, 3), 99.5, axis=0)


def amounts(pixels: np.ndarray, glass: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """First two stain amounts of all pixels."""
    return (density(pixels, glass).reshape(-1, 3) @ np.linalg.pinv(basis))[::7]


def spectrum(pixels: np.ndarray, glass: np.ndarray, mpp: float) -> dict[str, float]:
    """Share of the density's variance in bands of wavelength, in µm."""
    grey = density(pixels, glass).mean(-1)
    side = min(grey.shape)
    grey = grey[:side, :side] * np.hanning(side)[:, None] * np.hanning(side)[None, :]
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    f = np.hypot(np.fft.fftfreq(side, mpp)[:, None], np.fft.fftfreq(side, mpp)[None, :])
    edges = {"<1": (1, 99), "1-2": (0.5, 1), "2-4": (0.25, 0.5), "4-8": (0.125, 0.25), "8-16": (0.0625, 0.125)}
    edges["16-64"] = (1 / 64, 0.0625)
    total = power[(f > 1 / 64)].sum()
    return {name: 100 * float(power[(f > a) & (f <= b)].sum() / total) for name, (a, b) in edges.items()}


def at_points(pixels: np.ndarray, points: np.ndarray, glass: np.ndarray) -> np.ndarray:
    """Optical density in 1.25 µm about points."""
    smooth = cv2.blur(density(pixels, glass).astype(np.float32), (5, 5))
    inside = (points >= 0).all(1) & (points[:, 0] < pixels.shape[1]) & (points[:, 1] < pixels.shape[0])
    where = points[inside].astype(int)
    return smooth[where[:, 1], where[:, 0]]


def picture(path: Path) -> np.ndarray:
    """Read an RGB picture."""
    return cv2.imread(str(path))[..., ::-1]


def real_ki67() -> dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Fields with positive and negative points, by data set."""
    cells = DATA / "ki67_cells"
    bcdata, shidc = [], []
    for file in sorted((cells / "bcdata/images").glob("*.png")):
        both = []
        for kind in ("positive", "negative"):
            with h5py.File(cells / f"bcdata/annotations/{kind}/{file.stem}.h5") as store:
                both.append(np.asarray(store["coordinates"], float).reshape(-1, 2))
        bcdata.append((picture(file), *both))
    for file in sorted((cells / "shidc").glob("*.jpg")):
        marks = json.loads(file.with_suffix(".json").read_text())
        both = [np.array([[m["x"], m["y"]] for m in marks if m["label_id"] == k], float) for k in (1, 2)]
        shidc.append((picture(file), *(b.reshape(-1, 2) for b in both)))
    return {"BCData": bcdata, "SHIDC": shidc}


def simulated_ki67(folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Fields of 160 µm within the simulated tumour."""
    table = pq.read_table(folder / "ki67_cells.parquet")
    x, y = table["x_um"].to_numpy(), table["y_um"].to_numpy()
    label = np.array(table["label"].to_pylist())
    fields = []
    with open_slide(folder / "ki67.tif") as slide:
        idc = read_regions(folder / "ki67_regions.geojson", slide.frame).with_label("IDC").union()
        rng = np.random.default_rng(0)
        left, top, right, bottom = idc.bounds
        while len(fields) < 24:
            rect = RectUm(*rng.uniform((left, top), (right, bottom)), 160.0, 160.0)
            if not idc.contains(rect.polygon):
                continue
            pixels = slide.read(rect, IHC_MPP)
            points = np.stack([x - rect.x_um, y - rect.y_um], 1) / IHC_MPP
            inside = (points >= 0).all(1) & (points < 640).all(1)
            fields.append((pixels, *(points[inside & (label == k)] for k in ("positive", "negative"))))
    return fields


def ki67_rows(name: str, fields: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Print one data set's Ki-67 numbers."""
    glass = [glass_of(f[0]) for f in fields]
    mm2 = sum(f[0].shape[0] * f[0].shape[1] for f in fields) * (IHC_MPP / 1000) ** 2
    count = sum(len(f[1]) + len(f[2]) for f in fields)
    print(
        f"\n{name}: {len(fields)} fields, tumour cells per mm² {count / mm2:.0f}, glass {np.mean(glass, 0).round()}"
    )
    for kind, k in (("positive", 1), ("negative", 2)):
        values = np.concatenate([at_points(f[0], f[k], g) for f, g in zip(fields, glass, strict=True)])
        total = np.percentile(values.sum(1), (10, 50, 90)).round(2)
        hue = np.median(values / np.maximum(np.linalg.norm(values, axis=1), 0.02)[:, None], 0).round(2)
        print(f"  {kind:9s} OD sum at the centre 10/50/90 %: {total}  direction {hue}")
    mixed = np.concatenate([amounts(f[0], g, IHC_BASIS) for f, g in zip(fields, glass, strict=True)])
    for i, stain in enumerate(("haematoxylin", "DAB")):
        print(f"  {stain:12s} amount at {PERCENTILES} %: {np.percentile(mixed[:, i], PERCENTILES).round(2)}")
    bands = [spectrum(f[0], g, IHC_MPP) for f, g in zip(fields, glass, strict=True)]
    shares = {key: round(float(np.mean([b[key] for b in bands])), 1) for key in bands[0]}
    print(f"  density variance by wavelength (µm, %): {shares}")


def nucleus_areas(folder: Path) -> None:
    """Print nucleus areas: labelled outlines against the truth."""
    real = []
    for file in sorted((DATA / "ki67_cells/deepliif").glob("[0-9]*_mask.png")):
        mask = picture(file)
        inside = ((mask[..., 0] > 100) | (mask[..., 2] > 100)) & (mask[..., 1] < 100)
        _, _, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
        real.extend(stats[1:, cv2.CC_STAT_AREA] * IHC_MPP**2)
    areas = np.array(real)
    areas = areas[areas > 8]
    table = pq.read_table(folder / "ki67_cells.parquet")
    kind = np.array(table["kind"].to_pylist())
    ours = np.pi / 4 * table["diameter_um"].to_numpy()[kind == "invasive"] ** 2
    print(
        f"\nnucleus area µm² 10/50/90 %: DeepLIIF breast {np.percentile(areas, (10, 50, 90)).round(1)}"
        f"  simulated {np.percentile(ours, (10, 50, 90)).round(1)}"
    )


def patches_real(limit: int = 500) -> dict[str, np.ndarray]:
    """Patches of the random sample by class, (N, 50, 50, 3)."""
    with (DATA / "idc_patches/index.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["random_sample"] == "1"]
    rng = np.random.default_rng(0)
    found = {}
    for label in "01":
        of_class = [r for r in rows if r["label"] == label]
        some = [of_class[i] for i in rng.permutation(len(of_class))[:limit]]
        read = [picture(DATA / "idc_patches" / r["file"]) for r in some]
        found[label] = np.array([p for p in read if p.shape == (PATCH_PX, PATCH_PX, 3)])
    return found


def patches_simulated(folder: Path) -> dict[str, np.ndarray]:
    """Patches of the simulated H&E section by class."""
    found: dict[str, list[np.ndarray]] = {"0": [], "1": []}
    with open_slide(folder / "he.tif") as slide:
        idc = read_regions(folder / "he_regions.geojson", slide.frame).with_label("IDC").union()
        side = PATCH_MPP * PATCH_PX
        for y in np.arange(0, slide.bounds_um.height_um - side, side / 2):
            for x in np.arange(0, slide.bounds_um.width_um - side, side / 2):
                box = shapely.box(x, y, x + side, y + side)
                share = idc.intersection(box).area / box.area
                pixels = slide.read(RectUm(x, y, side, side), PATCH_MPP)
                if 0.02 < share < 0.9 or (pixels.min(-1) > 225).mean() > 0.8:
                    continue
                found["1" if share >= 0.9 else "0"].append(pixels)
    return {key: np.array(value) for key, value in found.items()}


def he_rows(folder: Path) -> None:
    """Print the H&E numbers."""
    real, ours = patches_real(), patches_simulated(folder)
    glass = np.array([243.0, 243.0, 243.0])
    print(f"\nH&E patches at {PATCH_MPP} µm (real: {len(real['0'])} + {len(real['1'])} patches of 224 patients)")
    for label, title in (("1", "IDC"), ("0", "not IDC")):
        for name, patches in (("real", real[label]), ("simulated", ours[label])):
            means = patches.reshape(len(patches), -1, 3).mean(1)
            spread = np.median(patches.reshape(len(patches), -1, 3).std(1), 0).round()
            spans = [list(map(int, np.percentile(means, q, axis=0))) for q in (10, 50, 90)]
            print(f"  {title:8s} {name:10s} mean RGB 10/50/90 %: {spans} within-patch sd {spread}")
        for i, stain in enumerate(("haematoxylin", "eosin")):
            pair = [amounts(p[label], glass, HE_BASIS)[:, i] for p in (real, ours)]
            print(f"  {title:8s} {stain:12s} amount at {PERCENTILES} %, distance {wasserstein_distance(*pair):.3f}:")
            for name, values in zip(("real", "simulated"), pair, strict=True):
                print(f"    {name:10s} {np.percentile(values, PERCENTILES).round(2)}")
    field = tifffile.imread(DATA / "slides/os1_he.ome.tif")
    with open_slide(folder / "he.tif") as slide:
        idc = read_regions(folder / "he_regions.geojson", slide.frame).with_label("IDC").union()
        middle = idc.representative_point()
        own = slide.read(RectUm(middle.x - 125, middle.y - 125, 250, 250), HE_MPP)
    print("H&E density variance by wavelength (µm, %):")
    for name, pixels in (("real", field), ("simulated", own)):
        shares = {k: round(v, 1) for k, v in spectrum(pixels, np.array([243.0] * 3), HE_MPP).items()}
        print(f"  {name:10s} {shares} median RGB {np.median(pixels.reshape(-1, 3), 0)}")


def side_by_side(folder: Path, out: Path) -> None:
    """Write real and simulated fields beside one another."""
    out.mkdir(parents=True, exist_ok=True)
    real, ours = real_ki67(), simulated_ki67(folder)
    rows = [np.hstack([f[0][:640, :640] for f in fields[:3]]) for fields in (real["BCData"], real["SHIDC"], ours)]
    cv2.imwrite(str(out / "ki67.png"), np.vstack(rows)[..., ::-1])
    rng = np.random.default_rng(1)
    sheets = []
    for patches in (patches_real(), patches_simulated(folder)):
        for label in "10":
            some = patches[label][rng.permutation(len(patches[label]))[:24]]
            sheets.append(np.vstack([np.hstack(list(some[:12])), np.hstack(list(some[12:24]))]))
    sheet = cv2.resize(np.vstack(sheets), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(out / "he_patches.png"), sheet[..., ::-1])


def main() -> None:
    """Simulate a pair and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = SimulationOptions(seed=arguments.seed, size_mm=(3.0, 2.4), mpp=IHC_MPP, index_percent=35.0)
        simulate_pair(folder, options)
        for title, fields in real_ki67().items():
            ki67_rows(title, fields)
        ki67_rows("simulated", simulated_ki67(folder))
        nucleus_areas(folder)
        he_rows(folder)
        if arguments.out is not None:
            side_by_side(folder, arguments.out)


if __name__ == "__main__":
    main()
