/** One task: the slide, its labels, the tools for them, what was said of them, and what can be done next. */

import { Refusal, get, post, type Geometry, type Me } from "../api";
import { add, dialog, failed, fill, h, icon, tell, tool } from "../dom";
import { count, percent, when } from "../format";
import type { Point, View } from "../geometry";
import { onKeys } from "../keys";
import { read, write } from "../route";
import { SlideView } from "../slide_view";
import type { ViewPage } from "../view_page";
import * as draw from "./drawing";
import { editBar, type EditBar } from "./edit_bar";
import { Labels } from "./labels";
import { askLogin } from "./login";
import { mergeCard, savingLine } from "./saving_line";
import { giveLeaseBack, keepLease, KIND_WORDS, magicOutline, office, openWindows, perform, readLabels, readTask, STATE_WORDS, type Act, type Before, type Project, type Remark, type TaskFacts } from "./office";
import { movedByKey } from "./pane_keys";
import { remarksPanel } from "./remarks_panel";
import { boxOfPlace } from "./shapes";
import { claimWork, type Shape } from "./local";

const ADDRESS_EVERY_MS = 250;
const CELLS_WANTED = 100;
const OTHERS_COLOUR = "#7a3db8";
const BEFORE_COLOUR = "#3c4650";

export interface Surroundings {
  me: Me;
  project: Project;
  /** Show another page, or this one anew. */
  go(address: string): void;
  /** Keep the view in the address. */
  keep(query: URLSearchParams): void;
}

export class EditPage implements ViewPage {
  readonly element: HTMLElement;
  readonly pane: SlideView;
  readonly stop = new AbortController();
  selected: string | null = null;
  editable = false;
  remarks: Remark[] = [];
  chosenRemark: number | null = null;
  roi = -1;
  before: Before | null = null;
  private bare = false;
  private filled = true;
  private readonly bar: EditBar;
  private readonly heading = h("section", { class: "task-head" });
  private readonly saving = h("div", { class: "saving-box" });
  private readonly tallies = h("section", { class: "tally-box" });
  private readonly remarksBox = h("section", { class: "remarks-box" });
  private readonly acts = h("section", { class: "acts" });
  private addressTimer = 0;
  private heartbeat = 0;

  private constructor(
    readonly facts: TaskFacts,
    readonly labels: Labels,
    readonly here: Surroundings,
    query: URLSearchParams,
  ) {
    const { project } = here;
    this.pane = new SlideView(project.kind === "cells" ? "ki67" : "he", facts.name, facts.slide_facts);
    this.editable = facts.may_edit;
    this.prepareDrawings();
    this.bar = editBar(this);
    const asked = read(query).view;
    this.pane.addEventListener("ready", () => (asked ? this.showAgain(asked) : this.start()), { once: true });
    this.pane.addEventListener("move", () => this.writeAddress(), { signal: this.stop.signal });
    const { signal } = this.stop;
    labels.addEventListener("change", () => this.changed(), { signal });
    labels.addEventListener("saving", () => this.paintSaving(), { signal });
    onKeys((key) => this.bar.key(key) || this.key(key), signal);
    window.addEventListener("pagehide", () => this.leave(), { signal });
    this.element = h(
      "div",
      { class: "viewer edit-page" },
      h("div", { class: "stage" }, this.bar.element, h("div", { class: "panes", "data-mode": "ki67" }, this.pane.element)),
      h("aside", { class: "panel", "aria-label": "Task" }, this.heading, this.saving, this.tallies, this.remarksBox, this.acts),
    );
    this.paint();
    void this.readRemarks();
    if (facts.may_edit) void this.hold();
    if (labels.unsaved && facts.may_edit) labels.sendSoon(0);
    else if (labels.unsaved) labels.refuse(`The work is ${STATE_WORDS[facts.state]} now and takes no changes of yours.`);
  }

