/** Lines of values, one for each person, as an SVG. */

import { h, svg } from "../dom";

export interface Series {
  name: string;
  values: readonly number[];
}

export interface Axis {
  low: number;
  high: number;
  unit: string;
  digits: number;
}

const SIZE = { width: 640, height: 220, left: 44, right: 12, top: 10, bottom: 26 };
/** Okabe and Ito's, apart for every kind of colour vision; marks differ as well. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a6f77"] as const;
const DASHES = ["", "6 4", "2 3"] as const;
const STEPS = 4;

export function curve(series: readonly Series[], axis: Axis): HTMLElement {
  const most = Math.max(2, ...series.map(({ values }) => values.length));
  const x = (number: number): number => SIZE.left + ((SIZE.width - SIZE.left - SIZE.right) * number) / (most - 1);
  const y = (value: number): number => SIZE.height - SIZE.bottom - ((SIZE.height - SIZE.top - SIZE.bottom) * (value - axis.low)) / (axis.high - axis.low || 1);
  const drawing = svg("svg", { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, class: "curve", role: "img", "aria-label": `${axis.unit}, ${series.map(described).join("; ")}` });
  for (let step = 0; step <= STEPS; step++) {
    const value = axis.low + ((axis.high - axis.low) * step) / STEPS;
    drawing.append(svg("line", { class: "grid", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y(value), y2: y(value) }));
    drawing.append(svg("text", { class: "tick", x: SIZE.left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(axis.digits)));
  }
  for (let number = 0; number < most; number += Math.max(1, Math.ceil(most / 10))) drawing.append(svg("text", { class: "tick", x: x(number), y: SIZE.height - 8, "text-anchor": "middle" }, `${number + 1}`));
  series.forEach(({ name, values }, at) => {
    const [colour, dash] = style(at);
    drawing.append(svg("polyline", { points: values.map((value, number) => `${x(number)},${y(value)}`).join(" "), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
    values.forEach((value, number) => drawing.append(svg("circle", { cx: x(number), cy: y(value), r: 3.2, fill: colour }, svg("title", {}, `${name}, ${number + 1}: ${value.toFixed(axis.digits)}`))));
  });
  const legend = series.map(({ name }, at) => h("li", {}, svg("svg", { viewBox: "0 0 26 8", class: "line-mark", "aria-hidden": "true" }, svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke: style(at)[0], "stroke-width": 3, "stroke-dasharray": style(at)[1] })), name));
  return h("figure", { class: "curve-box" }, drawing, h("figcaption", {}, h("ul", { class: "legend-line" }, ...legend)));
}

function style(at: number): [string, string] {
  return [COLOURS[at % COLOURS.length] ?? "#000", DASHES[Math.floor(at / COLOURS.length) % DASHES.length] ?? ""];
}

function described({ name, values }: Series): string {
  return values.length ? `${name} from ${values[0]?.toFixed(2)} to ${values.at(-1)?.toFixed(2)}` : `${name} none`;
}
