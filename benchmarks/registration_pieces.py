"""Sections in pieces, and torn ones: ``python benchmarks/registration_pieces.py OUT``.

Simulated pairs at 4 µm/px are drawn once (seeds SEED to SEED + 5), cut into pieces, and the pieces laid on their
slides anew, each moved and turned on its own on the Ki-67 slide. What is true is known for every point of the H&E
slide and for every cell of the Ki-67 slide. ``--cases`` of each kind (:data:`KINDS`, or those of ``--kind``); one row
per case, the sums, and ``pieces.json``.

Judged: how far what is *accepted* of the tissue lies off, how many cases have all their pieces registered within
25 µm (median), whether the index of the true cells inside the mapped region lies within the spread that is given with
it. Cells are not detected: the region is laid over the true cells, so that a case takes seconds.

Asked for: no accepted part off by more than 100 µm; 8 of 10 with all pieces within 25 µm; each index inside its
spread.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from shapely import affinity
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import split

from ki67.annotations import Region, Regions, read_regions
from ki67.errors import RegistrationError
from ki67.files import write_json
from ki67.geometry import RectUm, as_multipolygon
from ki67.progress import configure
from ki67.registration import LocalBelief, PiecewiseTransform, carry_over, draw_motions, register_sections
from ki67.registration.images import Section, section_from_rgb
from ki67.registration.warp import pixel_matrix
from ki67.scoring import index_spread
from ki67.scoring.spread import widened
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import PixelFrame, open_slide
from ki67.slides.tissue import find_tissue

MPP = 4.0
BASES = 6
FIRST_SEED = 11
SIZES_MM = ((2.6, 2.0), (3.0, 2.4), (2.2, 2.2), (2.4, 2.8))
INDICES = (10, 25, 40, 60, 80)
GRADES = (1, 2, 3)
KINDS = ("pieces", "lost", "flipped", "exchanged", "cores", "tear")
WITHIN_UM, FAR_UM = 25.0, 100.0
NOWHERE_UM = 1e5
MARGIN_UM = 300.0
GLASS = 242
CORE_UM = 420.0
STEP_UM = 40.0
HALF = 0.5
FIGURES = ("reasons", "estimated_error_um", "unregistered_share", "pieces", "warnings", "agreement_sigma")

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Base:
    """A simulated pair without turn: pictures, the map between them, regions and cells (µm)."""

    he: Picture
    ki67: Picture
    tissue: BaseGeometry
    there: Any
    region: BaseGeometry
    cells_um: Points
    labels: NDArray[np.str_]

    def map_points(self, points_um: Points) -> Points:
        """H&E µm to Ki-67 µm."""
        return points_um + self.there(points_um[:, ::-1])


@dataclass(frozen=True)
class Piece:
    """A piece of a base: its outline there, and where it lies on either slide (base µm to slide µm; None: lost)."""

    base: Base
    outline: BaseGeometry
    he: Matrix | None
    ki67: Matrix | None

    @property
    def on_ki67(self) -> BaseGeometry:
        """The outline on the base's Ki-67 picture."""
        return shapely.transform(shapely.segmentize(self.outline, 50.0), self.base.map_points)


@dataclass(frozen=True)
class Canvas:
    """A drawn slide that can be read again, as :class:`ki67.registration.images.Section` wants it."""

    pixels: Picture

    def __call__(self, rect_um: RectUm, mpp: float) -> Picture:
        """Pixels of a rectangle, not finer than drawn."""
        left, top, right, bottom = (round(edge / MPP) for edge in rect_um.bounds_um)
        size = round(rect_um.width_um / mpp), round(rect_um.height_um / mpp)
        return np.asarray(
            cv2.resize(self.pixels[top:bottom, left:right], size, interpolation=cv2.INTER_AREA), np.uint8
        )