  static async open(task: number, here: Surroundings, query: URLSearchParams, signal: AbortSignal): Promise<EditPage> {
    const facts = await readTask(task, signal);
    const server = facts.may_see ? await readLabels(task, signal) : [];
    const { own, open } = await openWindows();
    const key = await claimWork(`${here.project.id} ${here.me.person} ${task}`, own, open);
    const labels = await Labels.open(task, key, server);
    return new EditPage(facts, labels, here, query);
  }

  // ---- what is seen

  colourOf(label: string): string {
    return this.here.project.classes.find((one) => one.name === label)?.color ?? "#6a6f77";
  }

  private prepareDrawings(): void {
    const { classes } = this.here.project;
    const shown = (drawing: draw.Drawn): draw.Drawn => ({ ...drawing, shapes: () => (this.bare ? [] : this.labels.shapes) });
    const drawn = shown({
      shapes: () => [],
      colourOf: (label) => this.colourOf(label),
      numberOf: (label) => classes.findIndex((one) => one.name === label),
      selected: () => this.selected,
      filled: () => this.filled,
    });
    this.pane.drawings.push(
      draw.squares(() => this.facts.rois ?? [], () => this.roi),
      draw.labels(drawn),
      draw.ghosts(() => (this.before ? this.gone() : []), BEFORE_COLOUR),
      draw.ghosts(() => (this.labels.conflict && !this.labels.conflict.theirs.deleted ? [this.labels.conflict.theirs] : []), OTHERS_COLOUR),
      draw.pins(() => this.remarks, () => this.chosenRemark),
    );
  }

  private start(): void {
    const roi = this.facts.rois?.[0];
    if (roi) this.nextRoi(1);
    else this.pane.home();
  }

  private showAgain(view: View): void {
    this.pane.show(view);
    this.roi = (this.facts.rois ?? []).findIndex(([x, y, side]) => view.x >= x && view.x < x + side && view.y >= y && view.y < y + side);
    this.paintTallies();
  }

  redraw(): void {
    this.pane.redraw();
  }

  select(uuid: string | null): void {
    this.selected = uuid;
    this.bar.paint();
    this.redraw();
  }

  private changed(): void {
    if (this.selected && !this.labels.shapes.has(this.selected)) this.selected = null;
    this.paintTallies();
    this.paintActs();
    this.bar.paint();
    this.redraw();
  }

  private paint(): void {
    this.paintHead();
    this.paintSaving();
    this.paintTallies();
    this.paintActs();
    this.bar.paint();
    this.redraw();
  }

  private paintHead(): void {
    const { facts } = this;
    const others = facts.own ? null : h("p", { class: "soft" }, `labelled by ${facts.labeller ?? "nobody yet"}`);
    fill(
      this.heading,
      h("div", { class: "task-title" }, h("h2", {}, facts.name), h("span", { class: `chip ${facts.state}` }, STATE_WORDS[facts.state])),
      facts.kind === "label" ? others : h("p", { class: "soft" }, KIND_WORDS[facts.kind]),
      facts.prelabelled ? h("p", { class: "reason" }, icon("warn"), h("span", {}, h("b", {}, "Labelled beforehand "), `by ${facts.prelabelled}: look at every label, and for what is missing.`)) : null,
      facts.reason ? h("p", { class: "reason" }, icon("back"), h("span", {}, h("b", {}, "Sent back: "), facts.reason)) : null,
      facts.may_see ? null : h("p", { class: "note" }, "The labels are not for you to see now."),
    );
  }

  private paintSaving(): void {
    const { labels } = this;
    if (labels.saving === "login") void askLogin(this.here.me).then(() => labels.sendSoon(0));
    const discard = (): void => void labels.discard().then(() => this.here.go(`#/task/${this.facts.task}`));
    fill(this.saving, savingLine(labels, this.editable || labels.unsaved > 0, () => void this.hold(true), discard));
    if (labels.conflict) add(this.saving, mergeCard(labels, labels.conflict, (label) => this.colourOf(label), OTHERS_COLOUR, () => this.flyToConflict()));
    this.redraw();
  }

  private flyToConflict(): void {
    const { conflict } = this.labels;
    if (conflict) this.flyToShape(conflict.theirs);
  }

