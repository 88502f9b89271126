/** What the pointer does on a slide besides moving it: pick, add, remove, paint over many, outline an area. */

import type { Geometry, Label } from "./api";
import type { CellStore, Picked } from "./cells";
import { colourOf } from "./colours";
import { trace } from "./drawings";
import { after, apply, centroid, motion, simplified, type Point } from "./geometry";
import type { Drawing, PointerTool, SlideView, Touch } from "./slide_view";

const PICK_PX = 14;
const LINE_PX = 1.2;
const CLOSE_PX = 10;
const LEAST_CORNERS = 3;

export function pickAt(pane: SlideView, cells: CellStore, um: Point): Picked | null {
  return cells.pick(um, Math.max(PICK_PX * pane.view.umPerPx, 5));
}

/** Pick a cell, or none. */
export function picking(pane: SlideView, cells: CellStore, picked: (cell: Picked | null) => void): PointerTool {
  return { cursor: "default", click: ({ um }) => picked(pickAt(pane, cells, um)) };
}

export function adding(add: (um: Point) => void): PointerTool {
  return { cursor: "copy", click: ({ um }) => add(um) };
}

export function removing(pane: SlideView, cells: CellStore, remove: (cell: Picked) => void): PointerTool {
  return {
    cursor: "crosshair",
    click: ({ um }) => {
      const cell = pickAt(pane, cells, um);
      if (cell) remove(cell);
    },
  };
}

export interface Brush {
  label: Label;
  radiusPx: number;
}

/** Give every cell that is painted over a class, all in one correction. */
export function brushing(pane: SlideView, cells: CellStore, brush: Brush, done: (found: Picked[]) => void): PointerTool {
  const found = new Map<number, Picked>();
  let at: Point | null = null;
  const paint = ({ um }: Touch): void => {
    at = um;
    for (const cell of cells.inCircle(um, brush.radiusPx * pane.view.umPerPx, brush.label)) found.set(cell.row, cell);
    pane.redraw();
  };
  const draw: Drawing = (context) => {
    context.strokeStyle = context.fillStyle = colourOf(brush.label);
    context.lineWidth = 2;
    for (const cell of found.values()) {
      const [x, y] = apply(pane.toScreen, cell.um);
      context.beginPath();
      context.arc(x, y, Math.max(4, 5 / pane.view.umPerPx), 0, 2 * Math.PI);
      context.globalAlpha = 0.35;
      context.fill();
      context.globalAlpha = 1;
      context.stroke();
    }
    if (!at) return;
    const [x, y] = apply(pane.toScreen, at);
    context.setLineDash([4, 3]);
    context.beginPath();
    context.arc(x, y, brush.radiusPx, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
  };
  return {
    cursor: "cell",
    press: (touch) => {
      found.clear();
      paint(touch);
      return true;
    },
    drag: paint,
    release: () => {
      at = null;
      const painted = [...found.values()];
      found.clear();
      pane.redraw();
      if (painted.length) done(painted);
    },
    draw,
  };
}

export interface Outlining extends PointerTool {
  finish(): void;
  cancel(): void;
}

/** Outline an area: drag draws freely, clicks set corners; a double click or the first corner closes it. `put` moves corners. */
export function outlining(pane: SlideView, colour: string, done: (area: Geometry) => void, put: (um: Point) => Point = (um) => um): Outlining {
  let line: Point[] = [];
  let dragged = false;
  const clear = (): void => {
    line = [];
    pane.redraw();
  };
  const finish = (): void => {
    const ring = simplified(line, LINE_PX * pane.view.umPerPx);
    clear();
    if (ring.length >= LEAST_CORNERS) done({ type: "Polygon", coordinates: [[...ring, ring[0] as Point]] });
  };
  return {
    cursor: "crosshair",
    press: () => {
      dragged = false;
      return true;
    },
    drag: ({ um }) => {
      dragged = true;
      line.push(put(um));
      pane.redraw();
    },
    release: () => {
      if (dragged) finish();
    },
    click: ({ um, px }) => {
      if (dragged) return;
      const first = line[0];
      const closes = first && line.length >= LEAST_CORNERS && near(apply(pane.toScreen, first), px);
      if (closes) finish();
      else {
        line.push(put(um));
        pane.redraw();
      }
    },
    double: finish,
    draw: (context) => {
      if (!line.length) return;
      context.beginPath();
      line.forEach((um, at) => {
        const [x, y] = apply(pane.toScreen, um);
        if (at) context.lineTo(x, y);
        else context.moveTo(x, y);
      });
      context.strokeStyle = "#fff";
      context.lineWidth = 5;
      context.stroke();
      context.strokeStyle = colour;
      context.lineWidth = 2.5;
      context.stroke();
      const [x, y] = apply(pane.toScreen, line[0] as Point);
      context.beginPath();
      context.arc(x, y, 5, 0, 2 * Math.PI);
      context.fillStyle = "#fff";
      context.fill();
      context.stroke();
    },
    finish,
    cancel: clear,
  };
}

/** A place on the H&E and the same place on the Ki-67 slide, µm; one of them may still be missing. */
export interface Pair {
  he: Point | null;
  ki67: Point | null;
}

/** Set the same places on both slides: a click fills the first pair that has none here. */
export function pairing(pane: SlideView, pairs: Pair[], changed: () => void): PointerTool {
  const { name } = pane;
  return {
    cursor: "crosshair",
    click: ({ um }) => {
      const open = pairs.find((pair) => pair[name] === null);
      if (open) open[name] = um;
      else pairs.push({ he: null, ki67: null, [name]: um });
      changed();
    },
    draw: (context) => {
      context.font = "700 12px system-ui, sans-serif";
      pairs.forEach((pair, number) => {
        const um = pair[name];
        if (!um) return;
        const [x, y] = apply(pane.toScreen, um);
        for (const [colour, width] of [["#fff", 5], [pair.he && pair.ki67 ? "#b4540a" : "#14181c", 2.2]] as const) {
          context.beginPath();
          context.moveTo(x - 9, y);
          context.lineTo(x + 9, y);
          context.moveTo(x, y - 9);
          context.lineTo(x, y + 9);
          context.strokeStyle = colour;
          context.lineWidth = width;
          context.stroke();
        }
        context.strokeStyle = "#fff";
        context.lineWidth = 4;
        context.strokeText(`${number + 1}`, x + 8, y - 7);
        context.fillStyle = "#14181c";
        context.fillText(`${number + 1}`, x + 8, y - 7);
      });
    },
  };
}

export interface Moved {
  x: number;
  y: number;
  deg: number;
}

/** Show where the region would lie. */
export function nudging(pane: SlideView, polygons: () => readonly (readonly (readonly Point[])[])[], moved: Moved): PointerTool {
  const draw: Drawing = (context) => {
    const middle = centroid(polygons());
    if (!middle || !(moved.x || moved.y || moved.deg)) return;
    const map = after(pane.toScreen, motion(middle, moved.deg, [moved.x, moved.y]));
    context.beginPath();
    for (const rings of polygons()) trace(context, rings, map);
    context.strokeStyle = "#fff";
    context.lineWidth = 5;
    context.stroke();
    context.strokeStyle = "#b4540a";
    context.lineWidth = 2.5;
    context.setLineDash([8, 5]);
    context.stroke();
    context.setLineDash([]);
  };
  return { cursor: "move", draw };
}

function near([x, y]: Point, [u, v]: Point): boolean {
  return Math.hypot(x - u, y - v) <= CLOSE_PX;
}
