/** Labels, squares to count in, remarks and versions as they are drawn over a slide. */

import { polygonsOf, trace } from "../drawings";
import { apply, overlap, type Affine, type Point } from "../geometry";
import type { Drawing, SlideView } from "../slide_view";
import type { Shape } from "./local";
import type { Remark } from "./office";
import { boxOfPlace, isArea } from "./shapes";

const RING_UM = 4.2;
const EDGE = "rgb(255 255 255 / 80%)";
const PIN_PX = 10;

export interface Drawn {
  shapes: () => Iterable<[string, Shape]>;
  colourOf: (label: string) => string;
  /** Number of the class, from 0. */
  numberOf: (label: string) => number;
  selected: () => string | null;
  filled: () => boolean;
}

export function labels(what: Drawn): Drawing {
  return (context, pane) => {
    const box = pane.box(20);
    const selected = what.selected();
    for (const [uuid, shape] of what.shapes())
      if (overlap(boxOfPlace(shape.geometry), box)) one(context, pane, shape, what, uuid === selected);
  };
}

function one(context: CanvasRenderingContext2D, pane: SlideView, shape: Shape, what: Drawn, selected: boolean): void {
  const colour = what.colourOf(shape.label);
  if (isArea(shape.geometry)) return area(context, pane.toScreen, shape, colour, selected, what.filled());
  const [x, y] = apply(pane.toScreen, shape.geometry.coordinates);
  const radius = Math.max(3.5, RING_UM / pane.view.umPerPx);
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  stroke(context, colour, selected ? 3.4 : 2);
  if (what.numberOf(shape.label) === 0) dot(context, [x, y], Math.max(1.4, radius * 0.26), colour);
  if (selected) square(context, [x, y], radius + 6);
}

function area(context: CanvasRenderingContext2D, map: Affine, shape: Shape, colour: string, selected: boolean, filled: boolean): void {
  if (!isArea(shape.geometry)) return;
  context.beginPath();
  for (const rings of polygonsOf(shape.geometry)) trace(context, rings, map);
  if (filled) {
    context.globalAlpha = selected ? 0.28 : 0.16;
    context.fillStyle = colour;
    context.fill("evenodd");
    context.globalAlpha = 1;
  }
  context.lineJoin = "round";
  stroke(context, colour, selected ? 4 : 2);
}

function stroke(context: CanvasRenderingContext2D, colour: string, width: number): void {
  context.strokeStyle = EDGE;
  context.lineWidth = width + 2.4;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

function dot(context: CanvasRenderingContext2D, [x, y]: Point, radius: number, colour: string): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

function square(context: CanvasRenderingContext2D, [x, y]: Point, half: number): void {
  context.beginPath();
  context.rect(x - half, y - half, 2 * half, 2 * half);
  stroke(context, "#14181c", 2);
}

/** Versions of labels that are not those of now: dashed. */
export function ghosts(shapes: () => Iterable<Shape>, colour: string): Drawing {
  return (context, pane) => {
    context.setLineDash([7, 5]);
    for (const shape of shapes()) {
      context.beginPath();
      if (isArea(shape.geometry)) for (const rings of polygonsOf(shape.geometry)) trace(context, rings, pane.toScreen);
      else {
        const [x, y] = apply(pane.toScreen, shape.geometry.coordinates);
        context.arc(x, y, Math.max(6, (1.6 * RING_UM) / pane.view.umPerPx), 0, 2 * Math.PI);
      }
      stroke(context, colour, 2.4);
    }
    context.setLineDash([]);
  };
}

/** Squares in which cells are counted, each with its number. */
export function squares(get: () => readonly (readonly [number, number, number])[], chosen: () => number): Drawing {
  return (context, pane) => {
    context.font = "600 13px system-ui, sans-serif";
    get().forEach(([x, y, side], number) => {
      const corners: Point[] = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]];
      context.beginPath();
      trace(context, [corners], pane.toScreen);
      stroke(context, "#1d2226", number === chosen() ? 3 : 1.5);
      const [u, v] = apply(pane.toScreen, [x, y]);
      context.lineWidth = 3.5;
      context.strokeStyle = EDGE;
      context.strokeText(`${number + 1}`, u + 5, v + 16);
      context.fillStyle = "#1d2226";
      context.fillText(`${number + 1}`, u + 5, v + 16);
    });
  };
}

/** Remarks at their places, open ones filled. */
export function pins(get: () => readonly Remark[], chosen: () => number | null): Drawing {
  return (context, pane) => {
    context.font = "700 12px system-ui, sans-serif";
    context.textAlign = "center";
    get().forEach((remark, number) => {
      if (remark.x_um === null || remark.y_um === null) return;
      const [x, y] = apply(pane.toScreen, [remark.x_um, remark.y_um]);
      context.beginPath();
      context.moveTo(x, y);
      context.arc(x, y - 1.9 * PIN_PX, PIN_PX, Math.PI * 0.8, Math.PI * 0.2);
      context.closePath();
      context.fillStyle = remark.settled ? "#6a6f77" : "#b4540a";
      context.strokeStyle = remark.remark === chosen() ? "#14181c" : "#fff";
      context.lineWidth = 2.5;
      context.stroke();
      context.fill();
      context.fillStyle = "#fff";
      context.fillText(`${number + 1}`, x, y - 1.9 * PIN_PX + 4);
    });
  };
}
