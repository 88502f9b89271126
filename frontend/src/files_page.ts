/** The report, and everything other programs can open. */

import { caseUrl, get, type Export } from "./api";
import type { CaseState } from "./case_state";
import { failed, fill, h, icon } from "./dom";
import type { ViewPage } from "./view_page";

/** Of a format that holds one map at a time. */
const MAPS: readonly [string, string][] = [
  ["index", "map of the index"],
  ["heatmap", "map of the probability of carcinoma"],
];

export class FilesPage implements ViewPage {
  readonly element: HTMLElement;
  private readonly list = h("ul", { class: "exports" });

  constructor(state: CaseState) {
    const report = `/api/${caseUrl(state.id, "/report")}`;
    this.element = h(
      "div",
      { class: "page files-page" },
      h(
        "section",
        { class: "downloads", "aria-label": "Exports" },
        h("h2", {}, "Exports"),
        h("p", { class: "note" }, "They hold the case as it is with its corrections."),
        this.list,
        h("h2", {}, "Report"),
        h("p", { class: "note" }, "After corrections it is written anew, which takes some seconds."),
        h("a", { class: "plain", href: report, target: "_blank", rel: "noopener" }, icon("file"), "Open in a tab of its own"),
        h("a", { class: "plain", href: `${report}.pdf`, download: "" }, icon("file"), "Download as PDF"),
      ),
      h("iframe", { src: report, title: "Report", class: "report" }),
    );
    void this.load(state);
  }

  private async load(state: CaseState): Promise<void> {
    try {
      const known = await get<Export[]>(caseUrl(state.id, "/exports"), state.signal);
      fill(
        this.list,
        ...known.flatMap(({ format, what, layers }) =>
          layers ? MAPS.map(([layer, name]) => line(state.id, format, name, layer)) : [line(state.id, format, what)],
        ),
      );
    } catch (error) {
      failed(error);
    }
  }

  close(): void {
    // Nothing goes on by itself here.
  }
}

function line(id: string, format: string, what: string, layer?: string): HTMLElement {
  const query = new URLSearchParams(layer ? { format, layer } : { format });
  const address = `/api/${caseUrl(id, `/export?${query}`)}`;
  return h("li", {}, h("a", { href: address, download: "" }, h("b", {}, `.${format}`), h("span", {}, what)));
}
