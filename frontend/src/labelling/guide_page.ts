/** The guideline: how to label; trainers and administrators write it. */

import { get, post, putFile } from "../api";
import { failed, fill, h, tell } from "../dom";
import type { ViewPage } from "../view_page";
import type { Surroundings } from "./edit_page";
import { office, type Project } from "./office";

/** ![what it shows](name) */
const PICTURE = /!\[([^\]\n]*)\]\(([^()\n]+)\)/g;
const MOST_PX = 1600;
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
      h("article", { class: "card guide" }, ...(parts.length ? parts.flatMap(shown) : [h("p", { class: "soft" }, "Nobody has written it yet.")])),
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
    const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", hidden: true, onchange: () => void this.add(file, text) });
    fill(
      this.element,
      h(
        "form",
        { class: "card", onsubmit: (event: Event) => (event.preventDefault(), void save()) },
        h("h1", {}, "Guideline"),
        h("p", { class: "note" }, "An empty line begins a new paragraph; ", h("code", {}, "![what it shows](name)"), " is a picture."),
        text,
        file,
        h("footer", {}, h("button", { type: "button", class: "plain", onclick: () => file.click() }, "Add a picture…"), h("button", { type: "button", class: "plain", onclick: () => this.paint() }, "Leave it"), h("button", { class: "plain main" }, "Save")),
      ),
    );
    text.focus();
  }

  /** Keep a picture and name it where the text is being written. */
  private async add(file: HTMLInputElement, text: HTMLTextAreaElement): Promise<void> {
    const [chosen] = file.files ?? [];
    file.value = "";
    if (!chosen) return;
    try {
      const name = pictureName(chosen.name, `${this.here.project.guideline}\n${text.value}`);
      await putFile(pictureAddress(name), await screenSized(chosen), this.stop.signal);
      text.setRangeText(`\n\n![${name.slice(0, -4)}](${name})\n\n`, text.selectionStart, text.selectionEnd, "end");
      text.focus();
    } catch (error) {
      failed(error);
    }
  }

  close(): void {
    this.stop.abort();
  }
}

/** Name by which a file's picture is kept; another one than those that the guideline shows: phones call every picture "image". */
export function pictureName(file: string, guideline: string): string {
  const taken = new Set(Array.from(guideline.matchAll(PICTURE), ([, , name]) => name));
  const stem = file.replace(/\.[^.]*$/, "").replace(/[^\w .,+-]/g, "-").replace(/^\W+/, "").slice(0, 80) || "picture";
  let name = `${stem}.jpg`;
  for (let number = 2; taken.has(name); number++) name = `${stem}-${number}.jpg`;
  return name;
}

function pictureAddress(name: string): string {
  return office(`guideline/pictures/${encodeURIComponent(name)}`);
}

/** A paragraph, with its pictures between its words. */
function shown(part: string): HTMLElement[] {
  const found: HTMLElement[] = [];
  let from = 0;
  const words = (to: number): void => {
    const text = part.slice(from, to).trim();
    if (text) found.push(h("p", {}, text));
  };
  for (const picture of part.matchAll(PICTURE)) {
    words(picture.index);
    from = picture.index + picture[0].length;
    const [, caption = "", name = ""] = picture;
    found.push(h("figure", {}, h("img", { src: `/api/${pictureAddress(name)}`, alt: caption, loading: "lazy" }), caption ? h("figcaption", {}, caption) : null));
  }
  words(part.length);
  return found;
}

/** As JPEG, no larger than a screen: what a server takes at once. */
async function screenSized(file: File): Promise<Blob> {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) throw new Error(`${file.name} is no picture that this browser can read; PNG, JPEG and WebP are.`);
  const scale = Math.min(1, MOST_PX / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale))];
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser draws no pictures.");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The picture could not be made smaller."))), "image/jpeg", 0.9));
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
  ["w", "magic outline: click, and what looks alike and hangs together is outlined; the zoom says how fine"],
  ["n u x", "the outline is a new area, is added to what it touches, is cut out of it (a hole)"],
  ["q", "corners of an outline go to the edges of areas near them, or not"],
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
