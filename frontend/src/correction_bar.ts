/** The tools that correct: one is in hand at a time; each says what it does. */

import type { Geometry, Label } from "./api";
import type { CaseState } from "./case_state";
import type { CellStore, Picked } from "./cells";
import { add, failed, fill, h, press, tell, tool } from "./dom";
import type { Outline } from "./drawings";
import { centroid, rigidBetween, type Point } from "./geometry";
import { onKeys } from "./keys";
import type { SlideView } from "./slide_view";
import { adding, brushing, nudging, outlining, pairing, picking, removing, type Brush, type Outlining, type Pair } from "./tools";

export interface Corrector {
  readonly state: CaseState;
  readonly ki67: SlideView;
  readonly he: SlideView | null;
  readonly cells: CellStore;
  /** The region that is counted. */
  readonly counted: readonly Outline[];
  /** Aborted when the page is left. */
  readonly signal: AbortSignal;
  select(cell: Picked | null): void;
  relabel(rows: number[], to: Label): Promise<void>;
  remove(rows: number[]): Promise<void>;
  nudge(shift: Point, deg: number, why: string): Promise<boolean>;
  /** Where places of the H&E lie on the Ki-67 slide by the registration as it stands. */
  onKi67(points: readonly Point[]): Promise<(Point | null)[]>;
  key(event: KeyboardEvent): boolean;
}

type Hand = "select" | "add" | "remove" | "brush" | "exclude" | "include" | "region" | "nudge" | "pairs";

const TOOLS: readonly [Hand, string, string, string][] = [
  ["select", "Pick a cell", "s", "Click a cell for its picture and values; p, n, o give it a class, Delete removes it."],
  ["add", "Add a cell", "a", "Click where a cell was missed."],
  ["remove", "Remove a cell", "d", "Click what is no cell."],
  ["brush", "Brush over many", "b", "Paint over cells to give all of them the class."],
  ["exclude", "Exclude an area", "x", "Outline what must not count: drag, or click corners and close with a double click."],
  ["include", "Count an area after all", "i", "Outline what was left out and should count."],
  ["region", "Redraw the region", "g", "Outline the region anew, on either section."],
  ["nudge", "Move the region", "m", "Arrow keys move the region, Shift for 1 µm steps; q and e turn it; Enter keeps it, Esc leaves it."],
  ["pairs", "Move the region by pairs of places", "l", "Click the same place on both sections, two pairs or more; Backspace takes the last away."],
];
const LEAST_PAIRS = 2;
const SHIFT_UM = 10;
const FINE_UM = 1;
const TURN_DEG = 0.5;
const BY_EYE = "moved by eye";
const AREA_COLOUR = "#b4540a";

