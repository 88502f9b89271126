/** The case's view: both sections, what is drawn over them, the tools and the panel beside them. */

import { bytes, caseUrl, get, post, type Cell, type Label, type Layer, type Regions } from "./api";
import type { CaseState } from "./case_state";
import { CellStore, unpackRaster, type Picked } from "./cells";
import { onPalette } from "./colours";
import { correctionBar, type Corrector } from "./correction_bar";
import { cellKey, cellPanel } from "./cell_panel";
import { failed, fill, h, tell } from "./dom";
import * as drawings from "./drawings";
import { boxAround, type Box, type Point } from "./geometry";
import { historyPanel } from "./history_panel";
import { layersPanel, type LayerChoice } from "./layers_panel";
import { Link } from "./link";
import { placesPanel } from "./places_panel";
import { warpedPyramid, type Pyramid } from "./pyramids";
import { scorePanel } from "./score_panel";
import { SlideView } from "./slide_view";
import { read, write, type Mode } from "./route";
import { viewBar } from "./view_bar";

const REGION_COLOUR = "#1f4fbf";
const EXCLUDED_COLOUR = "#5a3a10";
const WARPED = "warped";
const ADDRESS_EVERY_MS = 250;
const STEP_PX = 90;
/** A square of the view from far holds a nucleus or two. */
const LEAST_RASTER_UM = 10;
const MOST_RASTER_SQUARES = 1500;

export interface ViewPage {
  element: HTMLElement;
  close(): void;
}

export class CaseView implements ViewPage, Corrector {
  readonly element: HTMLElement;
  readonly ki67: SlideView;
  readonly he: SlideView | null;
  readonly link: Link | null;
  readonly cells: CellStore;
  readonly choice: LayerChoice;
  selected: Picked | null = null;
  chosenPlace: string | null = null;
  mode: Mode = "side";
  opacity = 0.5;
  curtain: number | null = null;
  layers: Layer[];
  warped: Pyramid | null;
  private readonly raster = new drawings.RasterPicture();
  private regions = { he: [] as drawings.Outline[], counted: [] as drawings.Outline[], excluded: [] as drawings.Outline[] };
  private readonly stop = new AbortController();
  private readonly panes = h("div", { class: "panes" });
  private readonly curtainHandle: HTMLElement;
  private readonly cellBox = h("div", { class: "cell-box" });
  private readonly lost = h("p", { class: "lost", hidden: true }, "No place on the other section here");
  private addressTimer = 0;

  constructor(
    readonly state: CaseState,
    query: URLSearchParams,
    private readonly show: (query: URLSearchParams) => void,
  ) {
    const { facts, signal } = state;
    const { slides } = facts;
    signal.addEventListener("abort", () => this.stop.abort());
    if (!slides.ki67) throw new Error("This case has no Ki-67 slide.");
    this.ki67 = new SlideView("ki67", "Ki-67", slides.ki67);
    this.he = slides.he?.available ? new SlideView("he", "H&E", slides.he) : null;
    this.layers = facts.layers;
    this.warped = warpedPyramid(facts);
    const extent = { x0: 0, y0: 0, x1: slides.ki67.width_um, y1: slides.ki67.height_um };
    this.cells = new CellStore(state.id, extent, failed, this.stop.signal, () => state.version);
    this.choice = {
      cells: true,
      classes: new Set<Label>(["positive", "negative"]),
      regions: true,
      excluded: true,
      places: true,
      density: true,
      layers: new Map(),
    };
    this.link = this.he && facts.registration ? this.linked(this.he) : null;
    const asked = read(query);
    this.opacity = asked.opacity ?? 0.5;
    this.curtain = asked.curtain;
    this.mode = this.possible(asked.mode ?? "side");
    this.curtainHandle = this.makeCurtain();
    this.prepareDrawings();
    const start = (): void => {
      if (asked.view) this.ki67.show(asked.view);
      else this.flyToRegion();
      this.link?.renew();
    };
    this.ki67.addEventListener("ready", start, { once: true });
    this.he?.addEventListener("ready", () => this.link?.renew(), { once: true });
    this.setMode(this.mode);
    this.ki67.addEventListener("move", () => this.writeAddress(), { signal: this.stop.signal });
    this.element = h(
      "div",
      { class: "viewer" },
      h("div", { class: "stage" }, viewBar(this), correctionBar(this), this.panes, this.lost),
      this.makePanel(),
    );
    this.wire();
    void this.readRegions();
    void this.readRaster();
  }