@dataclass(frozen=True)
class Drawn:
    """A case: both sections, the pieces."""

    he: Section
    ki67: Section
    pieces: tuple[Piece, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def region(self) -> MultiPolygon:
        """All carcinoma on the H&E slide, as a person outlines it."""
        parts = [apply(piece.base.region & piece.outline, piece.he) for piece in self.pieces if piece.he is not None]
        return as_multipolygon(shapely.union_all(parts))

    def cells(self) -> tuple[Points, NDArray[np.bool_]]:
        """Tumour cells on the Ki-67 slide, and which are positive."""
        places, positive = [], []
        for piece in self.pieces:
            if piece.ki67 is not None:
                outline = piece.on_ki67
                inside = shapely.contains_xy(outline, piece.base.cells_um)
                places.append(apply_points(piece.ki67, piece.base.cells_um[inside]))
                positive.append(piece.base.labels[inside] == "positive")
        return np.concatenate(places), np.concatenate(positive)

    def true_index(self) -> tuple[float, int]:
        """Index of the carcinoma that is on both slides, and its cells."""
        positive = cells = 0
        for piece in self.pieces:
            if piece.he is not None and piece.ki67 is not None:
                place = shapely.transform(
                    shapely.segmentize(piece.base.region & piece.outline, 50.0), piece.base.map_points
                )
                inside = shapely.contains_xy(place, piece.base.cells_um)
                positive += int((piece.base.labels[inside] == "positive").sum())
                cells += int(inside.sum())
        return 100.0 * positive / max(cells, 1), cells


def apply_points(matrix: Matrix, points_um: Points) -> Points:
    """Apply a matrix (3, 3) to points (N, 2)."""
    return np.asarray(points_um @ matrix[:2, :2].T + matrix[:2, 2])


def apply(geometry: BaseGeometry, matrix: Matrix) -> BaseGeometry:
    """Apply a matrix (3, 3) to a geometry."""
    return shapely.transform(geometry, lambda points: apply_points(matrix, points))


def load_base(folder: Path, seed: int) -> Base:
    """Simulate a pair, once, and read it."""
    if not (folder / "truth.json").exists():
        simulate_pair(
            folder,
            SimulationOptions(
                seed=seed,
                mpp=MPP,
                size_mm=SIZES_MM[seed % len(SIZES_MM)],
                index_percent=INDICES[seed % len(INDICES)],
                grade=GRADES[seed % len(GRADES)],  # type: ignore[arg-type]
                rotation_deg=0,
                shift_um=(0, 0),
                deformation_um=15,
            ),
        )
    pictures = []
    for stain in ("he", "ki67"):
        with open_slide(folder / f"{stain}.tif") as slide:
            picture = slide.read(slide.bounds_um, slide.mpp)
        glass = np.median(np.concatenate([picture[0], picture[-1]]), axis=0)
        pictures.append(np.clip(picture * (GLASS / glass), 0, 255).astype(np.uint8))
    matrix = np.array(
        json.loads((folder / "truth.json").read_text(encoding="utf-8"))["transform_he_to_ki67_um"]["matrix"]
    )
    grid = np.load(folder / "displacement.npz")
    shift = grid["displacement_um"] + matrix[:2, 2]
    there = RegularGridInterpolator((grid["y_um"], grid["x_um"]), shift, bounds_error=False, fill_value=None)
    mask, _ = find_tissue(cv2.resize(pictures[0], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 2 * MPP)
    rows, columns = np.nonzero(mask)
    hull = shapely.convex_hull(shapely.multipoints(np.column_stack([columns, rows]) * 2 * MPP + MPP))
    table = pq.read_table(folder / "ki67_cells.parquet", columns=["x_um", "y_um", "label"])
    labels = np.array(table["label"].to_pylist())
    cells = np.column_stack([np.asarray(table["x_um"]), np.asarray(table["y_um"])])
    tumour = np.isin(labels, ("positive", "negative"))
    region = read_regions(folder / "he_regions.geojson", PixelFrame(MPP)).with_label("IDC").union()
    return Base(pictures[0], pictures[1], hull.buffer(60), there, region, cells[tumour], labels[tumour])


def halves(outline: BaseGeometry, generator: np.random.Generator, bend_um: float = 0.0) -> list[Polygon]:
    """Two parts of an outline, cut through the middle at any angle."""
    centre = outline.centroid
    angle = generator.uniform(0, 180)
    steps = np.linspace(-5000, 5000, 201)
    wave = bend_um * np.sin(steps / 400 + generator.uniform(0, 6.3))
    line = affinity.rotate(LineString(np.column_stack([steps, wave])), angle, origin=(0, 0))
    offset = generator.uniform(-0.1, 0.1, 2) * np.sqrt(outline.area)
    line = affinity.translate(line, centre.x + offset[0], centre.y + offset[1])
    parts = shapely.get_parts(split(outline, line))
    return sorted(parts, key=lambda part: -part.area)[:2]


def strips(outline: BaseGeometry, count: int, generator: np.random.Generator) -> list[BaseGeometry]:
    """Core biopsies: strips of an outline through its middle."""
    centre = outline.centroid
    turned = affinity.rotate(outline, generator.uniform(0, 180), origin=centre)
    _, top, _, bottom = turned.bounds
    found = []
    for number in range(count):
        middle = centre.x + (number - (count - 1) / 2) * (CORE_UM + 60)
        found.append(turned & shapely.box(middle - CORE_UM / 2, top, middle + CORE_UM / 2, bottom))
    angle = shapely_angle(outline, turned)
    return [affinity.rotate(part, -angle, origin=centre) for part in found]


def shapely_angle(outline: BaseGeometry, turned: BaseGeometry) -> float:
    """Angle by which the first corner of an outline was turned about its middle."""
    a = np.array(outline.exterior.coords[0]) - (outline.centroid.x, outline.centroid.y)
    b = np.array(turned.exterior.coords[0]) - (outline.centroid.x, outline.centroid.y)
    return math.degrees(math.atan2(b[1], b[0]) - math.atan2(a[1], a[0]))


def placed(outline: BaseGeometry, turn_deg: float, flip: bool, to_um: tuple[float, float]) -> Matrix:
    """Matrix that turns (and flips) an outline about its middle and carries the middle to a place."""
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    centre = np.array([outline.centroid.x, outline.centroid.y])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.asarray(to_um) - linear @ centre
    return matrix


def row_of(outlines: list[BaseGeometry], gaps_um: list[float], drops_um: list[float]) -> list[tuple[float, float]]:
    """Middles of outlines that lie side by side."""
    x, middles = MARGIN_UM, []
    for outline, gap, drop in zip(outlines, gaps_um, drops_um, strict=True):
        left, top, right, _ = outline.bounds
        x += gap
        middles.append((x + outline.centroid.x - left, MARGIN_UM + drop + outline.centroid.y - top))
        x += right - left
    return middles


def laid(pieces: tuple[Piece, ...], stain: str, name: str) -> Section:
    """The slide on which the pieces lie."""
    matrices = [(piece, piece.he if stain == "he" else piece.ki67) for piece in pieces]
    there = [(piece, matrix) for piece, matrix in matrices if matrix is not None]
    outlines = [piece.outline if stain == "he" else piece.on_ki67 for piece, _ in there]
    edges = shapely.total_bounds([apply(o, m) for o, (_, m) in zip(outlines, there, strict=True)])
    width, height = (math.ceil((edge + MARGIN_UM) / MPP) for edge in edges[2:])
    noise = np.random.default_rng(0).normal(GLASS, 1.6, (height, width, 3))
    canvas = np.clip(noise, 0, 255).astype(np.uint8)
    scale = np.linalg.inv(pixel_matrix(MPP))
    for outline, (piece, matrix) in zip(outlines, there, strict=True):
        picture = piece.base.he if stain == "he" else piece.base.ki67
        mask = np.zeros(picture.shape[:2], np.uint8)
        for part in shapely.get_parts(outline):
            cv2.fillPoly(mask, [np.rint(np.array(part.exterior.coords) / MPP).astype(np.int32)], 255)
        in_px = scale @ matrix @ np.linalg.inv(scale)
        moved = cv2.warpAffine(picture, in_px[:2], (width, height), borderValue=(GLASS,) * 3)
        share = cv2.warpAffine(mask, in_px[:2], (width, height))
        here = share > 127
        canvas[here] = np.minimum(canvas[here], moved[here])
    tissue, _ = find_tissue(cv2.resize(canvas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 2 * MPP)
    mpp = max(MPP, max(width, height) * MPP / 1280)
    shown = cv2.resize(canvas, None, fx=MPP / mpp, fy=MPP / mpp, interpolation=cv2.INTER_AREA)
    section = section_from_rgb(shown, mpp, (width * MPP, height * MPP), tissue, name)
    return replace(section, detail=Canvas(canvas))


def draw(bases: list[Base], kind: str, place: int, seed: int) -> Drawn:
    """One case of a kind."""
    generator = np.random.default_rng([seed, place, KINDS.index(kind)])
    first, second = bases[place % len(bases)], bases[(place + 1) % len(bases)]
    if kind == "tear":
        return torn(first, generator, place)
    if kind == "cores":
        sources = [(first, o) for o in strips(first.tissue, 3, generator)]
        sources += [(second, o) for o in strips(second.tissue, 2, generator)]
    else:
        count = 2 + place % 3
        if count == 2:
            sources = [(first, first.tissue), (second, second.tissue)]
        elif count == 3:
            sources = [(first, o) for o in halves(first.tissue, generator)] + [(second, second.tissue)]
        else:
            sources = [(b, o) for b in (first, second) for o in halves(b.tissue, generator)]
    count = len(sources)
    turns = [turn_of(generator) for _ in sources]
    flips = [False] * count
    if kind == "flipped":
        flips[int(generator.integers(count))] = True
    order = list(range(count))
    if kind == "exchanged":
        while order == list(range(count)):
            order = generator.permutation(count).tolist()
    he_gaps = [float(generator.uniform(150, 500)) for _ in sources]
    ki67_gaps = [float(generator.uniform(150, 1200)) for _ in sources]
    he_middles = row_of([o for _, o in sources], he_gaps, [0.0] * count)
    he = [placed(o, 0, False, m) for (_, o), m in zip(sources, he_middles, strict=True)]
    there: list[Matrix | None] = [None] * count
    turned = []
    for n in order:
        base, outline = sources[n]
        on_ki67 = shapely.transform(shapely.segmentize(outline, 50.0), base.map_points)
        turned.append(apply(on_ki67, placed(outline, turns[n], flips[n], (0, 0))))
    drops = [float(generator.uniform(0, 600)) for _ in sources]
    for n, outline, middle in zip(order, turned, row_of(turned, ki67_gaps, drops), strict=True):
        shift = np.eye(3)
        shift[:2, 2] = np.array(middle) - (outline.centroid.x, outline.centroid.y)
        there[n] = shift @ placed(sources[n][1], turns[n], flips[n], (0, 0))
    facts: dict[str, Any] = {"turns_deg": turns, "flips": flips, "order": order}
    here: list[Matrix | None] = list(he)
    if kind == "lost":
        gone = int(generator.integers(count))
        # Every third time it is the H&E slide that lacks it.
        (here if place % 3 == 2 else there)[gone] = None
        facts["lost"] = gone
    pieces = tuple(Piece(b, o, a, c) for (b, o), a, c in zip(sources, here, there, strict=True))
    return Drawn(laid(pieces, "he", "he"), laid(pieces, "ki67", "ki67"), pieces, facts)


def turn_of(generator: np.random.Generator) -> float:
    """Up to 30 degrees, one time in six half a turn more."""
    turn = float(generator.uniform(-30, 30))
    return turn + 180 if generator.random() < 1 / 6 else turn


def torn(base: Base, generator: np.random.Generator, place: int) -> Drawn:
    """A section torn in two; every third time it is the H&E section that is torn."""
    big, small = halves(base.tissue, generator, bend_um=40.0)
    away = np.array([small.centroid.x - big.centroid.x, small.centroid.y - big.centroid.y])
    angle = math.atan2(away[1], away[0]) + math.radians(generator.uniform(-60, 60))
    length = 200.0 * 10.0 ** (place % 10 / 9)
    shift = length * np.array([math.cos(angle), math.sin(angle)])
    turn = float(generator.uniform(-8, 8))
    whole_turn = float(generator.uniform(0, 360))
    parts = [placed(o, 0, False, (o.centroid.x, o.centroid.y)) for o in (big, small)]
    apart = [parts[0], placed(small, turn, False, (small.centroid.x + shift[0], small.centroid.y + shift[1]))]
    spun = placed(big, whole_turn, False, (0, 0))
    he_torn = place % 3 == 2
    he, ki67 = (apart, parts) if he_torn else (parts, apart)
    ki67 = [spun @ m for m in ki67]
    fitted = []
    for matrices in (he, ki67):
        edges = shapely.total_bounds([apply(o, m) for o, m in zip((big, small), matrices, strict=True)])
        shift_all = np.eye(3)
        shift_all[:2, 2] = MARGIN_UM - edges[:2]
        fitted.append([shift_all @ m for m in matrices])
    pieces = tuple(Piece(base, o, a, b) for o, a, b in zip((big, small), *fitted, strict=True))
    facts = {"tear_um": length, "turn_deg": turn, "he_torn": he_torn}
    return Drawn(laid(pieces, "he", "he"), laid(pieces, "ki67", "ki67"), pieces, facts)


# --- judging -------------------------------------------------------------------------------------------------------


def tissue_points(piece: Piece, he: Section) -> tuple[Points, Points]:
    """Places every :data:`STEP_UM` on a piece's tissue: on the H&E slide, and where they truly lie (NaN: lost)."""
    if piece.he is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    left, top, right, bottom = piece.outline.bounds
    x, y = np.meshgrid(np.arange(left, right, STEP_UM), np.arange(top, bottom, STEP_UM))
    points = np.column_stack([x.ravel(), y.ravel()])
    points = points[shapely.contains_xy(piece.outline, points)]
    here = apply_points(piece.he, points)
    there = np.full(here.shape, np.nan)
    if piece.ki67 is not None:
        there = apply_points(piece.ki67, piece.base.map_points(points))
    place = np.clip((here / he.mpp).astype(int), 0, np.array(he.tissue.shape[::-1]) - 1)
    on_tissue = he.tissue[place[:, 1], place[:, 0]]
    return here[on_tissue], there[on_tissue]


def measure(drawn: Drawn) -> dict[str, Any]:
    """Register a case and hold it against the truth."""
    start = time.process_time()
    transform, quality = register_sections(drawn.he, drawn.ki67)
    row: dict[str, Any] = {"seconds": time.process_time() - start, "accepted": quality.accepted}
    row |= {name: value for name, value in quality.figures().items() if name in FIGURES}
    row["true_index_percent"], row["true_cells"] = drawn.true_index()
    if not quality.accepted:
        return row
    belief = LocalBelief.from_dict(quality.places)
    pieces, predicted, errors = [], [], []
    for piece in drawn.pieces:
        here, there = tissue_points(piece, drawn.he)
        if len(here) == 0:
            continue
        mapped = transform.map_points(here)
        error_um = np.hypot(*(mapped - there).T)
        accepted = np.isfinite(mapped[:, 0])
        # Accepted tissue that is on no Ki-67 slide is as wrong as can be.
        error_um[accepted & np.isnan(there[:, 0])] = NOWHERE_UM
        kept = error_um[accepted]
        cell = np.minimum((here / belief.cell_um).astype(int), np.array(belief.tissue.shape[::-1]) - 1)
        predicted.append(belief.error_um[cell[:, 1], cell[:, 0]][accepted])
        errors.append(kept)
        pieces.append(
            {
                "lost": piece.ki67 is None,
                "mapped_share": float(accepted.mean()),
                "median_um": float(np.median(kept)) if len(kept) else None,
                "p99_um": float(np.percentile(kept, 99)) if len(kept) else None,
                "largest_um": float(kept.max()) if len(kept) else None,
                "far_share": float((kept > FAR_UM).mean()) if len(kept) else 0.0,
            }
        )
    row["pieces_truth"] = pieces
    wanted = [piece for piece in pieces if not piece["lost"]]
    row["all_within"] = all(p["mapped_share"] >= HALF and (p["median_um"] or 0) <= WITHIN_UM for p in wanted)
    row["far_share"] = float((np.concatenate(errors) > FAR_UM).mean()) if errors else 0.0
    row["largest_um"] = float(max(np.concatenate(errors), default=0.0))
    row["covered_share"] = covered(np.concatenate(errors), np.concatenate(predicted))
    return row | index_row(drawn, transform, belief, quality.estimated_error_um)


def covered(error_um: Points, predicted_um: Points) -> float | None:
    """Share of the accepted places whose error is no larger than the one that is printed for them."""
    known = np.isfinite(predicted_um)
    return float((error_um[known] <= predicted_um[known]).mean()) if known.any() else None


def index_row(
    drawn: Drawn, transform: PiecewiseTransform, belief: LocalBelief, error_um: float | None
) -> dict[str, Any]:
    """Index of the true cells in the carried region, with its spread; or why there is none."""
    region = Regions([Region("IDC", drawn.region(), "idc")])
    try:
        carried = carry_over(region, transform, belief, insist=False)
    except RegistrationError as error:
        return {"stopped": str(error)}
    place = carried.regions.union()
    points, positive = drawn.cells()
    inside = shapely.contains_xy(place, points)
    index = 100.0 * float(positive[inside].mean()) if inside.any() else None
    table = pa.table(
        {
            "x_um": points[:, 0],
            "y_um": points[:, 1],
            "label": pa.array(["positive" if one else "negative" for one in positive]),
            "excluded": pa.array([""] * len(points)),
        }
    )
    spread = None
    if error_um is not None:
        spread = index_spread(table, place, draw_motions(error_um, shapely.get_coordinates(place)))
    return {
        "index_percent": index,
        "cells": int(inside.sum()),
        "unregistered_region_share": carried.left_out_share,
        "spread_percent": widened(spread, carried.left_out_share),
    }


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    head = f"{row['kind']:10s} {row['place']:2d} {row['seconds']:4.0f}"
    true = row["true_index_percent"]
    if not row["accepted"]:
        return f"{head}  refused: {'; '.join(row['reasons'])}"
    pieces = " ".join(
        f"{p['mapped_share']:.2f}:{'-' if p['median_um'] is None else format(p['median_um'], '.1f')}"
        + ("L" if p["lost"] else "")
        for p in row["pieces_truth"]
    )
    facts = f"{len(row['pieces']) or 1} found, far {row['far_share']:.2%} largest {row['largest_um']:.0f}"
    verdict = "all" if row["all_within"] else "NOT all"
    if "stopped" in row:
        return f"{head}  {facts}; {verdict}; true {true:.1f}, stopped | {pieces}"
    low, high = row["spread_percent"] or (float("nan"), float("nan"))
    inside = "in" if low <= true <= high else "OUT"
    return (
        f"{head}  {facts}; {verdict}; true {true:.1f} found {row['index_percent']:.1f} ({low:.1f}-{high:.1f}) "
        f"{inside}, left out {row['unregistered_region_share']:.0%} | {pieces}"
    )


def sums(rows: list[dict[str, Any]]) -> str:
    """What was asked for, over these rows."""
    accepted = [row for row in rows if row["accepted"]]
    scored = [row for row in accepted if "stopped" not in row]
    inside = sum(
        row["spread_percent"] is not None
        and row["spread_percent"][0] <= row["true_index_percent"] <= row["spread_percent"][1]
        for row in scored
    )
    far = sum(row["far_share"] > 0 for row in accepted)
    known = [row["covered_share"] for row in accepted if row["covered_share"] is not None]
    return (
        f"{sum(row['all_within'] for row in accepted)} of {len(rows)} with all pieces within {WITHIN_UM:.0f} µm; "
        f"{far} with anything accepted beyond {FAR_UM:.0f} µm; {len(rows) - len(accepted)} refused, "
        f"{len(accepted) - len(scored)} stopped, index inside its spread {inside} of {len(scored)}; error within the "
        f"printed one at {np.mean(known) if known else float('nan'):.0%} of the places"
    )


def main() -> None:
    """Draw, register and judge the cases; a row that is done is not done again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--kind", choices=KINDS, action="append")
    given = parser.parse_args()
    configure(quiet=True)
    bases = [load_base(given.out / f"base-{given.seed + n}", given.seed + n) for n in range(BASES)]
    rows = []
    for kind in given.kind or KINDS:
        of_kind = []
        for place in range(given.first, given.first + given.cases):
            path = given.out / "rows" / f"{kind}-{place:02d}.json"
            if not path.exists():
                drawn = draw(bases, kind, place, given.seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {"kind": kind, "place": place, "case": drawn.facts, **measure(drawn)})
            of_kind.append(json.loads(path.read_text(encoding="utf-8")))
            print(line(of_kind[-1]), flush=True)
        print(f"{kind}: {sums(of_kind)}", flush=True)
        rows += of_kind
    print(f"all: {sums(rows)}")
    write_json(given.out / "pieces.json", rows)


if __name__ == "__main__":
    main()
