/** What is drawn over a slide: regions, cells near and far, places; all on a canvas, only what is in view. */

import { LABELS, type Features, type Geometry, type Label, type Place } from "./api";
import type { Cells, CellStore, Outlines, Picked, Raster } from "./cells";
import { palette, rgb } from "./colours";
import { apply, boxAround, overlap, type Affine, type Box, type Point, type Size } from "./geometry";
import type { Drawing } from "./slide_view";

/** From here on out cells are one picture of their density; nearer each is drawn. */
export const FAR_UM_PER_PX = 1.8;
/** From here on in each nucleus is outlined. */
const OUTLINE_UM_PER_PX = 0.36;
const RING_UM = 4.2;
const HATCH_PX = 9;

export type Rings = Point[][];

/** Outlines of a collection's features, once read. */
export interface Outline {
  rings: Rings;
  box: Box;
  kind: string;
  reason: string;
  areaMm2: number | null;
}

export function outlinesOf(features: Features | null): Outline[] {
  return (features?.features ?? []).flatMap((feature) =>
    polygonsOf(feature.geometry).map((rings) => ({
      rings,
      box: boxAround(rings.flat()),
      kind: feature.properties.label ?? feature.properties.kind ?? "",
      reason: feature.properties.reason ?? "",
      areaMm2: feature.properties.area_mm2 ?? null,
    })),
  );
}

export function polygonsOf(geometry: Geometry | null): Rings[] {
  if (!geometry) return [];
  if (geometry.type === "Polygon") return [geometry.coordinates as Point[][]];
  if (geometry.type === "MultiPolygon") return geometry.coordinates as Point[][][];
  return [];
}

export function trace(context: CanvasRenderingContext2D, rings: readonly (readonly Point[])[], map: Affine): void {
  for (const ring of rings) {
    ring.forEach((point, at) => {
      const [x, y] = apply(map, point);
      if (at) context.lineTo(x, y);
      else context.moveTo(x, y);
    });
    context.closePath();
  }
}

/** Outlines with a light edge, so that they are seen on any stain. */
export function regions(get: () => readonly Outline[], colour: string, dash: number[] = []): Drawing {
  return (context, pane) => {
    const [map, box] = [pane.toScreen, pane.box()];
    context.beginPath();
    for (const outline of get()) if (overlap(outline.box, box)) trace(context, outline.rings, map);
    context.lineJoin = "round";
    context.strokeStyle = "rgb(255 255 255 / 75%)";
    context.lineWidth = 4.5;
    context.stroke();
    context.setLineDash(dash);
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.stroke();
  };
}

/** Areas that do not count, hatched. */
export function hatched(get: () => readonly Outline[], colour: string): Drawing {
  return (context, pane) => {
    const [map, box, { width, height }] = [pane.toScreen, pane.box(), pane.size];
    context.beginPath();
    let any = false;
    for (const outline of get())
      if (overlap(outline.box, box)) {
        trace(context, outline.rings, map);
        any = true;
      }
    if (!any) return;
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.stroke();
    context.clip("evenodd");
    context.beginPath();
    for (let at = -height; at < width; at += HATCH_PX) {
      context.moveTo(at, height);
      context.lineTo(at + height, 0);
    }
    context.globalAlpha = 0.55;
    context.lineWidth = 1.2;
    context.stroke();
  };
}

/** Density and index from far: how many tumour cells, and how many of them are positive. */
export class RasterPicture {
  private picture: HTMLCanvasElement | null = null;
  private raster: Raster | null = null;

  set(raster: Raster | null): void {
    this.raster = raster;
    this.paint();
  }

