/** What lies on a slide, in squares of it, fetched where it is looked at and kept a while. */

import { overlap, type Box } from "./geometry";

const MOST_SQUARES = 600;

interface Square<T> {
  box: Box;
  held: T | null;
  used: number;
  stale: boolean;
  loading: boolean;
}

/** Squares of a side in µm; `change` is dispatched when one has come. */
export class Squares<T> extends EventTarget {
  private readonly known = new Map<string, Square<T>>();
  private clock = 0;
  private generation = 0;

  constructor(
    private readonly side: number,
    private readonly extent: Box,
    private readonly load: (box: Box) => Promise<T>,
    private readonly nothing: T,
    private readonly failed: (error: unknown) => void,
  ) {
    super();
  }

  /** What is there of the squares that a box touches; what is missing is fetched. */
  within(box: Box): T[] {
    const found: T[] = [];
    const { side, extent } = this;
    this.clock += 1;
    const [x0, x1] = [Math.max(box.x0, extent.x0), Math.min(box.x1, extent.x1)];
    const [y0, y1] = [Math.max(box.y0, extent.y0), Math.min(box.y1, extent.y1)];
    for (let row = Math.floor(y0 / side); row * side <= y1; row++)
      for (let column = Math.floor(x0 / side); column * side <= x1; column++) {
        const square = this.square(column, row);
        square.used = this.clock;
        if ((square.stale || square.held === null) && !square.loading) void this.fetch(square);
        if (square.held !== null) found.push(square.held);
      }
    this.forget();
    return found;
  }

  /** What is there already of the squares that a box touches. */
  *held(box: Box | null = null): Iterable<T> {
    for (const square of this.known.values()) if (square.held !== null && (!box || overlap(square.box, box))) yield square.held;
  }

  /** Fetch anew what is shown; what is there stays until then. */
  renew(): void {
    this.generation += 1;
    for (const square of this.known.values()) square.stale = true;
    this.dispatchEvent(new Event("change"));
  }

  private square(column: number, row: number): Square<T> {
    const key = `${column}:${row}`;
    let square = this.known.get(key);
    if (!square) {
      const [x0, y0] = [column * this.side, row * this.side];
      const box = { x0, y0, x1: x0 + this.side, y1: y0 + this.side };
      square = { box, held: null, used: this.clock, stale: false, loading: false };
      this.known.set(key, square);
    }
    return square;
  }

  private async fetch(square: Square<T>): Promise<void> {
    const { generation } = this;
    square.loading = true;
    try {
      square.held = await this.load(square.box);
      square.stale = generation !== this.generation;
    } catch (error) {
      square.held ??= this.nothing;
      square.stale = false;
      this.failed(error);
    } finally {
      square.loading = false;
    }
    this.dispatchEvent(new Event("change"));
  }

  private forget(): void {
    if (this.known.size <= MOST_SQUARES) return;
    const oldest = [...this.known].sort(([, one], [, other]) => one.used - other.used);
    for (const [key] of oldest.slice(0, this.known.size - MOST_SQUARES)) this.known.delete(key);
  }
}
