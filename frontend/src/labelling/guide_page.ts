/** The guideline: how to label; trainers and administrators write it. */

import { get, post } from "../api";
import { failed, fill, h, tell } from "../dom";
import type { ViewPage } from "../view_page";
import type { Surroundings } from "./edit_page";
import { office, type Project } from "./office";

const WRITERS = new Set(["trainer", "administrator"]);

export class GuidePage implements ViewPage {
  readonly element = h("div", { class: "page guide-page" });
  private readonly stop = new AbortController();

  constructor(private readonly here: Surroundings) {
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.here.project = await get<Project>(office("project"), this.stop.signal);
      this.paint();
    } catch (error) {
      failed(error);
    }
  }

  private paint(): void {
    const { project, me } = this.here;
    const writes = WRITERS.has(me.role);
    const parts = project.guideline.split(/\n\s*\n/).filter((part) => part.trim());
    fill(
      this.element,
      h("div", { class: "list-head" }, h("h1", {}, "Guideline"), writes ? h("button", { type: "button", class: "plain", onclick: () => this.write() }, "Change it") : null),
      h("article", { class: "card guide" }, ...(parts.length ? parts.map((part) => h("p", {}, part)) : [h("p", { class: "soft" }, "Nobody has written it yet.")])),
      h("section", { class: "card" }, h("h2", {}, "Classes"), h("ul", { class: "class-counts" }, ...project.classes.map((one, number) => h("li", {}, h("i", { class: "swatch", style: { background: one.color } }), h("span", {}, one.name), h("kbd", {}, `${number + 1}`))))),
      h("section", { class: "card" }, h("h2", {}, "Keys"), keys(project.kind === "cells")),
    );
  }

  private write(): void {
    const text = h("textarea", { rows: 18, maxlength: 100_000, "aria-label": "Guideline" });
    text.value = this.here.project.guideline;
    const save = async (): Promise<void> => {
      try {
        await post(office("guideline"), { text: text.value }, this.stop.signal, "PUT");
        tell("The guideline is changed.");
        await this.load();
      } catch (error) {
        failed(error);
      }
    };
    fill(this.element, h("form", { class: "card", onsubmit: (event: Event) => (event.preventDefault(), void save()) }, h("h1", {}, "Guideline"), h("p", { class: "note" }, "An empty line begins a new paragraph."), text, h("footer", {}, h("button", { type: "button", class: "plain", onclick: () => this.paint() }, "Leave it"), h("button", { class: "plain main" }, "Save"))));
    text.focus();
  }

  close(): void {
    this.stop.abort();
  }
}

const COMMON: readonly [string, string][] = [
  ["1 – 9", "class of the next label, or of the chosen one"],
  ["s, Delete", "pick a label; take it away"],
  ["m", "pin a remark to a place"],
  ["h, i", "hide the labels; fill them or not"],
  ["arrows, + −, 0, r", "move, zoom, the whole slide, turn"],
  ["Ctrl+Z, Ctrl+Y", "undo, redo; also what was done before a reload"],
];
const AREAS: readonly [string, string][] = [
  ["g", "outline: drag freely, or click corners; Enter closes"],
  ["n u x", "the outline is a new area, is added to what it touches, is cut out of it (a hole)"],
  ["b e", "brush, eraser"],
  ["j", "join the chosen area with what it touches"],
];
const CELLS: readonly [string, string][] = [
  ["a d", "mark a cell (Shift: the other class); take a mark away"],
  ["[ ]", "square before; next square with fewer than 100 cells"],
];

export function keys(cells: boolean): HTMLElement {
  return h("table", { class: "keys" }, ...[...(cells ? CELLS : AREAS), ...COMMON].map(([key, text]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, text))));
}