  // ---- what is seen

  private possible(mode: Mode): Mode {
    if (!this.he && mode !== "ki67") return "ki67";
    if (mode === "over" && !this.warped) return "side";
    return mode;
  }

  setMode(mode: Mode): void {
    this.mode = this.possible(mode);
    const { ki67, he } = this;
    const shown = { side: [he, ki67], over: [ki67], ki67: [ki67], he: [he] }[this.mode];
    fill(this.panes, ...[he, ki67].map((pane) => pane?.element), this.curtainHandle);
    for (const pane of [he, ki67]) if (pane) pane.element.classList.toggle("away", !shown.includes(pane));
    this.panes.dataset["mode"] = this.mode;
    this.mix();
    if (this.mode !== "side") this.link?.leads(this.mode === "he" && he ? he : ki67);
    this.dispatch("mode");
    this.writeAddress();
  }

  setMix(opacity: number, curtain: number | null): void {
    [this.opacity, this.curtain] = [opacity, curtain];
    this.mix();
    this.dispatch("mode");
    this.writeAddress();
  }

  private mix(): void {
    const { warped } = this;
    const over = this.mode === "over" && warped !== null;
    this.ki67.curtain = over && this.curtain !== null ? { id: WARPED, at: this.curtain } : null;
    if (warped) this.ki67.lay(WARPED, warped, over ? (this.curtain === null ? this.opacity : 1) : 0);
    this.ki67.cut();
    this.ki67.viewer.forceRedraw();
    this.curtainHandle.hidden = !over || this.curtain === null;
    this.curtainHandle.style.left = `${100 * (this.curtain ?? 0.5)}%`;
    this.curtainHandle.setAttribute("aria-valuenow", `${Math.round(100 * (this.curtain ?? 0.5))}`);
  }