export function correctionBar(view: Corrector): HTMLElement {
  const { state } = view;
  let hand: Hand = "select";
  let label: Label = "positive";
  const brush: Brush = { label, radiusPx: 22 };
  const moved = { x: 0, y: 0, deg: 0 };
  const pairs: Pair[] = [];
  let why = BY_EYE;
  let outlines: Outlining[] = [];
  const buttons = TOOLS.map(([name, text, key]) => [name, tool(name, text, () => take(name), { key })] as const);
  const undo = tool("undo", "Undo", () => void state.undo(), { key: "Ctrl+Z" });
  const redo = tool("redo", "Redo", () => void state.redo(), { key: "Ctrl+Y" });
  const options = h("div", { class: "options" });

  const take = (next: Hand): void => {
    if (next !== "select" && !state.named()) return;
    hand = next;
    for (const one of outlines) one.cancel();
    Object.assign(moved, { x: 0, y: 0, deg: 0 });
    why = BY_EYE;
    pairs.length = 0;
    hold();
    paint();
  };

  const hold = (): void => {
    const { ki67, he, cells } = view;
    outlines = [];
    ki67.pointerTool = null;
    if (he) he.pointerTool = null;
    if (hand === "select") ki67.pointerTool = picking(ki67, cells, (cell) => view.select(cell));
    else if (hand === "add") ki67.pointerTool = adding(([x_um, y_um]) => void state.change({ kind: "add", x_um, y_um, label }, "missed"));
    else if (hand === "remove") ki67.pointerTool = removing(ki67, cells, (cell) => void view.remove([cell.row]));
    else if (hand === "brush") ki67.pointerTool = brushing(ki67, cells, brush, (found) => painted(found));
    else if (hand === "exclude" || hand === "include") holdOutline(ki67, hand);
    else if (hand === "region") for (const pane of he ? [ki67, he] : [ki67]) holdOutline(pane, "region");
    else if (hand === "nudge") ki67.pointerTool = nudging(ki67, () => view.counted.map((outline) => outline.rings), moved);
    else if (hand === "pairs") for (const pane of he ? [ki67, he] : []) pane.pointerTool = pairing(pane, pairs, () => refresh());
    for (const pane of [ki67, he]) if (pane) pane.element.style.setProperty("--cursor", pane.pointerTool?.cursor ?? "default");
    ki67.redraw();
    he?.redraw();
  };

  const refresh = (): void => {
    paint();
    view.ki67.redraw();
    view.he?.redraw();
  };

  const whole = (): [Point, Point][] => pairs.flatMap((pair): [Point, Point][] => (pair.he && pair.ki67 ? [[pair.he, pair.ki67]] : []));

  /** From pairs to a movement that is shown and can still be changed before it is kept. */
  const fit = async (): Promise<void> => {
    const set = whole();
    const middle = centroid(view.counted.map((outline) => outline.rings));
    if (!middle) return tell("There is no region to move.", "error");
    try {
      const mapped = await view.onKi67(set.map(([he]) => he));
      const known = set.flatMap(([, ki67], at): [Point, Point][] => (mapped[at] ? [[mapped[at], ki67]] : []));
      if (known.length < set.length) tell("A place of a pair has none on the Ki-67 section; it was left out.", "error");
      if (known.length < LEAST_PAIRS) return;
      const { deg, shift, leftUm } = rigidBetween(known, middle);
      take("nudge");
      Object.assign(moved, { x: round(shift[0]), y: round(shift[1]), deg: round(deg) });
      why = `moved by ${known.length} pairs of places, ${leftUm.toFixed(1)} µm left between them`;
      tell(`The pairs lie ${leftUm.toFixed(1)} µm apart after this. Enter keeps it.`);
      refresh();
    } catch (error) {
      failed(error);
    }
  };

  const holdOutline = (pane: SlideView, kind: "exclude" | "include" | "region"): void => {
    const done = (area: Geometry): void => {
      const why = { exclude: "must not count", include: "counts after all", region: "redrawn" }[kind];
      const where = pane.name === "he" ? { slide: pane.name } : {};
      void state.change({ kind, area, ...where }, why);
    };
    const one = outlining(pane, AREA_COLOUR, done);
    outlines.push(one);
    pane.pointerTool = one;
  };

  const painted = (found: Picked[]): void => void view.relabel(found.map((cell) => cell.row), brush.label);

  const choose = (next: Label): void => {
    label = brush.label = next;
    paint();
  };

  const keep = (): void => {
    const [{ x, y, deg }, said] = [{ ...moved }, why];
    // Taken away at once, so that no second Enter moves it twice; given back where it was refused.
    Object.assign(moved, { x: 0, y: 0, deg: 0 });
    why = BY_EYE;
    const answered = (done: boolean): void => {
      if (!done && hand === "nudge") {
        Object.assign(moved, { x: moved.x + x, y: moved.y + y, deg: moved.deg + deg });
        why = said;
      }
      refresh();
    };
    if (x || y || deg) void view.nudge([x, y], deg, said).then(answered);
    refresh();
  };

  const paint = (): void => {
    for (const [name, button] of buttons) {
      press(button, hand === name);
      button.disabled = (state.locked && name !== "select") || (name === "pairs" && !view.he);
    }
    undo.disabled = state.locked || !state.history.can_undo;
    redo.disabled = state.locked || !state.history.can_redo;
    fill(options, h("span", { class: "hint" }, TOOLS.find(([name]) => name === hand)?.[3] ?? ""));
    if (hand === "add" || hand === "brush") add(options, classChoice(label, choose));
    if (hand === "brush") add(options, sizeChoice(brush));
    if (hand === "nudge") {
      const far = `${moved.x.toFixed(0)} µm right, ${moved.y.toFixed(0)} µm down, ${moved.deg.toFixed(1)}°`;
      add(options, h("output", { class: "moved" }, far), h("button", { type: "button", class: "plain", onclick: keep }, "Keep"));
    }
    if (hand === "pairs") {
      const set = whole().length;
      add(options, h("output", { class: "moved" }, `${set} ${set === 1 ? "pair" : "pairs"}`), h("button", { type: "button", class: "plain", disabled: set < LEAST_PAIRS, onclick: () => void fit() }, "Fit"));
    }
  };

  const pairsKey = (event: KeyboardEvent): boolean => {
    if (event.key === "Enter" && whole().length >= LEAST_PAIRS) void fit();
    else if (event.key === "Backspace" || event.key === "Delete") pairs.pop();
    else return false;
    refresh();
    return true;
  };

  const nudgeKey = (event: KeyboardEvent): boolean => {
    const step = event.shiftKey ? FINE_UM : SHIFT_UM;
    if (event.key === "ArrowLeft") moved.x -= step;
    else if (event.key === "ArrowRight") moved.x += step;
    else if (event.key === "ArrowUp") moved.y -= step;
    else if (event.key === "ArrowDown") moved.y += step;
    else if (event.key === "q" || event.key === "Q") moved.deg -= event.shiftKey ? TURN_DEG / 5 : TURN_DEG;
    else if (event.key === "e" || event.key === "E") moved.deg += event.shiftKey ? TURN_DEG / 5 : TURN_DEG;
    else if (event.key === "Enter") keep();
    else return false;
    paint();
    view.ki67.redraw();
    return true;
  };

  const key = (event: KeyboardEvent): boolean => {
    if (event.ctrlKey || event.metaKey) {
      const letter = event.key.toLowerCase();
      if (letter === "z" && !event.shiftKey) void state.undo();
      else if (letter === "y" || letter === "z") void state.redo();
      else return false;
      return true;
    }
    if (hand === "nudge" && nudgeKey(event)) return true;
    if (hand === "pairs" && pairsKey(event)) return true;
    const next = TOOLS.find(([, , letter]) => letter === event.key)?.[0];
    if (next && state.locked && next !== "select") tell("This case is signed out. Open it again to correct it.", "error");
    else if (next) take(next);
    else if (event.key === "Escape") take("select");
    else if (event.key === "Enter" && outlines.length) for (const one of outlines) one.finish();
    else return false;
    return true;
  };

  const bar = h(
    "div",
    { class: "bar correction-bar", role: "toolbar", "aria-label": "Correct" },
    h("div", { class: "group", role: "group", "aria-label": "Tools" }, ...buttons.map(([, button]) => button)),
    h("div", { class: "group" }, undo, redo),
    options,
  );
  for (const what of ["history", "numbers"]) state.addEventListener(what, paint, { signal: view.signal });
  onKeys((pressed) => key(pressed) || view.key(pressed), view.signal);
  hold();
  paint();
  return bar;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function classChoice(chosen: Label, choose: (label: Label) => void): HTMLElement {
  const options = (["positive", "negative", "other"] as const).map((label) => {
    const button = h("button", { type: "button", class: "tool text", onclick: () => choose(label) }, h("i", { class: `mark ${label}` }), label);
    press(button, label === chosen);
    return button;
  });
  return h("div", { class: "group", role: "group", "aria-label": "Class" }, ...options);
}

function sizeChoice(brush: Brush): HTMLElement {
  const size = h("input", { type: "range", min: 6, max: 80, value: `${brush.radiusPx}`, "aria-label": "Size of the brush", oninput: () => (brush.radiusPx = Number(size.value)) });
  return size;
}
