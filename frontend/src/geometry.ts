/** Where things are: µm of a slide, pixels of the screen, and the way from one slide to the other. */

export type Point = readonly [number, number];

/** What a pane shows: the place in its middle (µm of its slide), µm per CSS pixel, clockwise turn, mirrored or not. */
export interface View {
  x: number;
  y: number;
  umPerPx: number;
  deg: number;
  flip: boolean;
}

export interface Size {
  width: number;
  height: number;
}

export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** x' = a x + c y + e, y' = b x + d y + f. */
export interface Affine {
  a: number;
  b: number;
  c: number;
  d: number;
  e: number;
  f: number;
}

const RADIANS = Math.PI / 180;

/** The slide's µm to the pane's pixels: turned about the middle, then mirrored left to right. */
export function screenOf(view: View, size: Size): Affine {
  const cos = Math.cos(view.deg * RADIANS) / view.umPerPx;
  const sin = Math.sin(view.deg * RADIANS) / view.umPerPx;
  const side = view.flip ? -1 : 1;
  const [a, b, c, d] = [side * cos, sin, -side * sin, cos];
  return {
    a,
    b,
    c,
    d,
    e: size.width / 2 - a * view.x - c * view.y,
    f: size.height / 2 - b * view.x - d * view.y,
  };
}

export function apply(map: Affine, [x, y]: Point): Point {
  return [map.a * x + map.c * y + map.e, map.b * x + map.d * y + map.f];
}

export function inverse(map: Affine): Affine {
  const { a, b, c, d, e, f } = map;
  const det = a * d - b * c;
  return {
    a: d / det,
    b: -b / det,
    c: -c / det,
    d: a / det,
    e: (c * f - d * e) / det,
    f: (b * e - a * f) / det,
  };
}

/** What of the slide a pane shows, as an upright box in µm. */
export function boxOf(view: View, size: Size, margin = 0): Box {
  const back = inverse(screenOf(view, size));
  const corners: Point[] = [
    [-margin, -margin],
    [size.width + margin, -margin],
    [-margin, size.height + margin],
    [size.width + margin, size.height + margin],
  ].map(([x, y]) => apply(back, [x as number, y as number]));
  const xs = corners.map((corner) => corner[0]);
  const ys = corners.map((corner) => corner[1]);
  return { x0: Math.min(...xs), y0: Math.min(...ys), x1: Math.max(...xs), y1: Math.max(...ys) };
}

export function overlap(one: Box, other: Box): boolean {
  return one.x0 <= other.x1 && other.x0 <= one.x1 && one.y0 <= other.y1 && other.y0 <= one.y1;
}

export function boxAround(points: Iterable<Point>): Box {
  const box = { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
  for (const [x, y] of points) {
    box.x0 = Math.min(box.x0, x);
    box.y0 = Math.min(box.y0, y);
    box.x1 = Math.max(box.x1, x);
    box.y1 = Math.max(box.y1, y);
  }
  return box;
}

/** A grid of places over a pane, its middle first: what a local map is fitted to. */
export function probes(view: View, size: Size, steps = 5): Point[] {
  const back = inverse(screenOf(view, size));
  const points: Point[] = [[view.x, view.y]];
  for (let row = 0; row < steps; row++)
    for (let column = 0; column < steps; column++)
      points.push(apply(back, [(size.width * column) / (steps - 1), (size.height * row) / (steps - 1)]));
  return points;
}

/**
 * The affine map nearest to pairs of places (least squares), made exact at the first pair.
 *
 * Null where the first place has no partner or fewer than three have.
 */
export function fitAffine(from: readonly Point[], to: readonly (Point | null)[]): Affine | null {
  const [origin, goal] = [from[0], to[0]];
  if (!origin || !goal) return null;
  let [xx, xy, yy, ux, uy, vx, vy, pairs] = [0, 0, 0, 0, 0, 0, 0, 0];
  from.forEach((point, at) => {
    const image = to[at];
    if (!image) return;
    const [x, y] = [point[0] - origin[0], point[1] - origin[1]];
    const [u, v] = [image[0] - goal[0], image[1] - goal[1]];
    xx += x * x;
    xy += x * y;
    yy += y * y;
    ux += u * x;
    uy += u * y;
    vx += v * x;
    vy += v * y;
    pairs += 1;
  });
  const det = xx * yy - xy * xy;
  if (pairs < 3 || !(Math.abs(det) > 1e-12 * xx * yy)) return null;
  const a = (ux * yy - uy * xy) / det;
  const c = (uy * xx - ux * xy) / det;
  const b = (vx * yy - vy * xy) / det;
  const d = (vy * xx - vx * xy) / det;
  return {
    a,
    b,
    c,
    d,
    e: goal[0] - a * origin[0] - c * origin[1],
    f: goal[1] - b * origin[0] - d * origin[1],
  };
}

/** The other slide's view that shows the same tissue in the same attitude: nearest turn, scale and side to the local map. */
export function follow(view: View, local: Affine): View {
  const mirrored = local.a * local.d - local.b * local.c < 0;
  const [a, b] = mirrored ? [-local.a, -local.b] : [local.a, local.b];
  const turn = Math.atan2(b - local.c, a + local.d) / RADIANS;
  const scale = Math.sqrt(Math.abs(local.a * local.d - local.b * local.c));
  const [x, y] = apply(local, [view.x, view.y]);
  // Mirroring from left to right undoes itself; what was turned before it turns the other way after it.
  const flip = view.flip !== mirrored;
  const deg = mirrored ? -view.deg - turn : view.deg - turn;
  return { x, y, umPerPx: view.umPerPx * scale, deg: normalDegrees(deg), flip };
}

export function normalDegrees(deg: number): number {
  return ((deg % 360) + 360) % 360;
}

/** A round length that fits into a width, for the scale bar. */
export function scaleBar(umPerPx: number, maxPx: number): { px: number; label: string } {
  const most = umPerPx * maxPx;
  const power = 10 ** Math.floor(Math.log10(most));
  const um = ([5, 2, 1].find((step) => step * power <= most) ?? 1) * power;
  const label = um >= 1000 ? `${um / 1000} mm` : um >= 1 ? `${um} µm` : `${um * 1000} nm`;
  return { px: um / umPerPx, label };
}

/** As an objective would show it: 40× is 0.25 µm a pixel. */
export function magnification(umPerPx: number): number {
  return 10 / umPerPx;
}

/** Leave out the points of a line that lie nearer than a distance to what is left (Douglas and Peucker). */
export function simplified(line: readonly Point[], distance: number): Point[] {
  const last = line.length - 1;
  if (last < 2) return [...line];
  const keep = new Set([0, last]);
  const open: [number, number][] = [[0, last]];
  for (let part = open.pop(); part; part = open.pop()) {
    const [start, end] = part;
    let [farthest, away] = [0, distance];
    for (let at = start + 1; at < end; at++) {
      const here = distanceToSegment(line[at] as Point, line[start] as Point, line[end] as Point);
      if (here > away) [farthest, away] = [at, here];
    }
    if (farthest) {
      keep.add(farthest);
      open.push([start, farthest], [farthest, end]);
    }
  }
  return line.filter((_, at) => keep.has(at));
}

export function distanceToSegment([x, y]: Point, [x0, y0]: Point, [x1, y1]: Point): number {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const long = dx * dx + dy * dy;
  const along = long ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / long)) : 0;
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}

