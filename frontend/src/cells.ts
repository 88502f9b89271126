/** Cells as the server has them, in squares of the slide, fetched where they are looked at and kept a while. */

import { bytes, caseUrl, LABELS, type Label } from "./api";
import { overlap, type Box, type Point } from "./geometry";

export const SQUARE_UM = 500;
const MOST_SQUARES = 600;
const MOST_A_SQUARE = 100_000;
const NOT_COUNTED = 128;

/** Cells in arrays of equal length. */
export interface Cells {
  x: Float32Array;
  y: Float32Array;
  label: Uint8Array;
  counted: Uint8Array;
  probability: Float32Array;
  row: Uint32Array;
}

/** Read the server's binary: a number, then one array after the other, little-endian. */
export function unpack(data: ArrayBuffer): Cells {
  if (data.byteLength < 4) throw new Error("cells: the answer is cut short");
  const size = new DataView(data).getUint32(0, true);
  if (data.byteLength !== 4 + 17 * size) throw new Error(`cells: ${size} promised, ${data.byteLength} bytes came`);
  let at = 4;
  // A copy of its own each: what follows the bytes of the classes lies at no multiple of four.
  const next = (width: number): ArrayBuffer => data.slice(at, (at += width * size));
  const x = new Float32Array(next(4));
  const y = new Float32Array(next(4));
  const kind = new Uint8Array(next(1));
  const probability = new Float32Array(next(4));
  const row = new Uint32Array(next(4));
  const counted = kind.map((value) => (value & NOT_COUNTED ? 0 : 1));
  return { x, y, label: kind.map((value) => value & ~NOT_COUNTED), counted, probability, row };
}

interface Square {
  box: Box;
  cells: Cells | null;
  used: number;
  stale: boolean;
  loading: boolean;
}

export interface Picked {
  row: number;
  um: Point;
  label: Label;
}

export class CellStore extends EventTarget {
  private readonly squares = new Map<string, Square>();
  private clock = 0;

  constructor(
    private readonly caseId: string,
    private readonly extent: Box,
    private readonly failed: (error: unknown) => void,
    private readonly signal: AbortSignal,
    public version: string | null,
  ) {
    super();
  }

  /** The cells in the squares that a box touches, as far as they are there; what is missing is fetched. */
  within(box: Box): Cells[] {
    const found: Cells[] = [];
    this.clock += 1;
    const [x0, x1] = [Math.max(box.x0, this.extent.x0), Math.min(box.x1, this.extent.x1)];
    const [y0, y1] = [Math.max(box.y0, this.extent.y0), Math.min(box.y1, this.extent.y1)];
    for (let row = Math.floor(y0 / SQUARE_UM); row * SQUARE_UM <= y1; row++)
      for (let column = Math.floor(x0 / SQUARE_UM); column * SQUARE_UM <= x1; column++) {
        const square = this.square(column, row);
        square.used = this.clock;
        if ((square.stale || !square.cells) && !square.loading) void this.load(square);
        if (square.cells) found.push(square.cells);
      }
    this.forget();
    return found;
  }

  /** The cell nearest to a place, within a distance. */
  pick(um: Point, within: number): Picked | null {
    const around = { x0: um[0] - within, y0: um[1] - within, x1: um[0] + within, y1: um[1] + within };
    let [best, found] = [within, null as Picked | null];
    this.each(around, (cells, at) => {
      const away = Math.hypot((cells.x[at] as number) - um[0], (cells.y[at] as number) - um[1]);
      if (away > best) return;
      best = away;
      found = pickedOf(cells, at);
    });
    return found;
  }

  /** Rows of the cells in a circle that are of another class. */
  inCircle(um: Point, radius: number, not: Label | null): Picked[] {
    const around = { x0: um[0] - radius, y0: um[1] - radius, x1: um[0] + radius, y1: um[1] + radius };
    const found: Picked[] = [];
    this.each(around, (cells, at) => {
      const away = Math.hypot((cells.x[at] as number) - um[0], (cells.y[at] as number) - um[1]);
      if (away <= radius && LABELS[cells.label[at] as number] !== not) found.push(pickedOf(cells, at));
    });
    return found;
  }