  private makeCurtain(): HTMLElement {
    const handle = h("div", {
      class: "curtain",
      role: "slider",
      tabindex: 0,
      hidden: true,
      "aria-label": "Curtain between Ki-67 (left) and H&E (right)",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    });
    const move = (event: PointerEvent): void => {
      const { left, width } = this.panes.getBoundingClientRect();
      this.setMix(this.opacity, Math.min(1, Math.max(0, (event.clientX - left) / width)));
    };
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) move(event);
    });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (!step) return;
      event.stopPropagation();
      event.preventDefault();
      this.setMix(this.opacity, Math.min(1, Math.max(0, (this.curtain ?? 0.5) + step)));
    });
    return handle;
  }

  private prepareDrawings(): void {
    const { choice } = this;
    const hidden = (): boolean => this.element?.classList.contains("bare") ?? false;
    const ki67 = this.ki67.drawings;
    const when = (on: () => boolean, drawing: (typeof ki67)[number]): (typeof ki67)[number] => (context, pane) => {
      if (on() && !hidden()) drawing(context, pane);
    };
    ki67.push(when(() => choice.density, this.raster.draw));
    ki67.push(when(() => choice.excluded, drawings.hatched(() => this.regions.excluded, EXCLUDED_COLOUR)));
    ki67.push(when(() => choice.regions, drawings.regions(() => this.regions.counted, REGION_COLOUR)));
    const near = { cells: this.cells, shown: () => choice.cells && !hidden(), classes: () => choice.classes, selected: () => this.selected };
    ki67.push(drawings.near(near));
    ki67.push(when(() => choice.places, drawings.places(() => this.state.facts.places, () => this.chosenPlace)));
    this.he?.drawings.push(when(() => choice.regions, drawings.regions(() => this.regions.he, REGION_COLOUR)));
  }

  redraw(): void {
    this.ki67.redraw();
    this.he?.redraw();
  }

  setLayer(id: string, opacity: number): void {
    const layer = this.layers.find((one) => one.id === id);
    const pane = layer?.slide === "he" ? this.he : this.ki67;
    if (!layer || !pane) return;
    this.choice.layers.set(id, opacity);
    pane.lay(`layer:${id}`, layer, opacity);
    pane.viewer.forceRedraw();
  }

  flyTo(id: string): void {
    const place = this.state.facts.places.find((one) => one.id === id);
    if (!place) return;
    this.chosenPlace = id;
    this.leadKi67();
    this.ki67.fly(drawings.circleBox(place.circle_um));
    this.dispatch("place");
    this.redraw();
  }

  flyToBox(box: Box): void {
    this.leadKi67();
    this.ki67.fly(box, 1.8);
  }

  step(by: number): void {
    const ids = this.state.facts.places.map((place) => place.id);
    if (!ids.length) return;
    const at = this.chosenPlace === null ? (by > 0 ? -1 : 0) : ids.indexOf(this.chosenPlace);
    this.flyTo(ids[(at + by + ids.length) % ids.length] as string);
  }

  flyToRegion(): void {
    this.leadKi67();
    const points = this.regions.counted.flatMap((outline) => outline.rings.flat());
    if (points.length) this.ki67.fly(boxAround(points), 1.15);
    else this.ki67.home();
  }

  zoomTo(umPerPx: number): void {
    const { leader } = this;
    leader.show({ ...leader.view, umPerPx }, false);
  }

  turnTo(deg: number): void {
    const { leader } = this;
    leader.show({ ...leader.view, deg }, false);
  }

  /** The pane that keys and buttons move. */
  get leader(): SlideView {
    const pane = this.mode === "he" && this.he ? this.he : this.ki67;
    this.link?.leads(pane);
    return pane;
  }

  private leadKi67(): void {
    if (this.mode === "he") this.setMode(this.he ? "side" : "ki67");
    this.link?.leads(this.ki67);
  }

  // ---- cells

  select(cell: Picked | null): void {
    this.selected = cell;
    this.redraw();
    if (!cell) {
      this.cellBox.replaceChildren();
      return;
    }
    void get<Cell>(caseUrl(this.state.id, `/cells/${cell.row}`), this.stop.signal)
      .then((facts) => {
        if (this.selected?.row !== cell.row) return;
        fill(this.cellBox, cellPanel(this, facts));
        this.cellBox.scrollIntoView({ block: "nearest" });
      })
      .catch(failed);
  }

  async relabel(rows: number[], to: Label): Promise<void> {
    if (this.state.locked) return tell("This case is signed out. Open it again to correct it.", "error");
    this.cells.relabel(rows, to);
    const why = rows.length > 1 ? "looked at together" : "looked at";
    await this.state.change({ kind: "relabel", rows, to }, why);
    if (this.selected && rows.includes(this.selected.row)) this.select({ ...this.selected, label: to });
  }

  async remove(rows: number[]): Promise<void> {
    this.select(null);
    await this.state.change({ kind: "remove", rows }, "no cell");
  }

  nudge(shift: Point, deg: number, why: string): Promise<boolean> {
    return this.state.change({ kind: "nudge", shift_um: [shift[0], shift[1]], rotate_deg: deg }, why);
  }

  onKi67(points: readonly Point[]): Promise<(Point | null)[]> {
    return this.map("he", points);
  }

  // ---- what the server says

  private async map(from: "he" | "ki67", points: readonly Point[]): Promise<(Point | null)[]> {
    const direction = from === "he" ? "he_to_ki67" : "ki67_to_he";
    const answer = await post<{ points_um: (Point | null)[] }>(caseUrl(this.state.id, "/map"), { direction, points_um: points }, this.stop.signal);
    return answer.points_um;
  }

  private linked(he: SlideView): Link {
    const link = new Link(he, this.ki67, (from, points) => this.map(from, points), failed, this.stop.signal);
    link.onFound = (found) => (this.lost.hidden = found || this.mode !== "side");
    return link;
  }

  private async readRegions(): Promise<void> {
    const first = !this.regions.counted.length;
    try {
      const regions = await get<Regions>(caseUrl(this.state.id, "/regions"), this.stop.signal);
      this.regions = {
        he: drawings.outlinesOf(regions.he),
        counted: drawings.outlinesOf(regions.counted ?? regions.ki67),
        excluded: drawings.outlinesOf(regions.excluded),
      };
      this.dispatch("regions");
      if (first && !window.location.hash.includes("x=")) this.flyToRegion();
      this.redraw();
    } catch (error) {
      failed(error);
    }
  }

  get signal(): AbortSignal {
    return this.stop.signal;
  }

  get counted(): readonly drawings.Outline[] {
    return this.regions.counted;
  }

  get excluded(): readonly drawings.Outline[] {
    return this.regions.excluded;
  }

  private async readRaster(): Promise<void> {
    try {
      const { width_um, height_um } = this.ki67.facts;
      const cellUm = Math.max(LEAST_RASTER_UM, Math.max(width_um, height_um) / MOST_RASTER_SQUARES);
      const { data } = await bytes(caseUrl(this.state.id, `/cells/raster?cell_um=${cellUm.toFixed(1)}&v=${this.state.version}`), this.stop.signal);
      this.raster.set(unpackRaster(data));
      this.redraw();
    } catch (error) {
      failed(error);
    }
  }

  private wire(): void {
    const { state } = this;
    const { signal } = this.stop;
    this.cells.addEventListener("change", () => this.ki67.redraw(), { signal });
    state.addEventListener("cells", () => {
      this.cells.renew();
      void this.readRaster();
    }, { signal });
    state.addEventListener("areas", () => void this.readRegions(), { signal });
    state.addEventListener("registration", () => this.link?.renew(), { signal });
    state.addEventListener("numbers", () => this.readPyramids(), { signal });
    onPalette(() => {
      this.raster.paint();
      this.redraw();
    }, signal);
    new ResizeObserver(() => {
      this.ki67.cut();
      this.link?.renew();
    }).observe(this.panes);
  }

  /** Layers are made of the corrections that hold: where their tiles have another name, they are laid anew. */
  private readPyramids(): void {
    const { facts } = this.state;
    const { layers } = facts;
    for (const layer of layers) {
      const old = this.layers.find((one) => one.id === layer.id);
      if (old?.tiles === layer.tiles) continue;
      (layer.slide === "he" ? this.he : this.ki67)?.unlay(`layer:${layer.id}`);
    }
    this.layers = layers;
    for (const [id, opacity] of this.choice.layers) this.setLayer(id, opacity);
    const warped = warpedPyramid(facts);
    if (warped?.tiles !== this.warped?.tiles) {
      this.ki67.unlay(WARPED);
      this.warped = warped;
      this.mix();
    }
  }

  private makePanel(): HTMLElement {
    return h(
      "aside",
      { class: "panel", "aria-label": "Case" },
      scorePanel(this.state),
      this.cellBox,
      placesPanel(this),
      layersPanel(this),
      historyPanel(this.state),
    );
  }

  private dispatch(what: string): void {
    this.panes.dispatchEvent(new Event(what));
  }

  on(what: "mode" | "place" | "regions", act: () => void): void {
    this.panes.addEventListener(what, act, { signal: this.stop.signal });
  }

  get address(): URLSearchParams {
    return write({ view: this.ki67.view, mode: this.mode, opacity: this.opacity, curtain: this.curtain });
  }

  private writeAddress(): void {
    window.clearTimeout(this.addressTimer);
    this.addressTimer = window.setTimeout(() => {
      if (!this.stop.signal.aborted && this.ki67.viewer.world.getItemCount()) this.show(this.address);
    }, ADDRESS_EVERY_MS);
  }

  /** Keys that move and look; true where the key was one. */
  key(event: KeyboardEvent): boolean {
    if (this.selected && cellKey(this, this.selected, event)) return true;
    const pan = { ArrowLeft: [-STEP_PX, 0], ArrowRight: [STEP_PX, 0], ArrowUp: [0, -STEP_PX], ArrowDown: [0, STEP_PX] }[event.key];
    if (pan) this.leader.panBy(pan[0] as number, pan[1] as number);
    else if (event.key === "+" || event.key === "=") this.leader.zoomBy(1.5);
    else if (event.key === "-") this.leader.zoomBy(1 / 1.5);
    else if (event.key === "0") this.flyToRegion();
    else if (event.key === "r") this.leader.turnBy(15);
    else if (event.key === "R") this.leader.turnBy(-15);
    else if (event.key === "]") this.step(1);
    else if (event.key === "[") this.step(-1);
    else if (event.key === "v") this.setMode(nextMode(this.mode));
    else if (event.key === "h") this.element.classList.toggle("bare");
    else return false;
    this.redraw();
    return true;
  }

  close(): void {
    this.stop.abort();
    window.clearTimeout(this.addressTimer);
    this.ki67.close();
    this.he?.close();
  }
}

function nextMode(mode: Mode): Mode {
  const order: Mode[] = ["side", "over", "ki67", "he"];
  return order[(order.indexOf(mode) + 1) % order.length] as Mode;
}