  flyToShape({ geometry }: Shape): void {
    const { x0, y0, x1, y1 } = boxOfPlace(geometry);
    const room = Math.max(40, 0.2 * Math.max(x1 - x0, y1 - y0));
    this.pane.fly({ x0: x0 - room, y0: y0 - room, x1: x1 + room, y1: y1 + room });
  }

  private paintTallies(): void {
    const { classes, kind } = this.here.project;
    const counts = new Map(classes.map((one) => [one.name, 0]));
    for (const { label } of this.labels.shapes.values()) counts.set(label, (counts.get(label) ?? 0) + 1);
    const rows = classes.map((one) => h("li", {}, h("i", { class: "swatch", style: { background: one.color } }), h("span", {}, one.name), h("b", {}, count(counts.get(one.name) ?? 0))));
    const [positive, negative] = [counts.get("Positive"), counts.get("Negative")];
    const index = positive !== undefined && negative !== undefined && positive + negative > 0 ? (100 * positive) / (positive + negative) : null;
    fill(
      this.tallies,
      h("ul", { class: "class-counts", "aria-live": "off" }, ...rows, index === null ? null : h("li", { class: "sum" }, h("span", {}, "Ki-67 index"), h("b", {}, percent(index)))),
      kind === "cells" ? this.roiList() : null,
      this.beforeLine(),
    );
  }

  // ---- squares to count in

  private inRoi([x, y, side]: readonly [number, number, number]): number {
    let found = 0;
    for (const { geometry } of this.labels.shapes.values())
      if (geometry.type === "Point" && geometry.coordinates[0] >= x && geometry.coordinates[0] < x + side && geometry.coordinates[1] >= y && geometry.coordinates[1] < y + side) found += 1;
    return found;
  }

  private roiList(): HTMLElement | null {
    const { rois } = this.facts;
    if (!rois?.length) return null;
    const lines = rois.map((roi, number) => {
      const cells = this.inRoi(roi);
      const current = number === this.roi ? "true" : null;
      return h("li", {}, h("button", { type: "button", "aria-current": current, onclick: () => this.flyToRoi(number) }, h("span", {}, `Square ${number + 1}`), h("b", { class: cells >= CELLS_WANTED ? "enough" : "soft" }, `${cells} of ${CELLS_WANTED}`)));
    });
    return h(
      "details",
      { class: "block rois", open: true },
      h("summary", {}, "Squares to count in", h("span", { class: "steps" }, tool("back", "Square before", () => this.nextRoi(-1), { key: "[" }), tool("back", "Next square with fewer than 100 cells", () => this.nextRoi(1), { key: "]", class: "tool ahead" }))),
      h("ol", { class: "places" }, ...lines),
    );
  }

  private flyToRoi(number: number): void {
    const roi = this.facts.rois?.[number];
    if (!roi) return;
    this.roi = number;
    const [x, y, side] = roi;
    this.pane.fly({ x0: x, y0: y, x1: x + side, y1: y + side }, 1.08);
    this.paintTallies();
    this.redraw();
  }

  /** Forward: to the next square that is not finished. */
  private nextRoi(by: 1 | -1): void {
    const rois = this.facts.rois ?? [];
    for (let step = 1; step <= rois.length; step++) {
      const number = (this.roi + by * step + rois.length * 2) % rois.length;
      const roi = rois[number];
      if (roi && (by < 0 || this.inRoi(roi) < CELLS_WANTED)) return this.flyToRoi(number);
    }
    if (rois.length) tell(`Every square has ${CELLS_WANTED} cells.`);
  }

  // ---- the version before

  /** What stood otherwise when it was handed in before. */
  private gone(): Shape[] {
    return (this.before?.labels ?? []).filter((old) => !same(old, this.labels.shapes.get(old.uuid)));
  }

