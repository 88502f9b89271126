/** All cases: index and interval on one scale, warnings, a small picture; searched and sorted. */

import { caseUrl, get, type CaseLine } from "./api";
import { failed, fill, h, icon, svg } from "./dom";
import { count, interval, percent, when } from "./format";
import { JobsPanel } from "./jobs_panel";
import { address } from "./route";
import type { ViewPage } from "./view_page";

type Column = "name" | "index" | "cells" | "warnings" | "state" | "modified";

const COLUMNS: readonly [Column, string][] = [
  ["name", "Case"],
  ["index", "Ki-67 index"],
  ["cells", "Tumour cells"],
  ["warnings", "Warnings"],
  ["state", "State"],
  ["modified", "Changed"],
];
const AXIS = { width: 150, height: 22, top: 60 };

export class ListPage implements ViewPage {
  readonly element: HTMLElement;
  private readonly stop = new AbortController();
  private readonly body = h("tbody");
  private readonly head = h("tr");
  private readonly told = h("output", { class: "soft" });
  private readonly search = h("input", { type: "search", placeholder: "Search cases", "aria-label": "Search cases", oninput: () => this.paint() });
  private cases: CaseLine[] = [];
  private sort: { by: Column; down: boolean } = { by: "name", down: false };

  constructor() {
    const jobs = new JobsPanel(this.stop.signal, () => void this.load());
    this.element = h(
      "div",
      { class: "page list-page" },
      h("div", { class: "list-head" }, h("h1", {}, "Cases"), this.search, this.told, jobs.button),
      jobs.element,
      h("div", { class: "table-box" }, h("table", { class: "cases" }, h("thead", {}, this.head), this.body)),
    );
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.cases = await get<CaseLine[]>("cases", this.stop.signal);
      this.paint();
    } catch (error) {
      failed(error);
      fill(this.body, h("tr", {}, h("td", { colspan: COLUMNS.length + 1, class: "nothing" }, error instanceof Error ? error.message : "")));
    }
  }

  private paint(): void {
    fill(this.head, h("td", { "aria-hidden": "true" }), ...COLUMNS.map(([column, text]) => this.heading(column, text)));
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.cases.filter((one) => words.every((word) => `${one.name} ${one.state}`.toLowerCase().includes(word)));
    found.sort((one, other) => this.compared(one, other));
    this.told.textContent = found.length === this.cases.length ? `${count(found.length)}` : `${count(found.length)} of ${count(this.cases.length)}`;
    fill(this.body, ...found.map(row));
    if (!found.length) {
      const text = this.cases.length ? "No case of that name." : "No cases here yet. Start a run, or put a case's folder here.";
      fill(this.body, h("tr", {}, h("td", { colspan: COLUMNS.length + 1, class: "nothing" }, text)));
    }
  }

  private heading(column: Column, text: string): HTMLElement {
    const { by, down } = this.sort;
    const turn = (): void => {
      this.sort = { by: column, down: by === column ? !down : false };
      this.paint();
    };
    const sorted = by === column ? (down ? "descending" : "ascending") : "none";
    return h("th", { scope: "col", "aria-sort": sorted, class: `of-${column}` }, h("button", { type: "button", onclick: turn }, text, by === column ? icon("up") : null));
  }

  private compared(one: CaseLine, other: CaseLine): number {
    const { by, down } = this.sort;
    const [a, b] = [valueOf(one, by), valueOf(other, by)];
    if (a === b) return one.name.localeCompare(other.name);
    // What is not known comes last, whichever way.
    if (a === null) return 1;
    if (b === null) return -1;
    const order = typeof a === "string" || typeof b === "string" ? `${a}`.localeCompare(`${b}`, "en", { numeric: true }) : a - b;
    return down ? -order : order;
  }

  close(): void {
    this.stop.abort();
  }
}

export function valueOf(one: CaseLine, column: Column): string | number | null {
  switch (column) {
    case "name":
      return one.name;
    case "index":
      return one.corrected_index_percent ?? one.index_percent;
    case "cells":
      return one.cells;
    case "warnings":
      return one.warnings.length;
    case "state":
      return stateOf(one);
    default:
      return one.modified;
  }
}

function stateOf(one: CaseLine): string {
  return one.signed_out ? "signed out" : one.state;
}

function row(one: CaseLine): HTMLElement {
  const corrected = one.corrected_index_percent;
  const shown = corrected ?? one.index_percent;
  const range = corrected === null ? one.ci95_percent : one.corrected_ci95_percent;
  const link = address(one.id);
  const picture = `/api/${caseUrl(one.id, "/slides/ki67/thumbnail.jpg")}`;
  const img = h("img", { src: picture, alt: "", loading: "lazy", onerror: () => img.remove() });
  return h(
    "tr",
    { class: one.state },
    h("td", { class: "thumb" }, h("a", { href: link, tabindex: -1, "aria-hidden": "true" }, one.state === "damaged" ? null : img)),
    h("th", { scope: "row" }, h("a", { href: link }, one.name), one.error ? h("p", { class: "error" }, one.error) : null),
    h(
      "td",
      { class: "score-cell" },
      shown === null
        ? "–"
        : h(
            "div",
            { class: "with-axis" },
            h("b", {}, percent(shown)),
            axis(shown, range),
            h("span", { class: "soft" }, interval(range), corrected === null ? "" : ` · automatic ${percent(one.index_percent)}`),
          ),
    ),
    h("td", { class: "cells" }, one.cells === null ? "–" : count(one.cells)),
    h("td", { class: "warnings" }, one.warnings.length ? warned(one.warnings) : h("span", { class: "soft" }, "none")),
    h("td", { class: "state" }, h("span", { class: `chip ${one.signed_out ? "signed" : one.state}` }, stateOf(one)), one.corrections ? h("span", { class: "soft" }, `${one.corrections} corrections`) : null),
    h("td", { class: "modified soft" }, when(one.modified)),
  );
}

function warned(warnings: string[]): HTMLElement {
  return h("details", {}, h("summary", {}, icon("warn"), `${warnings.length}`), h("ul", {}, ...warnings.map((text) => h("li", {}, text))));
}

function axis(index: number, range: readonly [number, number] | null): SVGElement {
  const x = (value: number): number => 2 + ((AXIS.width - 4) * Math.min(value, AXIS.top)) / AXIS.top;
  const drawing = svg("svg", { viewBox: `0 0 ${AXIS.width} ${AXIS.height}`, class: "strip", "aria-hidden": "true" });
  drawing.append(svg("line", { class: "axis", x1: 2, x2: AXIS.width - 2, y1: 11, y2: 11 }));
  for (const value of [20, 40]) drawing.append(svg("line", { class: "axis", x1: x(value), x2: x(value), y1: 8, y2: 14 }));
  if (range) drawing.append(svg("rect", { class: "band", x: x(range[0]), width: Math.max(2, x(range[1]) - x(range[0])), y: 7, height: 8, rx: 4 }));
  drawing.append(svg("circle", { class: "now", cx: x(index), cy: 11, r: 4 }));
  return drawing;
}