/** The middle of an area of outlines with holes, weighed by area; the rings may turn either way. */
export function centroid(polygons: readonly (readonly (readonly Point[])[])[]): Point | null {
  let [area, x, y] = [0, 0, 0];
  for (const rings of polygons)
    rings.forEach((ring, number) => {
      const [weight, u, v] = ringMoments(ring);
      const sign = number ? -Math.sign(weight) : Math.sign(weight);
      area += sign * weight;
      x += sign * u;
      y += sign * v;
    });
  return area > 0 ? [x / area, y / area] : null;
}

function ringMoments(ring: readonly Point[]): [number, number, number] {
  let [area, x, y] = [0, 0, 0];
  for (let at = 0, before = ring.length - 1; at < ring.length; before = at++) {
    const [x0, y0] = ring[before] as Point;
    const [x1, y1] = ring[at] as Point;
    const cross = (x0 * y1 - x1 * y0) / 2;
    area += cross;
    x += (cross * (x0 + x1)) / 3;
    y += (cross * (y0 + y1)) / 3;
  }
  return [area, x, y];
}

/** Turn clockwise about a place, then shift. */
export function motion([x, y]: Point, deg: number, [dx, dy]: Point): Affine {
  const [cos, sin] = [Math.cos(deg * RADIANS), Math.sin(deg * RADIANS)];
  return { a: cos, b: sin, c: -sin, d: cos, e: x - cos * x + sin * y + dx, f: y - sin * x - cos * y + dy };
}

/** The turn about a middle and the shift that bring places nearest to others (least squares), and what is left, in µm. */
export function rigidBetween(pairs: readonly (readonly [Point, Point])[], middle: Point): { deg: number; shift: Point; leftUm: number } {
  const mean = (side: 0 | 1): Point => [0, 1].map((axis) => pairs.reduce((sum, pair) => sum + (pair[side][axis] as number), 0) / pairs.length) as unknown as Point;
  const [from, to] = [mean(0), mean(1)];
  let [along, across] = [0, 0];
  for (const [[x, y], [u, v]] of pairs) {
    const [a, b, c, d] = [x - from[0], y - from[1], u - to[0], v - to[1]];
    along += a * c + b * d;
    across += a * d - b * c;
  }
  const deg = pairs.length > 1 ? Math.atan2(across, along) / RADIANS : 0;
  const [u, v] = apply(motion(middle, deg, [0, 0]), from);
  const shift: Point = [to[0] - u, to[1] - v];
  const map = motion(middle, deg, shift);
  const squares = pairs.map(([one, other]) => {
    const [x, y] = apply(map, one);
    return (x - other[0]) ** 2 + (y - other[1]) ** 2;
  });
  return { deg, shift, leftUm: Math.sqrt(squares.reduce((sum, one) => sum + one, 0) / pairs.length) };
}

/** First the second map, then the first. */
export function after(first: Affine, second: Affine): Affine {
  const [e, f] = apply(first, [second.e, second.f]);
  return {
    a: first.a * second.a + first.c * second.b,
    b: first.b * second.a + first.d * second.b,
    c: first.a * second.c + first.c * second.d,
    d: first.b * second.c + first.d * second.d,
    e,
    f,
  };
}