  paint(): void {
    const { raster } = this;
    if (!raster || !raster.columns || !raster.rows) {
      this.picture = null;
      return;
    }
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [raster.columns, raster.rows];
    const context = picture.getContext("2d");
    if (!context) return;
    const image = context.createImageData(raster.columns, raster.rows);
    const colours = palette();
    const [hot, cold] = [rgb(colours.positive), rgb(colours.negative)];
    const most = highOf(raster);
    for (let at = 0; at < raster.positive.length; at++) {
      const [positive, negative] = [raster.positive[at] as number, raster.negative[at] as number];
      const cells = positive + negative;
      if (!cells) continue;
      // Colours are not mixed: brown is neither.
      const colour = 2 * positive >= cells ? hot : cold;
      for (let part = 0; part < 3; part++) image.data[4 * at + part] = colour[part] as number;
      image.data[4 * at + 3] = 130 + 110 * Math.min(1, cells / most);
    }
    context.putImageData(image, 0, 0);
    this.picture = picture;
  }

  readonly draw: Drawing = (context, pane) => {
    const { picture, raster } = this;
    if (!picture || !raster || pane.view.umPerPx < FAR_UM_PER_PX) return;
    const { a, b, c, d, e, f } = pane.toScreen;
    context.transform(a, b, c, d, e, f);
    context.imageSmoothingQuality = "medium";
    context.drawImage(picture, raster.x0, raster.y0, raster.columns * raster.cellUm, raster.rows * raster.cellUm);
  };
}

/** A full square of the raster: the 95th of a hundred, so that one crowded square does not pale the rest. */
function highOf(raster: Raster): number {
  const full: number[] = [];
  raster.positive.forEach((positive, at) => {
    const cells = positive + (raster.negative[at] as number);
    if (cells) full.push(cells);
  });
  full.sort((one, other) => one - other);
  return full[Math.floor(0.95 * (full.length - 1))] ?? 1;
}

export interface Near {
  cells: CellStore;
  shown: () => boolean;
  classes: () => ReadonlySet<Label>;
  selected: () => Picked | null;
}

/** Cells near: a ring with a dot is positive, a ring negative, a dot another cell; pale where it does not count. */
export function near(what: Near): Drawing {
  return (context, pane) => {
    if (!what.shown() || pane.view.umPerPx >= FAR_UM_PER_PX) return;
    const map = pane.toScreen;
    const radius = Math.max(2, RING_UM / pane.view.umPerPx);
    const shown = what.classes();
    const found = what.cells.within(pane.box(radius));
    const outlines = pane.view.umPerPx <= OUTLINE_UM_PER_PX ? what.cells.outlinesWithin(pane.box(radius)) : [];
    const shapes = { map, outlines, radius, size: pane.size };
    for (const counted of [0, 1]) for (const label of LABELS) if (shown.has(label)) drawClass(context, found, shapes, label, counted);
    touchedByHand(context, found, shapes, shown);
    const selected = what.selected();
    if (selected) marked(context, apply(map, selected.um), radius);
  };
}

interface Shapes {
  map: Affine;
  outlines: readonly Outlines[];
  radius: number;
  size: Size;
}

/** One path for all cells of a class: thousands are drawn as fast as one. */
function drawClass(context: CanvasRenderingContext2D, found: readonly Cells[], shapes: Shapes, label: Label, counted: number): void {
  const { map, outlines, radius, size } = shapes;
  const number = LABELS.indexOf(label);
  const dot = Math.max(1, radius * 0.24);
  const small = radius < 4;
  context.beginPath();
  for (const cells of found)
    for (let at = 0; at < cells.row.length; at++) {
      if (cells.label[at] !== number || cells.counted[at] !== counted) continue;
      const [ux, uy] = [cells.x[at] as number, cells.y[at] as number];
      const x = map.a * ux + map.c * uy + map.e;
      const y = map.b * ux + map.d * uy + map.f;
      if (x < -radius || y < -radius || x > size.width + radius || y > size.height + radius) continue;
      if (label !== "other" && !traceNucleus(context, outlines, cells.row[at] as number, map)) {
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 2 * Math.PI);
      }
      if (label !== "negative" && !(small && label === "positive")) {
        context.moveTo(x + dot, y);
        context.arc(x, y, dot, 0, 2 * Math.PI);
      }
    }
  const colour = palette()[label];
  context.globalAlpha = counted ? 1 : 0.4;
  context.strokeStyle = "rgb(255 255 255 / 70%)";
  context.lineWidth = small ? 2.6 : 3.6;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = small ? 1.4 : 1.9;
  context.stroke();
  if (small && label === "positive") {
    context.fillStyle = colour;
    context.fill();
  }
  context.globalAlpha = 1;
}

