/** The studies that a person reads in. */

import { get } from "../api";
import { failed, fill, h } from "../dom";
import type { ViewPage } from "../view_page";
import { office } from "./office";
import { READING_CHIPS, READING_WORDS, type ReadingLine } from "./study";

export class ReadingsPage implements ViewPage {
  readonly element = h("div", { class: "page work-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();

  constructor() {
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.paint(await get<ReadingLine[]>(office("readings"), this.stop.signal));
    } catch (error) {
      failed(error);
      fill(this.element, h("p", { class: "waiting error" }, error instanceof Error ? error.message : ""));
    }
  }

  private paint(lines: readonly ReadingLine[]): void {
    const rows = lines.map((one) => h("li", { class: "reading-line" }, h("div", {}, h("a", { href: `#/reading/${one.study}` }, one.name), h("p", { class: "soft" }, `${one.slides} ${one.slides === 1 ? "slide" : "slides"}, ${one.minutes} min${one.closed ? " · closed" : ""}`)), h("span", { class: `chip ${READING_CHIPS[one.state]}` }, READING_WORDS[one.state])));
    fill(this.element, h("div", { class: "list-head" }, h("h1", {}, "Reader study")), rows.length ? h("ul", { class: "tasks" }, ...rows) : h("p", { class: "nothing" }, "No reader study waits for you."));
  }

  close(): void {
    this.stop.abort();
  }
}
