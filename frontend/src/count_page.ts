/** Count the guideline fields by eye without seeing what the program counted; then see how far apart the two are. */

import { caseUrl, get, post, type CountedField, type Field, type Label } from "./api";
import type { CaseState } from "./case_state";
import { colourOf } from "./colours";
import { failed, fill, h, press, tell } from "./dom";
import { circleBox } from "./drawings";
import { count, indexOf, percent, points } from "./format";
import { apply, type Point } from "./geometry";
import { onKeys } from "./keys";
import { SlideView, type Drawing } from "./slide_view";
import type { ViewPage } from "./view_page";

interface Mark {
  um: Point;
  label: "positive" | "negative";
}

const MARK_UM = 4;
const PICK_PX = 9;

export class CountPage implements ViewPage {
  readonly element: HTMLElement;
  private readonly stop = new AbortController();
  private readonly pane: SlideView;
  private readonly list = h("ol", { class: "places fields" });
  private readonly board = h("section", { class: "board", "aria-live": "polite" });
  private readonly overall = h("section", { class: "overall", "aria-live": "polite" });
  private fields: Field[] = [];
  private known = false;
  private field: Field | null = null;
  private hand: Mark["label"] = "positive";

  constructor(private readonly state: CaseState) {
    const slide = state.facts.slides.ki67;
    if (!slide?.available) throw new Error(slide?.why_not ?? "This case has no Ki-67 slide.");
    this.pane = new SlideView("ki67", "Ki-67", slide);
    this.pane.drawings.push(this.draw);
    this.pane.pointerTool = { cursor: "crosshair", click: ({ um, event }) => this.click(um, (event as MouseEvent).shiftKey) };
    this.pane.addEventListener("ready", () => this.choose(this.field), { once: true });
    this.element = h(
      "div",
      { class: "viewer count-page" },
      h("div", { class: "stage" }, h("div", { class: "panes", "data-mode": "ki67" }, this.pane.element)),
      h(
        "aside",
        { class: "panel", "aria-label": "Count" },
        h("h2", {}, "Count it yourself"),
        h("p", { class: "note" }, "Mark every tumour cell whose nucleus lies in the circle. What the program counted is told when you have entered your count."),
        this.list,
        this.board,
        this.overall,
      ),
    );
    this.pane.element.style.setProperty("--cursor", "crosshair");
    onKeys((key) => this.key(key), this.stop.signal);
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      const by = this.state.by ? `?by=${encodeURIComponent(this.state.by)}` : "";
      this.fields = await get<Field[]>(caseUrl(this.state.id, `/fields${by}`), this.stop.signal);
      this.known = true;
      this.choose(this.fields.find((field) => !field.program) ?? this.fields[0] ?? null);
    } catch (error) {
      failed(error);
    }
  }

  private choose(field: Field | null): void {
    this.field = field;
    if (field && this.pane.ready) this.pane.fly(circleBox(circleOf(field)), 1.15);
    this.paint();
  }

  private get key_(): string {
    return `ki67.marks.${this.state.id}.${this.field?.id}.${this.state.by}`;
  }

  private get marks(): Mark[] {
    return JSON.parse(sessionStorage.getItem(this.key_) ?? "[]") as Mark[];
  }

  private set marks(marks: Mark[]) {
    sessionStorage.setItem(this.key_, JSON.stringify(marks));
    this.paint();
  }

  private of(label: Label): number {
    return this.marks.filter((mark) => mark.label === label).length;
  }

  private click(um: Point, other: boolean): void {
    const { field } = this;
    if (!field || field.program) return;
    const marks = this.marks;
    const near = marks.findIndex((mark) => Math.hypot(mark.um[0] - um[0], mark.um[1] - um[1]) < PICK_PX * this.pane.view.umPerPx);
    if (near >= 0) marks.splice(near, 1);
    else if (Math.hypot(um[0] - field.x_um, um[1] - field.y_um) > field.radius_um) return tell("Outside the circle: not counted.", "error");
    else marks.push({ um, label: other === (this.hand === "positive") ? "negative" : "positive" });
    this.marks = marks;
  }

  private readonly draw: Drawing = (context, pane) => {
    const { field } = this;
    if (!field) return;
    const [x, y] = apply(pane.toScreen, [field.x_um, field.y_um]);
    const radius = field.radius_um / pane.view.umPerPx;
    const { width, height } = pane.size;
    context.beginPath();
    context.rect(0, 0, width, height);
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = "rgb(20 24 28 / 45%)";
    context.fill("evenodd");
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.stroke();
    for (const mark of this.marks) {
      const [u, v] = apply(pane.toScreen, mark.um);
      const size = Math.max(4, MARK_UM / pane.view.umPerPx);
      context.beginPath();
      context.arc(u, v, size, 0, 2 * Math.PI);
      context.strokeStyle = "#fff";
      context.lineWidth = 4.5;
      context.stroke();
      context.strokeStyle = context.fillStyle = colourOf(mark.label);
      context.lineWidth = 2.2;
      context.stroke();
      if (mark.label === "positive") {
        context.beginPath();
        context.arc(u, v, size / 3, 0, 2 * Math.PI);
        context.fill();
      }
    }
  };

  private paint(): void {
    fill(this.list, ...this.fields.map((field, at) => this.line(field, at)));
    if (!this.fields.length) fill(this.list, h("li", { class: "soft" }, this.known ? "This case has no guideline fields." : "Reading…"));
    fill(this.board, ...(this.field ? (this.field.program ? this.compared(this.field) : this.counting()) : []));
    this.pane.redraw();
  }

  private line(field: Field, at: number): HTMLElement {
    const told = field.program && field.count ? `${points(field.difference_points ?? 0)} points` : "not counted yet";
    const current = field === this.field ? "true" : null;
    return h(
      "li",
      {},
      h("button", { type: "button", "aria-current": current, onclick: () => this.choose(field) }, h("span", {}, field.name || `Field ${at + 1}`), h("b", { class: field.program ? null : "soft" }, told)),
    );
  }

  private counting(): HTMLElement[] {
    const classes = (["positive", "negative"] as const).map((label) => {
      const button = h("button", { type: "button", class: "tally", onclick: () => this.take(label) }, h("i", { class: `mark ${label}` }), label, h("b", {}, `${this.of(label)}`));
      press(button, this.hand === label);
      return button;
    });
    return [
      h("div", { class: "tallies", role: "group", "aria-label": "Class of the next mark" }, ...classes),
      h("p", { class: "hint" }, "Click marks a cell, Shift-click the other class, a click on a mark takes it away. Keys: p, n; Backspace takes the last away."),
      h("button", { type: "button", class: "plain main", disabled: !this.marks.length, onclick: () => void this.enter() }, "Enter this count"),
    ];
  }

  private take(label: Mark["label"]): void {
    this.hand = label;
    this.paint();
  }

  private compared(field: Field): HTMLElement[] {
    const mine = field.count;
    const theirs = field.program;
    if (!mine || !theirs) return [];
    const row = (name: string, one: string, other: string): HTMLElement => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, one), h("td", {}, other));
    return [
      h(
        "table",
        { class: "numbers" },
        h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, mine.by), h("th", { scope: "col" }, "program"))),
        h(
          "tbody",
          {},
          row("positive", count(mine.positive), count(theirs.positive)),
          row("negative", count(mine.negative), count(theirs.negative)),
          row("index", percent(indexOf(mine.positive, mine.negative)), percent(indexOf(theirs.positive, theirs.negative))),
        ),
      ),
      h("p", { class: "difference" }, `You are ${points(field.difference_points ?? 0)} points from the program here.`),
    ];
  }

  private async enter(): Promise<void> {
    const { field, state } = this;
    if (!field) return;
    if (!state.by) return this.askName();
    try {
      const body = { by: state.by, positive: this.of("positive"), negative: this.of("negative") };
      const told = await post<CountedField>(caseUrl(state.id, `/fields/${encodeURIComponent(field.id)}/counts`), body, this.stop.signal);
      this.fields = this.fields.map((one) => (one.id === field.id ? told : one));
      this.field = told;
      const { overall } = told;
      fill(
        this.overall,
        h("h3", {}, `All ${overall.fields} counted ${overall.fields === 1 ? "field" : "fields"}`),
        h("p", {}, `You ${percent(overall.count.index_percent)}, program ${percent(overall.program.index_percent)}: `, h("b", {}, `${points(overall.difference_points)} points`)),
      );
      this.paint();
    } catch (error) {
      failed(error);
    }
  }

  private askName(): void {
    const name = h("input", { type: "text", required: true, maxlength: 80, autocomplete: "name", "aria-label": "Your name", placeholder: "your name" });
    const take = (): void => {
      const marks = this.marks;
      this.state.by = name.value;
      this.marks = marks;
      void this.enter();
    };
    fill(this.overall, h("form", { class: "who", onsubmit: (event: Event) => (event.preventDefault(), fill(this.overall), take()) }, h("label", {}, "Who counts?", name), h("button", { class: "plain" }, "That is me")));
    name.focus();
  }

  private key(key: KeyboardEvent): boolean {
    if (key.key === "p" || key.key === "n") this.take(key.key === "p" ? "positive" : "negative");
    else if (key.key === "Backspace") this.marks = this.marks.slice(0, -1);
    else if (key.key === "+" || key.key === "=") this.pane.zoomBy(1.5);
    else if (key.key === "-") this.pane.zoomBy(1 / 1.5);
    else return false;
    return true;
  }

  close(): void {
    this.stop.abort();
    this.pane.close();
  }
}

function circleOf({ x_um, y_um, radius_um }: Field): [number, number, number] {
  return [x_um, y_um, radius_um];
}
