/** Areas joined, cut and painted; in whole thousandths of a µm, as the server keeps them. */

import { ClipType, Clipper, EndType, FillRule, JoinType, PolyTree64, type Path64, type Paths64, type PolyPath64 } from "clipper2-ts";
import type { Geometry } from "../api";
import { polygonsOf } from "../drawings";
import { boxAround, overlap, type Box, type Point } from "../geometry";
import type { Place } from "./office";

const PER_UM = 1000;
/** Pieces smaller than that are left by rounding, not by a hand. */
const LEAST_UM2 = 1;
const LEAST_CORNERS = 3;
/** How far a painted circle may be from round, as a part of its radius. */
const ROUNDNESS = 0.02;

export function isArea(place: Place): place is Geometry {
  return place.type !== "Point";
}

export function joined(...areas: readonly Geometry[]): Geometry | null {
  return clipped(ClipType.Union, areas.flatMap(paths), []);
}

export function cut(area: Geometry, away: Geometry): Geometry | null {
  return clipped(ClipType.Difference, paths(area), paths(away));
}

/** What a round brush paints along a line. */
export function painted(line: readonly Point[], radiusUm: number): Geometry | null {
  const path: Path64 = line.map(([x, y]) => ({ x: Math.round(x * PER_UM), y: Math.round(y * PER_UM) }));
  const radius = radiusUm * PER_UM;
  const stroke = Clipper.inflatePaths([path], radius, JoinType.Round, EndType.Round, 2, radius * ROUNDNESS);
  return clipped(ClipType.Union, stroke, []);
}

/** An outline that a hand drew, made simple where it crosses itself. */
export function mended(area: Geometry): Geometry | null {
  return clipped(ClipType.Union, paths(area), []);
}

export function touches(one: Geometry, other: Geometry): boolean {
  if (!overlap(boxOfPlace(one), boxOfPlace(other))) return false;
  return Clipper.booleanOp(ClipType.Intersection, paths(one), paths(other), FillRule.NonZero).length > 0;
}

const boxes = new WeakMap<Place, Box>();
const sizes = new WeakMap<Place, number>();

export function boxOfPlace(place: Place): Box {
  const known = boxes.get(place);
  if (known) return known;
  const box = boxAround(isArea(place) ? polygonsOf(place).flat(2) : [place.coordinates]);
  boxes.set(place, box);
  return box;
}

export function areaUm2(place: Place): number {
  if (!isArea(place)) return 0;
  const known = sizes.get(place);
  if (known !== undefined) return known;
  const size = Math.abs(Clipper.areaPaths(Clipper.booleanOp(ClipType.Union, paths(place), [], FillRule.NonZero))) / PER_UM ** 2;
  sizes.set(place, size);
  return size;
}

export function holds(place: Place, [x, y]: Point): boolean {
  if (!isArea(place)) return false;
  let inside = false;
  for (const ring of polygonsOf(place).flat())
    for (let at = 0, before = ring.length - 1; at < ring.length; before = at++) {
      const [x0, y0] = ring[before] as Point;
      const [x1, y1] = ring[at] as Point;
      if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) inside = !inside;
    }
  return inside;
}

/** The place on the edges of areas that is nearest, no farther than `reachUm`; else the place itself. */
export function snapped(um: Point, areas: Iterable<Geometry>, reachUm: number): Point {
  const [x, y] = um;
  const around = { x0: x - reachUm, y0: y - reachUm, x1: x + reachUm, y1: y + reachUm };
  let [nearest, least]: [Point, number] = [um, reachUm];
  for (const area of areas) {
    if (!overlap(boxOfPlace(area), around)) continue;
    for (const ring of polygonsOf(area).flat())
      for (let at = 1; at < ring.length; at++) {
        const on = nearestOn(um, ring[at - 1] as Point, ring[at] as Point);
        const far = Math.hypot(on[0] - x, on[1] - y);
        if (far < least) [nearest, least] = [on, far];
      }
  }
  return nearest;
}

function nearestOn([x, y]: Point, [x0, y0]: Point, [x1, y1]: Point): Point {
  const [along, down] = [x1 - x0, y1 - y0];
  const length = along * along + down * down;
  const share = length ? Math.min(1, Math.max(0, ((x - x0) * along + (y - y0) * down) / length)) : 0;
  return [x0 + share * along, y0 + share * down];
}

/** Rings of an area; the first of each polygon turns one way and its holes the other. */
function paths(area: Geometry): Paths64 {
  return polygonsOf(area).flatMap((rings) =>
    rings.map((ring, number) => {
      const path: Path64 = ring.slice(0, -1).map(([x, y]) => ({ x: Math.round(x * PER_UM), y: Math.round(y * PER_UM) }));
      return Clipper.isPositive(path) === (number === 0) ? path : path.reverse();
    }),
  );
}

function clipped(type: ClipType, subject: Paths64, clip: Paths64): Geometry | null {
  const tree = new PolyTree64();
  Clipper.booleanOpWithPolyTree(type, subject, clip, tree, FillRule.NonZero);
  const polygons: Point[][][] = [];
  collect(tree as unknown as PolyPath64, polygons);
  if (!polygons.length) return null;
  return polygons.length === 1 ? { type: "Polygon", coordinates: polygons[0] as Point[][] } : { type: "MultiPolygon", coordinates: polygons };
}

/** Outer rings with their holes; an island in a hole is a polygon of its own. */
function collect(node: PolyPath64, polygons: Point[][][]): void {
  for (let at = 0; at < node.count; at++) {
    const outer = node.child(at);
    const rings = [ringOf(outer.poly)];
    for (let hole = 0; hole < outer.count; hole++) {
      const inner = outer.child(hole);
      rings.push(ringOf(inner.poly));
      collect(inner, polygons);
    }
    if (rings[0]) polygons.push(rings.filter((ring): ring is Point[] => ring !== null));
  }
}

function ringOf(path: Path64 | null): Point[] | null {
  if (!path || path.length < LEAST_CORNERS || Math.abs(Clipper.area(path)) < LEAST_UM2 * PER_UM ** 2) return null;
  const ring = path.map(({ x, y }): Point => [x / PER_UM, y / PER_UM]);
  return [...ring, ring[0] as Point];
}
