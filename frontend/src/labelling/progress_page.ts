/** How far the project is, how far people agree, how they learn: for everybody. */

import { get } from "../api";
import { failed, fill, h } from "../dom";
import { count } from "../format";
import type { ViewPage } from "../view_page";
import { curve, type Series } from "./curve";
import type { Surroundings } from "./edit_page";
import { office, STATE_WORDS, type Agreement, type CurvePoint, type PersonLine, type Progress, type State } from "./office";

const SHADES = 0.82;

export class ProgressPage implements ViewPage {
  readonly element = h("div", { class: "page progress-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();
  private of = "";

  constructor(readonly here: Surroundings) {
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.paint(await get<Progress>(office("progress"), this.stop.signal));
    } catch (error) {
      failed(error);
    }
  }

  private paint(progress: Progress): void {
    const share = progress.slides ? progress.done / progress.slides : 0;
    fill(
      this.element,
      h("div", { class: "list-head" }, h("h1", {}, "Progress"), h("span", { class: "soft" }, progress.project)),
      h("section", { class: "card" },
        h("div", { class: "done-line" }, h("b", {}, `${count(progress.done)} of ${count(progress.slides)}`), h("span", {}, "slides accepted"), h("progress", { max: 1, value: share, "aria-label": "Slides accepted" })),
        h("ul", { class: "states" }, ...Object.entries(progress.states).map(([state, number]) => h("li", {}, h("span", { class: `chip ${state}` }, STATE_WORDS[state as State] ?? state), h("b", {}, count(number))))),
      ),
      h("section", { class: "card" }, h("h2", {}, "People"), people(progress.people)),
      h("section", { class: "card" }, h("h2", {}, "Agreement"), this.agreement(progress)),
      h("section", { class: "card" }, h("h2", {}, "Learning curves"), h("p", { class: "note" }, "What was handed in first, compared with what was accepted; training slides with their known answer. From left to right, slide after slide."), curves(progress.curves)),
      h("section", { class: "card" }, h("h2", {}, "Time for a slide"), times(progress.curves)),
    );
  }

  private agreement(progress: Progress): HTMLElement {
    if (!progress.agreement.length) return h("p", { class: "note" }, "No slide has been handed in by two people yet.");
    const classes = [...new Set(progress.agreement.flatMap((one) => Object.keys(one.classes)))].sort();
    const what = progress.kind === "cells" ? "F1 of cells within 6 µm" : "Dice coefficient";
    const choice = h("select", { "aria-label": "Class", onchange: () => ((this.of = choice.value), this.paint(progress)) }, h("option", { value: "" }, "all classes"), ...classes.map((name) => h("option", { value: name }, name)));
    choice.value = this.of;
    const icc = progress.index_icc === null ? null : h("p", { class: "note" }, `ICC(A,1) of the indices of the two who share most slides: ${progress.index_icc.toFixed(3)}`);
    return h("div", {}, h("p", { class: "matrix-head" }, `${what}, `, choice), matrix(progress.agreement, this.of), icc);
  }

  close(): void {
    this.stop.abort();
  }
}

function people(lines: readonly PersonLine[]): HTMLElement {
  const rows = lines
    .filter((one) => one.active)
    .map((one) => {
      const tasks = one.tasks ?? {};
      const [all, done] = [sum(Object.values(tasks)), sum(["accepted", "qc_selected", "qc_passed"].map((state) => tasks[state] ?? 0))];
      return h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, one.role), h("td", {}, one.group ?? ""), h("td", { class: "number" }, all ? `${done} of ${all}` : "–"), h("td", { class: "number" }, tasks["returned"] ? `${tasks["returned"]}` : ""), h("td", { class: "number" }, one.minutes_per_slide === null || one.minutes_per_slide === undefined ? "–" : `${one.minutes_per_slide.toFixed(1)} min`));
    });
  return h("div", { class: "table-box" }, h("table", { class: "plain-table" }, head("Name", "Role", "Group", "Accepted", "Sent back", "A slide"), h("tbody", {}, ...rows)));
}

export function head(...names: string[]): HTMLElement {
  return h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name))));
}

/** Everybody with everybody, darker where they agree more. */
function matrix(pairs: readonly Agreement[], of: string): HTMLElement {
  const names = [...new Set(pairs.flatMap((pair) => [pair.first, pair.second]))].sort();
  const found = new Map<string, Agreement>();
  for (const pair of pairs) {
    found.set(`${pair.first}\n${pair.second}`, pair);
    found.set(`${pair.second}\n${pair.first}`, pair);
  }
  const cell = (row: string, column: string): HTMLElement => {
    const pair = found.get(`${row}\n${column}`);
    const value = pair ? (of ? pair.classes[of] : pair.agreement) : undefined;
    if (row === column) return h("td", { class: "same" });
    if (!pair || value === null || value === undefined) return h("td", { class: "none" }, "–");
    const range = pair.ci95 && !of ? `95 % ${pair.ci95[0].toFixed(2)} to ${pair.ci95[1].toFixed(2)}, ` : "";
    return h("td", { title: `${row} and ${column}: ${range}${pair.slides} slides`, style: { background: `color-mix(in srgb, var(--accent) ${Math.round(100 * SHADES * value ** 2)}%, transparent)`, color: value > 0.75 ? "var(--accent-ink)" : "inherit" } }, value.toFixed(2), h("small", {}, `${pair.slides}`));
  };
  return h("div", { class: "table-box" }, h("table", { class: "matrix" }, h("thead", {}, h("tr", {}, h("td"), ...names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...names.map((row) => h("tr", {}, h("th", { scope: "row" }, row), ...names.map((column) => cell(row, column)))))));
}

function byPerson(points: readonly CurvePoint[]): Map<string, CurvePoint[]> {
  const found = new Map<string, CurvePoint[]>();
  for (const point of points) found.set(point.person, [...(found.get(point.person) ?? []), point]);
  return found;
}

function curves(points: readonly CurvePoint[]): Node {
  const series: Series[] = [...byPerson(points)].map(([name, own]) => ({ name, values: own.map((point) => point.agreement).filter((value): value is number => value !== null) }));
  return series.some(({ values }) => values.length) ? curve(series, { low: 0, high: 1, unit: "agreement", digits: 2 }) : h("p", { class: "note" }, "Nothing was accepted yet.");
}

function times(points: readonly CurvePoint[]): Node {
  const series = [...byPerson(points)].map(([name, own]) => ({ name, values: own.map((point) => point.minutes) }));
  const most = Math.max(0, ...series.flatMap(({ values }) => values));
  return most > 0 ? curve(series, { low: 0, high: most, unit: "minutes", digits: most < 10 ? 1 : 0 }) : h("p", { class: "note" }, "No time was kept yet.");
}

function sum(values: readonly number[]): number {
  return values.reduce((all, one) => all + one, 0);
}