  private beforeLine(): HTMLElement | null {
    if (!this.facts.may_see || (this.facts.own && this.facts.state === "assigned")) return null;
    if (!this.before) return h("button", { type: "button", class: "plain wide", onclick: () => void this.readBefore() }, "What has changed since it was handed in before?");
    const { at, labels } = this.before;
    if (at === null) return h("p", { class: "note" }, "It was not handed in before.");
    const known = new Map(labels.map((one) => [one.uuid, one]));
    const added = [...this.labels.shapes.keys()].filter((uuid) => !known.has(uuid)).length;
    const removed = labels.filter((one) => !this.labels.shapes.has(one.uuid)).length;
    const text = `${added} added, ${this.gone().length - removed} changed, ${removed} taken away since ${when(new Date(1000 * at).toISOString())}`;
    return h("p", { class: "before" }, h("i", { class: "dashed" }), text, h("button", { type: "button", class: "plain", onclick: () => this.hideBefore() }, "Hide"));
  }

  private async readBefore(): Promise<void> {
    try {
      this.before = await get<Before>(office(`tasks/${this.facts.task}/before`), this.stop.signal);
      this.paintTallies();
      this.redraw();
    } catch (error) {
      failed(error);
    }
  }

  private hideBefore(): void {
    this.before = null;
    this.paintTallies();
    this.redraw();
  }

  // ---- the magic outline

