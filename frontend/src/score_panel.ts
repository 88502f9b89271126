/** The index, its interval and its cut-offs; the automatic count and the corrected one side by side. */

import type { CutOff, Numbers } from "./api";
import type { CaseState } from "./case_state";
import { add, fill, h, icon, svg } from "./dom";
import { count, interval, percent, points, when } from "./format";

const LEAST_SCALE = 40;
const STRIP = { width: 280, height: 62, left: 8, right: 272, line: 34 };

export function scorePanel(state: CaseState): HTMLElement {
  const element = h("section", { class: "score", "aria-label": "Ki-67 index", "aria-live": "polite" });
  const paint = (): void => paintScore(element, state);
  for (const what of ["numbers", "history"]) state.addEventListener(what, paint, { signal: state.signal });
  paint();
  return element;
}

function paintScore(element: HTMLElement, state: CaseState): void {
  const { automatic, corrected } = state.facts;
  const shown = corrected ?? automatic;
  const warnings = shown?.warnings ?? state.facts.warnings;
  if (!automatic || !shown) return fill(element, h("p", { class: "note" }, state.facts.error ?? "This case has no score yet."));
  fill(
    element,
    h(
      "div",
      { class: "index" },
      h("div", { class: "index-value", "data-test": "index" }, percent(shown.index_percent)),
      h(
        "div",
        { class: "index-about" },
        h("div", {}, "Ki-67 index", corrected ? ", corrected" : ""),
        h("div", { class: "soft" }, `95 % interval ${interval(shown.ci95_percent)}`),
      ),
    ),
    strip(automatic, corrected),
    table(automatic, corrected),
    cutOffs(shown.cut_offs ?? []),
    warnings.length
      ? h(
          "details",
          { class: "warnings" },
          h("summary", {}, icon("warn"), `${warnings.length} ${warnings.length === 1 ? "warning" : "warnings"}`),
          h("ul", {}, ...warnings.map((text) => h("li", {}, text))),
        )
      : null,
    signed(state),
  );
}

function signed(state: CaseState): HTMLElement {
  const { signed_out_by, signed_out_when } = state.facts;
  if (!state.locked) return h("p", { class: "note" }, "Research software, not a medical device.");
  return h("p", { class: "signed" }, icon("lock"), `Signed out by ${signed_out_by ?? "somebody"}, ${when(signed_out_when)}`);
}

/** The index on its scale: both counts, the interval, published cut-offs. */
function strip(automatic: Numbers, corrected: Numbers | null): SVGElement {
  const all = [automatic, corrected].flatMap((one) => (one ? [one.index_percent ?? 0, ...(one.ci95_percent ?? [])] : []));
  const top = Math.min(100, Math.max(LEAST_SCALE, Math.ceil((Math.max(...all) * 1.15) / 10) * 10));
  const x = (value: number): number => STRIP.left + ((STRIP.right - STRIP.left) * Math.min(value, top)) / top;
  const drawing = svg("svg", {
    viewBox: `0 0 ${STRIP.width} ${STRIP.height}`,
    class: "strip",
    role: "img",
    "aria-label": `index ${percent((corrected ?? automatic).index_percent)} on a scale up to ${top} %`,
  });
  add(drawing, svg("line", { class: "axis", x1: STRIP.left, x2: STRIP.right, y1: STRIP.line, y2: STRIP.line }));
  for (let value = 0; value <= top; value += top > 60 ? 20 : 10) {
    add(drawing, svg("line", { class: "axis", x1: x(value), x2: x(value), y1: STRIP.line, y2: STRIP.line + 4 }));
    const anchor = value === 0 ? "start" : value === top ? "end" : "middle";
    add(drawing, svg("text", { class: "tick", x: value === 0 ? 4 : x(value), y: STRIP.line + 17, "text-anchor": anchor }, `${value}`));
  }
  const shown = corrected ?? automatic;
  for (const value of limits(shown.cut_offs ?? [], top))
    add(drawing, svg("line", { class: "cut", x1: x(value), x2: x(value), y1: 6, y2: STRIP.line }));
  if (shown.ci95_percent) {
    const [low, high] = shown.ci95_percent;
    add(drawing, svg("rect", { class: "band", x: x(low), width: Math.max(2, x(high) - x(low)), y: STRIP.line - 16, height: 12, rx: 6 }));
  }
  if (corrected && automatic.index_percent !== null)
    add(drawing, svg("circle", { class: "automatic", cx: x(automatic.index_percent), cy: STRIP.line - 10, r: 5 }));
  if (shown.index_percent !== null) add(drawing, svg("circle", { class: "now", cx: x(shown.index_percent), cy: STRIP.line - 10, r: 5.5 }));
  return drawing;
}

function limits(cutOffs: readonly CutOff[], top: number): number[] {
  return [...new Set(cutOffs.flatMap((one) => one.values_percent))].filter((value) => value <= top);
}

function table(automatic: Numbers, corrected: Numbers | null): HTMLElement {
  const columns = corrected ? [automatic, corrected] : [automatic];
  const row = (name: string, of: (one: Numbers) => string, mark?: string): HTMLElement =>
    h("tr", {}, h("th", { scope: "row" }, mark ? h("i", { class: `mark ${mark}` }) : null, name), ...columns.map((one) => h("td", {}, of(one))));
  const change =
    corrected?.index_percent != null && automatic.index_percent !== null
      ? ` (${points(corrected.index_percent - automatic.index_percent)})`
      : "";
  return h(
    "table",
    { class: "numbers" },
    corrected
      ? h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, "automatic"), h("th", { scope: "col" }, "corrected")))
      : null,
    h(
      "tbody",
      {},
      row("index", (one) => percent(one.index_percent, 2) + (one === corrected ? change : "")),
      row("positive", (one) => count(one.positive), "positive"),
      row("negative", (one) => count(one.negative), "negative"),
      row("tumour cells", (one) => count(one.positive + one.negative)),
      automatic.area_mm2 == null ? null : row("area", (one) => (one.area_mm2 == null ? "–" : `${one.area_mm2.toFixed(2)} mm²`)),
    ),
  );
}

function cutOffs(all: readonly CutOff[]): HTMLElement | null {
  const told = all.filter((one) => one.class);
  if (!told.length) return null;
  return h(
    "details",
    { class: "cut-offs" },
    h("summary", {}, "Published cut-offs"),
    h("ul", {}, ...told.map((one) => h(
          "li",
          { title: `${one.source}; ${one.population}` },
          h("span", {}, one.name, h("span", { class: "soft" }, ` at ${one.values_percent.join(", ")} %`)),
          h("b", {}, one.equivocal ? `${one.class}, equivocal` : one.class),
        ))),
  );
}
