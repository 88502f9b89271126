/** The report, and everything other programs can open. */

import { caseUrl, get, type Export } from "./api";
import type { CaseState } from "./case_state";
import { failed, fill, h, icon } from "./dom";
import type { ViewPage } from "./view_page";

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
        h("p", { class: "note" }, "They hold the automatic count. Corrections lie beside it, in corrections.json."),
        this.list,
        h("h2", {}, "Report"),
        h("a", { class: "plain", href: report, target: "_blank", rel: "noopener" }, icon("file"), "Open in a tab of its own"),
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
        ...known.map(({ format, what }) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: `/api/${caseUrl(state.id, `/export?format=${encodeURIComponent(format)}`)}`, download: "" },
              h("b", {}, `.${format}`),
              h("span", {}, what),
            ),
          ),
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