  /** What looks like a place, as the view shows it; none where nothing stands out. */
  async outlineAt(um: Point, reach: number): Promise<Geometry | null> {
    try {
      return await magicOutline(this.facts.task, um, this.pane.view.umPerPx, reach, this.stop.signal);
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) void askLogin(this.here.me);
      failed(error);
      return null;
    }
  }

  // ---- remarks

  private async readRemarks(): Promise<void> {
    if (!this.facts.may_see) return;
    try {
      this.remarks = await get<Remark[]>(office(`tasks/${this.facts.task}/remarks`), this.stop.signal);
      this.paintRemarks();
    } catch (error) {
      failed(error);
    }
  }

  private paintRemarks(): void {
    fill(this.remarksBox, remarksPanel(this.remarks, this.chosenRemark, { choose: (one) => this.flyToRemark(one), settle: (one, settled) => void this.settle(one, settled), pin: () => this.bar.take("pin"), write: () => this.askRemark(null) }));
    this.redraw();
  }

  private flyToRemark(remark: Remark): void {
    this.chosenRemark = remark.remark;
    if (remark.x_um !== null && remark.y_um !== null) this.pane.show({ ...this.pane.view, x: remark.x_um, y: remark.y_um }, false);
    this.paintRemarks();
  }

  askRemark(um: Point | null): void {
    const text = h("textarea", { rows: 4, required: true, maxlength: 2000, "aria-label": "Remark" });
    const send = async (): Promise<void> => {
      try {
        const body = um ? { text: text.value, x_um: um[0], y_um: um[1] } : { text: text.value };
        const made = await post<Remark>(office(`tasks/${this.facts.task}/remarks`), body, this.stop.signal);
        this.remarks = [...this.remarks, made];
        box.close();
        this.paintRemarks();
      } catch (error) {
        failed(error);
      }
    };
    const box = dialog(um ? "A remark at this place" : "A remark on the whole slide", h("form", { onsubmit: (event: Event) => (event.preventDefault(), void send()) }, text, h("footer", {}, h("button", { class: "plain main" }, "Keep the remark"))));
    text.focus();
  }

  private async settle(remark: Remark, settled: boolean): Promise<void> {
    try {
      await post(office(`remarks/${remark.remark}`), { settled }, this.stop.signal, "PUT");
      this.remarks = this.remarks.map((one) => (one.remark === remark.remark ? { ...one, settled } : one));
    } catch (error) {
      failed(error);
    }
    this.paintRemarks();
  }

  // ---- what can be done

  private paintActs(): void {
    const { facts } = this;
    const has = (act: Act): boolean => facts.acts.includes(act);
    const button = (act: Act, text: string, main = false): HTMLElement | null =>
      has(act) ? h("button", { type: "button", class: main ? "plain main" : "plain", onclick: () => void this.act(act) }, text) : null;
    fill(
      this.acts,
      button("begin", facts.state === "assigned" ? "Begin" : "Work on it again", true),
      button("submit", "Hand in", true),
      button("take_review", "Review it", true),
      button("accept", this.labels.canUndo ? "Accept with my changes" : "Accept", true),
      has("send_back") ? h("button", { type: "button", class: "plain", onclick: () => this.askReason() }, "Send back…") : null,
      button("leave_review", "Leave it to others"),
    );
  }

  private askReason(): void {
    const reason = h("textarea", { rows: 4, required: true, maxlength: 2000, "aria-label": "Reason" });
    const send = (): void => {
      box.close();
      void this.act("send_back", reason.value);
    };
    const box = dialog("Send it back", h("form", { onsubmit: (event: Event) => (event.preventDefault(), send()) }, h("p", { class: "note" }, "Say what is to be mended; remarks pinned to places show where."), reason, h("footer", {}, h("button", { class: "plain main" }, "Send back"))));
    reason.focus();
  }

  private async act(act: Act, reason = ""): Promise<void> {
    try {
      if (act === "submit" || act === "accept" || act === "send_back") await this.labels.flush();
      const now = await perform(this.facts.task, act, reason);
      const stays = act === "begin" || act === "take_review";
      if (!stays) this.facts.may_edit = false;
      tell(now.kind === "training" && act === "submit" ? graded(now.state, now.reason) : `${this.facts.name}: ${STATE_WORDS[now.state]}`, now.state === "returned" && act === "submit" ? "error" : "done");
      this.here.go(stays ? `#/task/${this.facts.task}` : "#/work");
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) void askLogin(this.here.me);
      failed(error);
    }
  }

  // ---- the lease

  private async hold(takeOver = false): Promise<void> {
    window.clearTimeout(this.heartbeat);
    if (this.stop.signal.aborted) return;
    try {
      await keepLease(this.facts.task, takeOver);
      if (!this.editable || takeOver) {
        this.editable = true;
        this.labels.held(false);
        this.bar.paint();
      }
    } catch (error) {
      if (error instanceof Refusal && error.status === 423) {
        this.editable = false;
        this.labels.held(true, error.message);
        this.bar.paint();
      } else if (error instanceof Refusal && error.status === 401) await askLogin(this.here.me);
      else if (!(error instanceof Refusal && error.status === 0)) failed(error);
    }
    this.heartbeat = window.setTimeout(() => void this.hold(), 1000 * this.here.project.heartbeat_s);
  }

  private leave(): void {
    if (this.facts.may_edit && this.editable && !this.labels.unsaved) void giveLeaseBack(this.facts.task).catch(() => undefined);
  }

  // ---- moving

  private writeAddress(): void {
    window.clearTimeout(this.addressTimer);
    this.addressTimer = window.setTimeout(() => {
      if (!this.stop.signal.aborted && this.pane.viewer.world.getItemCount()) this.here.keep(write({ view: this.pane.view, mode: "ki67", opacity: 0, curtain: null }));
    }, ADDRESS_EVERY_MS);
  }

  private key(event: KeyboardEvent): boolean {
    if (movedByKey(this.pane, event)) return true;
    if (event.key === "]") this.nextRoi(1);
    else if (event.key === "[") this.nextRoi(-1);
    else if (event.key === "h") this.bare = !this.bare;
    else if (event.key === "i") this.filled = !this.filled;
    else return false;
    this.redraw();
    return true;
  }

  close(): void {
    this.leave();
    this.stop.abort();
    window.clearTimeout(this.heartbeat);
    window.clearTimeout(this.addressTimer);
    this.labels.close();
    this.pane.close();
  }
}

function same(one: Shape, other: Shape | undefined): boolean {
  return other !== undefined && one.label === other.label && JSON.stringify(one.geometry) === JSON.stringify(other.geometry);
}

function graded(state: string, reason: string | null): string {
  return state === "accepted" ? "Training slide passed." : `Not passed yet: ${reason ?? "look at the guideline"}`;
}
