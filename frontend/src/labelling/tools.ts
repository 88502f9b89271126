/** What the pointer does to labels: outline, paint, erase, pick; points of cells. */

import type { Geometry } from "../api";
import { apply, simplified, type Point } from "../geometry";
import type { PointerTool, SlideView, Touch } from "../slide_view";
import { outlining, type Outlining } from "../tools";
import type { Labels } from "./labels";
import type { Shape } from "./local";
import { newUuid, type Place } from "./office";
import { areaUm2, boxOfPlace, cut, holds, isArea, joined, mended, painted, snapped, touches } from "./shapes";

export type Mode = "new" | "add" | "cut";

const PICK_PX = 12;
const LINE_PX = 1;
const WAIT_PX = 14;
const SNAP_PX = 12;

/** What tools work on. */
export interface Bench {
  pane: SlideView;
  labels: Labels;
  selected: string | null;
  className(): string;
  colour(): string;
  mode(): Mode;
  brushPx(): number;
  /** Whether corners go to the edges of areas near them. */
  snaps(): boolean;
  select(uuid: string | null): void;
}

type Edit = { uuid: string; after: Shape | null };

/** The label under the pointer; of several the smallest. */
export function labelAt(bench: Bench, um: Point): string | null {
  const near = PICK_PX * bench.pane.view.umPerPx;
  let [found, least]: [string | null, number] = [null, Infinity];
  for (const [uuid, { geometry }] of bench.labels.shapes) {
    const size = sizeAt(geometry, um, near);
    if (size < least) [found, least] = [uuid, size];
  }
  return found;
}

function sizeAt(geometry: Place, [x, y]: Point, near: number): number {
  if (!isArea(geometry)) {
    const far = Math.hypot(geometry.coordinates[0] - x, geometry.coordinates[1] - y);
    return far <= near ? far : Infinity;
  }
  const box = boxOfPlace(geometry);
  if (x < box.x0 || x > box.x1 || y < box.y0 || y > box.y1 || !holds(geometry, [x, y])) return Infinity;
  return areaUm2(geometry);
}

/** Areas of a class, the selected one alone where there is one, that an area touches. */
function touched(bench: Bench, area: Geometry, label: string | null): [string, Shape & { geometry: Geometry }][] {
  const found: [string, Shape & { geometry: Geometry }][] = [];
  for (const [uuid, shape] of bench.labels.shapes) {
    if (label !== null && shape.label !== label) continue;
    if (isArea(shape.geometry) && touches(shape.geometry, area)) found.push([uuid, { ...shape, geometry: shape.geometry }]);
  }
  const chosen = found.filter(([uuid]) => uuid === bench.selected);
  return chosen.length ? chosen : found;
}

/** A new label; or, in its mode, one that grows or loses by the area. */
export function place(bench: Bench, drawn: Geometry, mode: Mode): void {
  const area = mended(drawn);
  if (!area) return;
  if (mode === "cut") return bench.labels.edit(touched(bench, area, null).map(([uuid, shape]) => away(uuid, shape, area)));
  const label = bench.className();
  const grown = mode === "add" ? touched(bench, area, label) : [];
  const [first, ...rest] = grown;
  const whole = joined(area, ...grown.map(([, shape]) => shape.geometry));
  if (!whole) return;
  const uuid = first?.[0] ?? newUuid();
  bench.labels.edit([{ uuid, after: { label, geometry: whole } }, ...rest.map(([other]) => ({ uuid: other, after: null }))]);
  bench.select(uuid);
}

function away(uuid: string, shape: Shape & { geometry: Geometry }, area: Geometry): Edit {
  const left = cut(shape.geometry, area);
  return { uuid, after: left ? { label: shape.label, geometry: left } : null };
}

/** The selected area and all of its class that touch it become one. */
export function join(bench: Bench): void {
  const shape = bench.selected ? bench.labels.shapes.get(bench.selected) : undefined;
  if (!bench.selected || !shape || !isArea(shape.geometry)) return;
  const { geometry } = shape;
  const others = touched({ ...bench, labels: bench.labels, selected: null }, geometry, shape.label).filter(([uuid]) => uuid !== bench.selected);
  const whole = joined(geometry, ...others.map(([, other]) => other.geometry));
  if (!others.length || !whole) return;
  bench.labels.edit([{ uuid: bench.selected, after: { label: shape.label, geometry: whole } }, ...others.map(([uuid]) => ({ uuid, after: null }))]);
}