  /** Show a class at once, before the server has said so. */
  relabel(rows: readonly number[], label: Label): void {
    const wanted = new Set(rows);
    for (const { cells } of this.squares.values())
      cells?.row.forEach((row, at) => {
        if (wanted.has(row)) cells.label[at] = LABELS.indexOf(label);
      });
    this.dispatchEvent(new Event("change"));
  }

  /** Fetch anew what is shown; what is there stays until then. */
  renew(version: string | null): void {
    this.version = version;
    for (const square of this.squares.values()) square.stale = true;
    this.dispatchEvent(new Event("change"));
  }

  private each(box: Box, see: (cells: Cells, at: number) => void): void {
    for (const square of this.squares.values()) {
      if (!square.cells || !overlap(square.box, box)) continue;
      for (let at = 0; at < square.cells.row.length; at++) see(square.cells, at);
    }
  }

  private square(column: number, row: number): Square {
    const key = `${column}:${row}`;
    let square = this.squares.get(key);
    if (!square) {
      const [x0, y0] = [column * SQUARE_UM, row * SQUARE_UM];
      const box = { x0, y0, x1: x0 + SQUARE_UM, y1: y0 + SQUARE_UM };
      square = { box, cells: null, used: this.clock, stale: false, loading: false };
      this.squares.set(key, square);
    }
    return square;
  }

  private async load(square: Square): Promise<void> {
    const { version } = this;
    const { x0, y0, x1, y1 } = square.box;
    square.loading = true;
    try {
      const query = new URLSearchParams({ x0: `${x0}`, y0: `${y0}`, x1: `${x1}`, y1: `${y1}`, limit: `${MOST_A_SQUARE}`, v: `${version}` });
      const { data } = await bytes(caseUrl(this.caseId, `/cells?${query}`), this.signal);
      square.cells = unpack(data);
      square.stale = version !== this.version;
    } catch (error) {
      square.cells ??= unpack(new ArrayBuffer(4));
      square.stale = false;
      this.failed(error);
    } finally {
      square.loading = false;
    }
    this.dispatchEvent(new Event("change"));
  }

  private forget(): void {
    if (this.squares.size <= MOST_SQUARES) return;
    const oldest = [...this.squares].sort(([, one], [, other]) => one.used - other.used);
    for (const [key] of oldest.slice(0, this.squares.size - MOST_SQUARES)) this.squares.delete(key);
  }
}

function pickedOf(cells: Cells, at: number): Picked {
  const um: Point = [cells.x[at] as number, cells.y[at] as number];
  return { row: cells.row[at] as number, um, label: LABELS[cells.label[at] as number] ?? "other" };
}

/** Counts on a grid, for the view from far. */
export interface Raster {
  columns: number;
  rows: number;
  cellUm: number;
  x0: number;
  y0: number;
  positive: Float32Array;
  negative: Float32Array;
}

/** Read the raster: a line of JSON, then the two planes of float32. */
export function unpackRaster(data: ArrayBuffer): Raster {
  const whole = new Uint8Array(data);
  const end = whole.indexOf(10);
  if (end < 0) throw new Error("raster: the first line is missing");
  const head = JSON.parse(new TextDecoder().decode(whole.subarray(0, end))) as Record<string, number>;
  const [columns, rows] = [head["columns"] ?? 0, head["rows"] ?? 0];
  const size = columns * rows;
  if (data.byteLength - end - 1 !== 8 * size) throw new Error(`raster: ${columns} × ${rows} promised, not so many came`);
  return {
    columns,
    rows,
    cellUm: head["cell_um"] ?? 32,
    x0: head["x_um"] ?? 0,
    y0: head["y_um"] ?? 0,
    positive: new Float32Array(data.slice(end + 1, end + 1 + 4 * size)),
    negative: new Float32Array(data.slice(end + 1 + 4 * size)),
  };
}
