import { describe, expect, it } from "vitest";
import {
  after,
  apply,
  boxOf,
  centroid,
  fitAffine,
  follow,
  inverse,
  magnification,
  motion,
  probes,
  rigidBetween,
  scaleBar,
  screenOf,
  simplified,
  type Affine,
  type Point,
  type View,
} from "../src/geometry";

const SIZE = { width: 640, height: 480 };
const OTHER_SIZE = { width: 500, height: 700 };

function similarity(deg: number, scale: number, mirrored: boolean, e: number, f: number): Affine {
  const [cos, sin] = [Math.cos((deg * Math.PI) / 180) * scale, Math.sin((deg * Math.PI) / 180) * scale];
  return mirrored ? { a: -cos, b: -sin, c: -sin, d: cos, e, f } : { a: cos, b: sin, c: -sin, d: cos, e, f };
}

describe("a pane", () => {
  it("shows its middle in the middle", () => {
    const view = { x: 1234, y: 567, umPerPx: 0.7, deg: 33, flip: true };
    const [x, y] = apply(screenOf(view, SIZE), [1234, 567]);
    expect([x, y]).toEqual([expect.closeTo(320, 9), expect.closeTo(240, 9)]);
  });

  it("turns clockwise, as the screen is seen", () => {
    const view = { x: 0, y: 0, umPerPx: 1, deg: 90, flip: false };
    const [x, y] = apply(screenOf(view, SIZE), [10, 0]);
    expect([x - 320, y - 240]).toEqual([expect.closeTo(0, 9), expect.closeTo(10, 9)]);
  });

  it("holds its corners in its box", () => {
    const box = boxOf({ x: 0, y: 0, umPerPx: 2, deg: 90, flip: false }, SIZE);
    expect(box.x1).toBeCloseTo(480, 9);
    expect(box.y1).toBeCloseTo(640, 9);
  });
});

describe("the follower", () => {
  const view: View = { x: 3000, y: 2000, umPerPx: 0.5, deg: 20, flip: false };
  for (const mirrored of [false, true])
    for (const flip of [false, true])
      for (const deg of [0, 90, 137, -60])
        it(`shows the same tissue at the same place: ${deg}°, mirrored ${mirrored}, flipped ${flip}`, () => {
          const local = similarity(deg, 1.1, mirrored, 40, -900);
          const lead = { ...view, flip };
          const other = follow(lead, local);
          const from = screenOf(lead, SIZE);
          const to = screenOf(other, OTHER_SIZE);
          for (const place of [[3000, 2000], [3100, 2000], [3000, 2150]] as Point[]) {
            const [x, y] = apply(from, place);
            const [u, v] = apply(to, apply(local, place));
            expect(u - OTHER_SIZE.width / 2).toBeCloseTo(x - SIZE.width / 2, 6);
            expect(v - OTHER_SIZE.height / 2).toBeCloseTo(y - SIZE.height / 2, 6);
          }
        });

  it("comes back to where it was", () => {
    const local = similarity(75, 0.9, true, 100, 200);
    const back = follow(follow(view, local), inverse(local));
    expect(back.x).toBeCloseTo(view.x, 6);
    expect(back.umPerPx).toBeCloseTo(view.umPerPx, 9);
    expect(back.deg).toBeCloseTo(view.deg, 6);
    expect(back.flip).toBe(view.flip);
  });
});

describe("a local map", () => {
  const from = probes({ x: 500, y: 700, umPerPx: 1, deg: 10, flip: false }, SIZE);

  it("is found from its pairs", () => {
    const truth = { a: 0.9, b: 0.2, c: -0.3, d: 1.1, e: 5, f: -7 };
    const found = fitAffine(from, from.map((point) => apply(truth, point)));
    for (const key of ["a", "b", "c", "d", "e", "f"] as const) expect(found?.[key]).toBeCloseTo(truth[key], 6);
  });

  it("is exact in the middle of what bends", () => {
    const bent = (point: Point): Point => [point[0] + 3 * Math.sin(point[1] / 90), point[1] + 2 * Math.cos(point[0] / 70)];
    const found = fitAffine(from, from.map(bent));
    const [x, y] = apply(found as Affine, from[0] as Point);
    expect([x, y]).toEqual(bent(from[0] as Point).map((value) => expect.closeTo(value, 9)));
  });

  it("goes without places that have no partner, unless the middle has none", () => {
    const half = from.map((point, at) => (at % 2 ? null : point));
    expect(fitAffine(from, half)?.a).toBeCloseTo(1, 9);
    expect(fitAffine(from, [null, ...from.slice(1)])).toBeNull();
    expect(fitAffine(from, from.map((point, at) => (at < 2 ? point : null)))).toBeNull();
  });
});

describe("what is written", () => {
  it("is a round length", () => {
    expect(scaleBar(0.25, 120)).toEqual({ px: 80, label: "20 µm" });
    expect(scaleBar(10, 120)).toEqual({ px: 100, label: "1 mm" });
  });

  it("is an objective's power", () => expect(magnification(0.25)).toBe(40));
});

describe("a drawn line", () => {
  it("loses only what lies on it", () => {
    const line: Point[] = [[0, 0], [1, 0.01], [2, 0], [2, 2], [2, 4]];
    expect(simplified(line, 0.1)).toEqual([[0, 0], [2, 0], [2, 4]]);
  });
});

describe("an area", () => {
  const outer: Point[] = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]];
  const hole: Point[] = [[6, 6], [6, 8], [8, 8], [8, 6], [6, 6]];

  it("has its middle where its tissue is, whichever way its rings turn", () => {
    expect(centroid([[outer]])).toEqual([5, 5]);
    const [x, y] = centroid([[outer, hole]]) ?? [0, 0];
    expect([x, y]).toEqual([expect.closeTo((500 - 28) / 96, 9), expect.closeTo((500 - 28) / 96, 9)]);
    expect(centroid([[[...outer].reverse(), [...hole].reverse()]])).toEqual([x, y]);
    expect(centroid([])).toBeNull();
  });

  it("turns clockwise about its middle and is then shifted", () => {
    const map = motion([5, 5], 90, [100, 0]);
    expect(apply(map, [6, 5])).toEqual([expect.closeTo(105, 9), expect.closeTo(6, 9)]);
    const twice = after(map, motion([0, 0], 0, [1, 2]));
    expect(apply(twice, [5, 3])).toEqual(apply(map, [6, 5]).map((value) => expect.closeTo(value, 9)));
  });
});

describe("pairs of places", () => {
  const middle: Point = [500, 300];

  it("give back the turn and the shift that moved them", () => {
    const map = motion(middle, 7.5, [-40, 22]);
    const places: Point[] = [[100, 80], [900, 120], [420, 700]];
    const { deg, shift, leftUm } = rigidBetween(places.map((place) => [place, apply(map, place)] as const), middle);
    expect(deg).toBeCloseTo(7.5, 6);
    expect(shift[0]).toBeCloseTo(-40, 6);
    expect(shift[1]).toBeCloseTo(22, 6);
    expect(leftUm).toBeCloseTo(0, 6);
  });

  it("tell what no turn and shift can bring together", () => {
    const { deg, leftUm } = rigidBetween([[[0, 0], [0, 0]], [[100, 0], [120, 0]]], middle);
    expect(deg).toBeCloseTo(0, 6);
    expect(leftUm).toBeCloseTo(10, 6);
  });
});