export function picking(bench: Bench): PointerTool {
  return { cursor: "default", click: ({ um }) => bench.select(labelAt(bench, um)) };
}

export function drawing(bench: Bench): Outlining {
  const put = (um: Point): Point => (bench.snaps() ? snapped(um, areasOf(bench), SNAP_PX * bench.pane.view.umPerPx) : um);
  return outlining(bench.pane, bench.colour(), (area) => place(bench, area, bench.mode()), put);
}

function* areasOf(bench: Bench): Iterable<Geometry> {
  for (const { geometry } of bench.labels.shapes.values()) if (isArea(geometry)) yield geometry;
}

/** A round brush that adds to what it touches, or an eraser that takes away. */
export function brushing(bench: Bench, erase: boolean): PointerTool {
  let line: Point[] = [];
  let at: Point | null = null;
  const stroke = ({ um }: Touch): void => {
    at = um;
    line.push(um);
    bench.pane.redraw();
  };
  const finish = (): void => {
    const { umPerPx } = bench.pane.view;
    const area = painted(simplified(line, LINE_PX * umPerPx), bench.brushPx() * umPerPx);
    line = [];
    at = null;
    if (area) place(bench, area, erase ? "cut" : "add");
    bench.pane.redraw();
  };
  return {
    cursor: "cell",
    press: (touch) => {
      line = [];
      stroke(touch);
      return true;
    },
    drag: stroke,
    release: finish,
    draw: (context) => {
      if (!line.length || !at) return;
      const radius = bench.brushPx();
      context.beginPath();
      line.forEach((um, number) => {
        const [x, y] = apply(bench.pane.toScreen, um);
        if (number) context.lineTo(x, y);
        else context.moveTo(x, y);
        if (line.length === 1) context.lineTo(x + 0.01, y);
      });
      context.lineCap = context.lineJoin = "round";
      context.lineWidth = 2 * radius;
      context.globalAlpha = 0.4;
      context.strokeStyle = erase ? "#fff" : bench.colour();
      context.stroke();
      context.globalAlpha = 1;
    },
  };
}

/** One click outlines what looks like the place and hangs together with it; `ask` brings the outline. */
export function wand(bench: Bench, ask: (um: Point) => Promise<Geometry | null>): PointerTool {
  let [waiting, at]: [boolean, Point | null] = [false, null];
  const look = async (um: Point): Promise<void> => {
    [waiting, at] = [true, um];
    const mode = bench.mode();
    bench.pane.redraw();
    const area = await ask(um);
    [waiting, at] = [false, null];
    if (area) place(bench, area, mode);
    bench.pane.redraw();
  };
  return {
    cursor: "crosshair",
    click: ({ um }) => {
      if (!waiting) void look(um);
    },
    draw: (context) => {
      if (!at) return;
      const [x, y] = apply(bench.pane.toScreen, at);
      context.beginPath();
      context.arc(x, y, WAIT_PX, 0, 2 * Math.PI);
      context.setLineDash([5, 4]);
      context.lineWidth = 3;
      context.strokeStyle = bench.colour();
      context.stroke();
      context.setLineDash([]);
    },
  };
}

/** A point for each cell; with Shift of the next class. */
export function marking(bench: Bench, otherClass: () => string): PointerTool {
  return {
    cursor: "crosshair",
    click: ({ um, event }) => {
      const label = event.shiftKey ? otherClass() : bench.className();
      const geometry: Place = { type: "Point", coordinates: [round(um[0]), round(um[1])] };
      bench.labels.edit([{ uuid: newUuid(), after: { label, geometry } }]);
    },
  };
}

export function removing(bench: Bench): PointerTool {
  return {
    cursor: "crosshair",
    click: ({ um }) => {
      const uuid = labelAt(bench, um);
      if (uuid) bench.labels.edit([{ uuid, after: null }]);
    },
  };
}

function round(um: number): number {
  return Math.round(um * 1000) / 1000;
}
