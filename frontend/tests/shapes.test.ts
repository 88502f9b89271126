import { describe, expect, it } from "vitest";
import type { Geometry } from "../src/api";
import type { Point } from "../src/geometry";
import { areaUm2, boxOfPlace, cut, holds, joined, mended, painted, snapped, touches } from "../src/labelling/shapes";

function square(x: number, y: number, side: number): Geometry {
  const ring: Point[] = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]];
  return { type: "Polygon", coordinates: [ring] };
}

describe("areas", () => {
  it("are joined where they touch, and stay apart where they do not", () => {
    const one = joined(square(0, 0, 100), square(50, 0, 100)) as Geometry;
    expect(one.type).toBe("Polygon");
    expect(areaUm2(one)).toBeCloseTo(15_000, 3);
    expect(joined(square(0, 0, 10), square(50, 0, 10))?.type).toBe("MultiPolygon");
    expect(touches(square(0, 0, 10), square(5, 5, 10))).toBe(true);
    expect(touches(square(0, 0, 10), square(11, 0, 10))).toBe(false);
  });

  it("get a hole that holds nothing, and an island in it", () => {
    const ring = cut(square(0, 0, 100), square(20, 20, 60)) as Geometry;
    expect(ring.coordinates).toHaveLength(2);
    expect(holds(ring, [10, 10])).toBe(true);
    expect(holds(ring, [50, 50])).toBe(false);
    const island = joined(ring, square(40, 40, 20)) as Geometry;
    expect(island.type).toBe("MultiPolygon");
    expect(areaUm2(island)).toBeCloseTo(10_000 - 3600 + 400, 3);
    expect(joined(island, square(0, 0, 100))?.coordinates).toHaveLength(1);
  });

  it("are gone when all of them is cut away", () => {
    expect(cut(square(10, 10, 10), square(0, 0, 100))).toBeNull();
  });

  it("are made simple where the hand crossed its own line", () => {
    const bow: Geometry = { type: "Polygon", coordinates: [[[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]] };
    expect(areaUm2(mended(bow) as Geometry)).toBeCloseTo(5000, 3);
  });

  it("are painted as wide as the brush, by a click too", () => {
    const dot = painted([[50, 50]], 10) as Geometry;
    expect(Math.abs(areaUm2(dot) / (Math.PI * 100) - 1)).toBeLessThan(0.03);
    const line = painted([[0, 0], [100, 0]], 10) as Geometry;
    expect(Math.abs(areaUm2(line) / (2000 + Math.PI * 100) - 1)).toBeLessThan(0.02);
    expect(boxOfPlace(line).x0).toBeCloseTo(-10, 0);
  });

  it("keep their corners in whole thousandths, as the server does", () => {
    const one = mended({ type: "Polygon", coordinates: [[[0.00049, 0], [10, 0.0006], [10, 10], [0, 10], [0.00049, 0]]] }) as Geometry;
    for (const [x, y] of (one.coordinates as Point[][])[0] ?? []) for (const value of [x, y]) expect(Math.round(value * 1000)).toBeCloseTo(value * 1000, 9);
  });

  it("draw a corner to their nearest edge, and not from far", () => {
    const areas = [square(0, 0, 100), square(200, 0, 100)];
    expect(snapped([104, 50], areas, 6)).toEqual([100, 50]);
    expect(snapped([103, 104], areas, 6)).toEqual([100, 100]);
    expect(snapped([110, 50], areas, 6)).toEqual([110, 50]);
    expect(snapped([198, 30], areas, 6)).toEqual([200, 30]);
  });
});
