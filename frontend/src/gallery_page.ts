/** The least certain cells as a wall of pictures, to accept or to give another class, by keyboard. */

import { caseUrl, get, type GalleryCell, type Label } from "./api";
import type { CaseState } from "./case_state";
import { failed, fill, h, tell } from "./dom";
import { count } from "./format";
import { onKeys } from "./keys";
import { address } from "./route";
import type { ViewPage } from "./view_page";

const A_PAGE = 120;
const CROP_UM = 32;
const CLASS_KEYS: Record<string, Label> = { p: "positive", n: "negative", o: "other" };
const HELP = "Arrows move, p n o give a class, Space accepts and goes on, Enter shows the cell on the slide.";

type Order = "uncertain" | "class" | "probability";

export class Gallery implements ViewPage {
  readonly element: HTMLElement;
  private readonly stop = new AbortController();
  private readonly grid = h("ul", { class: "gallery", "aria-label": "Cells", "data-own-keys": true });
  private readonly told = h("output", {});
  private readonly more = h("button", { type: "button", class: "plain", onclick: () => void this.load(true) }, "More");
  private cells: GalleryCell[] = [];
  private total = 0;
  private at = 0;
  private order: Order = "uncertain";
  private label: Label | "" = "";
  private readonly seen: Set<number>;

  constructor(private readonly state: CaseState) {
    this.seen = new Set(JSON.parse(sessionStorage.getItem(this.seenKey) ?? "[]") as number[]);
    const order = choice<Order>("Order", [["uncertain", "least certain first"], ["class", "by class"], ["probability", "most certain first"]], (value) => {
      this.order = value;
      void this.load(false);
    });
    const label = choice<Label | "">("Class", [["", "all classes"], ["positive", "positive"], ["negative", "negative"], ["other", "other"]], (value) => {
      this.label = value;
      void this.load(false);
    });
    this.element = h(
      "div",
      { class: "page gallery-page" },
      h("div", { class: "bar", role: "toolbar", "aria-label": "Gallery" }, order, label, this.told, h("span", { class: "hint" }, HELP)),
      this.grid,
      h("footer", {}, this.more),
    );
    onKeys((key) => this.key(key), this.stop.signal);
    void this.load(false);
  }

  private get seenKey(): string {
    return `ki67.seen.${this.state.id}`;
  }

  private async load(further: boolean): Promise<void> {
    const offset = further ? this.cells.length : 0;
    const query = new URLSearchParams({ order: this.order, offset: `${offset}`, limit: `${A_PAGE}` });
    if (this.label) query.set("label", this.label);
    try {
      const found = await get<{ total: number; cells: GalleryCell[] }>(caseUrl(this.state.id, `/gallery?${query}`), this.stop.signal);
      this.total = found.total;
      if (!further) {
        this.cells = [];
        this.at = 0;
        this.grid.replaceChildren();
      }
      for (const cell of found.cells) this.grid.append(this.tile(cell, this.cells.push(cell) - 1));
      this.more.hidden = this.cells.length >= this.total;
      this.tell();
      if (!further) this.go(0, false);
    } catch (error) {
      failed(error);
    }
  }

  private tile(cell: GalleryCell, at: number): HTMLElement {
    const picture = h("img", {
      src: `/api/${caseUrl(this.state.id, `/cells/${cell.row}/crop.png?size_um=${CROP_UM}`)}`,
      alt: "",
      loading: "lazy",
      width: 96,
      height: 96,
    });
    const button = h("button", { type: "button", tabindex: -1, onclick: () => this.go(at), onfocus: () => this.mark(at) }, h("span", { class: "aimed" }, picture), h("span", { class: "caption" }));
    const element = h("li", {}, button);
    this.paint(element, cell);
    return element;
  }

  private paint(element: Element, cell: GalleryCell): void {
    const button = element.querySelector("button") as HTMLElement;
    const seen = this.seen.has(cell.row);
    const sure = cell.probability === null ? "by hand" : cell.probability.toFixed(2);
    element.className = `${cell.label}${seen ? " seen" : ""}`;
    button.setAttribute("aria-label", `${cell.label}, ${sure}${seen ? ", looked at" : ""}`);
    fill(button.querySelector(".caption") as Element, h("i", { class: `mark ${cell.label}` }), sure, seen ? " ✓" : "");
  }

  private mark(at: number): void {
    this.grid.children[this.at]?.querySelector("button")?.setAttribute("tabindex", "-1");
    this.at = at;
    this.grid.children[at]?.querySelector("button")?.setAttribute("tabindex", "0");
  }

  private go(at: number, focus = true): void {
    const next = Math.max(0, Math.min(this.cells.length - 1, at));
    this.mark(next);
    const button = this.grid.children[next]?.querySelector("button");
    if (focus) button?.focus();
    if (focus && next >= this.cells.length - 1 && this.cells.length < this.total) void this.load(true);
  }

  private get columns(): number {
    const tiles = [...this.grid.children] as HTMLElement[];
    const top = tiles[0]?.offsetTop;
    const second = tiles.findIndex((tile) => tile.offsetTop !== top);
    return second < 0 ? Math.max(1, tiles.length) : second;
  }

  private key(key: KeyboardEvent): boolean {
    if (key.ctrlKey || key.metaKey) {
      const letter = key.key.toLowerCase();
      if (letter !== "z" && letter !== "y") return false;
      void (letter === "z" ? this.state.undo() : this.state.redo()).then(() => this.load(false));
      return true;
    }
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    const step = steps[key.key];
    const label = CLASS_KEYS[key.key];
    if (step) this.go(this.at + step);
    else if (label) this.give(label);
    else if (key.key === " ") this.accept();
    else if (key.key === "Enter") this.showOnSlide();
    else return false;
    return true;
  }

  private accept(): void {
    const cell = this.cells[this.at];
    if (!cell) return;
    this.look(cell);
    this.go(this.at + 1);
  }

  private give(label: Label): void {
    const cell = this.cells[this.at];
    const element = this.grid.children[this.at];
    if (!cell || !element) return;
    if (this.state.locked) return tell("This case is signed out. Open it again to correct it.", "error");
    const before = cell.label;
    if (label !== before) {
      cell.label = label;
      void this.state.change({ kind: "relabel", rows: [cell.row], to: label }, "looked at in the gallery").then((done) => {
        if (done) return;
        cell.label = before;
        this.paint(element, cell);
      });
    }
    this.accept();
  }

  private look(cell: GalleryCell): void {
    this.seen.add(cell.row);
    sessionStorage.setItem(this.seenKey, JSON.stringify([...this.seen]));
    const element = this.grid.children[this.cells.indexOf(cell)];
    if (element) this.paint(element, cell);
    this.tell();
  }

  private showOnSlide(): void {
    const cell = this.cells[this.at];
    if (!cell) return;
    const query = new URLSearchParams({ x: cell.x_um.toFixed(2), y: cell.y_um.toFixed(2), s: "0.25", m: "side" });
    window.location.hash = address(this.state.id, "view", query);
  }

  private tell(): void {
    this.told.textContent = `${count(this.seen.size)} looked at · ${count(this.total)} cells`;
  }

  close(): void {
    this.stop.abort();
  }
}

function choice<T extends string>(label: string, options: [T, string][], act: (value: T) => void): HTMLElement {
  const select = h("select", { "aria-label": label, onchange: () => act(select.value as T) }, ...options.map(([value, text]) => h("option", { value }, text)));
  return select;
}