/** A dashed ring around what a person added or gave another class. */
function touchedByHand(context: CanvasRenderingContext2D, found: readonly Cells[], shapes: Shapes, shown: ReadonlySet<Label>): void {
  const { map, size } = shapes;
  const radius = shapes.radius + 3.5;
  context.beginPath();
  for (const cells of found)
    for (let at = 0; at < cells.row.length; at++) {
      if (!cells.corrected[at] || !shown.has(LABELS[cells.label[at] as number] as Label)) continue;
      const [x, y] = apply(map, [cells.x[at] as number, cells.y[at] as number]);
      if (x < -radius || y < -radius || x > size.width + radius || y > size.height + radius) continue;
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
  context.strokeStyle = "rgb(255 255 255 / 80%)";
  context.lineWidth = 3;
  context.stroke();
  context.setLineDash([3, 2.4]);
  context.strokeStyle = "#14181c";
  context.lineWidth = 1.5;
  context.stroke();
  context.setLineDash([]);
}

function traceNucleus(context: CanvasRenderingContext2D, outlines: readonly Outlines[], row: number, map: Affine): boolean {
  for (const outline of outlines) {
    const corners = outline.get(row);
    if (!corners?.length) continue;
    for (let at = 0; at < corners.length; at += 2) {
      const [x, y] = apply(map, [corners[at] as number, corners[at + 1] as number]);
      if (at) context.lineTo(x, y);
      else context.moveTo(x, y);
    }
    context.closePath();
    return true;
  }
  return false;
}

function marked(context: CanvasRenderingContext2D, [x, y]: Point, radius: number): void {
  const half = radius + 7;
  context.beginPath();
  context.rect(x - half, y - half, 2 * half, 2 * half);
  context.strokeStyle = "#fff";
  context.lineWidth = 5;
  context.stroke();
  context.strokeStyle = "#14181c";
  context.lineWidth = 2;
  context.stroke();
}

export function circleBox([x, y, radius]: readonly [number, number, number]): Box {
  return { x0: x - radius, y0: y - radius, x1: x + radius, y1: y + radius };
}

/** Hot spots and fields, each with its name. */
export function places(get: () => readonly Place[], chosen: () => string | null): Drawing {
  return (context, pane) => {
    const map = pane.toScreen;
    const box = pane.box();
    context.font = "600 12px system-ui, sans-serif";
    for (const place of get()) {
      if (!overlap(circleBox(place.circle_um), box)) continue;
      const [x, y] = apply(map, [place.circle_um[0], place.circle_um[1]]);
      const radius = place.circle_um[2] / pane.view.umPerPx;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = "rgb(255 255 255 / 80%)";
      context.lineWidth = place.id === chosen() ? 6 : 4;
      context.stroke();
      context.strokeStyle = place.kind === "hot_spot" ? "#7a3db8" : "#2d3338";
      context.lineWidth = place.id === chosen() ? 3 : 1.6;
      context.stroke();
      context.lineWidth = 3.5;
      context.strokeStyle = "rgb(255 255 255 / 85%)";
      context.textAlign = "center";
      context.strokeText(place.name, x, y - radius - 6);
      context.fillStyle = place.kind === "hot_spot" ? "#5d2791" : "#1d2226";
      context.fillText(place.name, x, y - radius - 6);
    }
  };
}
