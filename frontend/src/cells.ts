/** Cells as the server has them: their arrays near, their outlines nearer, their counts on a grid from far. */

import { bytes, caseUrl, LABELS, type Label } from "./api";
import type { Box, Point } from "./geometry";
import { Squares } from "./squares";

const SQUARE_UM = 500;
const MOST_CELLS = 100_000;
const OUTLINE_SQUARE_UM = 200;
const MOST_OUTLINES = 5000;
const NOT_COUNTED = 128;
const CORRECTED = 64;

/** Cells in arrays of equal length. */
export interface Cells {
  x: Float32Array;
  y: Float32Array;
  label: Uint8Array;
  counted: Uint8Array;
  /** A person added it, or gave it another class. */
  corrected: Uint8Array;
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
  const corrected = kind.map((value) => (value & CORRECTED ? 1 : 0));
  return { x, y, label: kind.map((value) => value & ~(NOT_COUNTED | CORRECTED)), counted, corrected, probability, row };
}

/** Corners of nuclei, x y x y … in µm, by row. */
export type Outlines = Map<number, Float32Array>;

/** Read the server's outlines: a number, rows, numbers of corners, then the corners of one after the other. */
export function unpackOutlines(data: ArrayBuffer): Outlines {
  const size = data.byteLength < 4 ? -1 : new DataView(data).getUint32(0, true);
  if (size < 0 || data.byteLength < 4 + 8 * size) throw new Error("outlines: the answer is cut short");
  const rows = new Uint32Array(data, 4, size);
  const corners = new Uint32Array(data, 4 + 4 * size, size);
  const found: Outlines = new Map();
  let at = 4 + 8 * size;
  for (let number = 0; number < size; number++) {
    const long = 2 * (corners[number] as number);
    if (at + 4 * long > data.byteLength) throw new Error("outlines: the answer is cut short");
    found.set(rows[number] as number, new Float32Array(data, at, long));
    at += 4 * long;
  }
  return found;
}

export interface Picked {
  row: number;
  um: Point;
  label: Label;
}

/** The cells of a case, and the outlines of their nuclei. */
export class CellStore extends EventTarget {
  private readonly cells: Squares<Cells>;
  private readonly outlines: Squares<Outlines>;

  constructor(caseId: string, extent: Box, failed: (error: unknown) => void, signal: AbortSignal, version: () => string | null) {
    super();
    const fetch = async (what: string, box: Box, limit: number): Promise<ArrayBuffer> => {
      const { x0, y0, x1, y1 } = box;
      const query = new URLSearchParams({ x0: `${x0}`, y0: `${y0}`, x1: `${x1}`, y1: `${y1}`, limit: `${limit}`, v: `${version()}` });
      return (await bytes(caseUrl(caseId, `/cells${what}?${query}`), signal)).data;
    };
    const cells = async (box: Box): Promise<Cells> => unpack(await fetch("", box, MOST_CELLS));
    const outlines = async (box: Box): Promise<Outlines> => unpackOutlines(await fetch("/outlines", box, MOST_OUTLINES));
    this.cells = new Squares(SQUARE_UM, extent, cells, unpack(new ArrayBuffer(4)), failed);
    this.outlines = new Squares(OUTLINE_SQUARE_UM, extent, outlines, new Map(), failed);
    for (const part of [this.cells, this.outlines]) part.addEventListener("change", () => this.dispatchEvent(new Event("change")));
  }

  within(box: Box): Cells[] {
    return this.cells.within(box);
  }

  /** Outlines by row, as far as they are there. */
  outlinesWithin(box: Box): Outlines[] {
    return this.outlines.within(box);
  }

  /** The cell nearest to a place, within a distance. */
  pick(um: Point, within: number): Picked | null {
    let [best, found] = [within, null as Picked | null];
    this.each(um, within, (cells, at, away) => {
      if (away <= best) [best, found] = [away, pickedOf(cells, at)];
    });
    return found;
  }

  /** The cells in a circle that are of another class. */
  inCircle(um: Point, radius: number, not: Label | null): Picked[] {
    const found: Picked[] = [];
    this.each(um, radius, (cells, at, away) => {
      if (away <= radius && LABELS[cells.label[at] as number] !== not) found.push(pickedOf(cells, at));
    });
    return found;
  }

  /** Show a class at once, before the server has said so. */
  relabel(rows: readonly number[], label: Label): void {
    const wanted = new Set(rows);
    for (const cells of this.cells.held())
      cells.row.forEach((row, at) => {
        if (wanted.has(row)) cells.label[at] = LABELS.indexOf(label);
      });
    this.dispatchEvent(new Event("change"));
  }

  renew(): void {
    this.cells.renew();
  }

  private each([x, y]: Point, reach: number, see: (cells: Cells, at: number, away: number) => void): void {
    const around = { x0: x - reach, y0: y - reach, x1: x + reach, y1: y + reach };
    for (const cells of this.cells.held(around))
      for (let at = 0; at < cells.row.length; at++)
        see(cells, at, Math.hypot((cells.x[at] as number) - x, (cells.y[at] as number) - y));
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
