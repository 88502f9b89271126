/** The tools for labels: one is in hand at a time; classes by number; undo and redo. */

import { add, fill, h, press, tool } from "../dom";
import type { Outlining } from "../tools";
import type { EditPage } from "./edit_page";
import { brushing, drawing, join, marking, picking, removing, wand, type Bench, type Mode } from "./tools";

export type Hand = "pick" | "outline" | "wand" | "brush" | "erase" | "point" | "remove" | "pin";

type Line = readonly [Hand, string, string, string, string];

const PICK: Line = ["pick", "select", "Pick a label", "s", "Click a label to choose it; a number gives it another class, Delete takes it away."];
const PIN: Line = ["pin", "pin", "Pin a remark", "m", "Click where the remark belongs."];
const AREA_TOOLS: readonly Line[] = [
  PICK,
  ["outline", "region", "Outline an area", "g", "Drag draws freely; or click corners and close with a double click or Enter."],
  ["wand", "wand", "Magic outline", "w", "Click: what looks alike is outlined; zoom says how fine."],
  ["brush", "brush", "Brush", "b", "Paint; what touches an area of the class grows it."],
  ["erase", "erase", "Eraser", "e", "Rub out; of the chosen label alone where one is chosen."],
];
const POINT_TOOLS: readonly Line[] = [
  PICK,
  ["point", "add", "Mark a cell", "a", "Click each cell; Shift-click gives the other class."],
  ["remove", "remove", "Take a mark away", "d", "Click a mark."],
];
const MODES: readonly [Mode, string, string][] = [
  ["new", "New", "n"],
  ["add", "Add", "u"],
  ["cut", "Cut out", "x"],
];

export interface EditBar {
  element: HTMLElement;
  paint(): void;
  take(hand: Hand): void;
  key(event: KeyboardEvent): boolean;
}

export function editBar(page: EditPage): EditBar {
  const { project } = page.here;
  const { classes } = project;
  const lines = [...(project.kind === "cells" ? POINT_TOOLS : AREA_TOOLS)];
  let hand: Hand = "pick";
  let label = 0;
  let mode: Mode = "new";
  let radius = 24;
  let reach = 1;
  let snaps = false;
  let outline: Outlining | null = null;
  let wasOff = !page.editable;
  const bench: Bench = {
    pane: page.pane,
    labels: page.labels,
    get selected() {
      return page.selected;
    },
    className: () => classes[label]?.name ?? "",
    colour: () => classes[label]?.color ?? "#000",
    mode: () => mode,
    brushPx: () => radius,
    snaps: () => snaps,
    select: (uuid) => page.select(uuid),
  };

  const hold = (): void => {
    outline?.cancel();
    outline = null;
    const { pane } = page;
    if (hand === "pin") pane.pointerTool = { cursor: "crosshair", click: ({ um }) => (take("pick"), page.askRemark(um)) };
    else if (hand === "pick" || !page.editable) pane.pointerTool = picking(bench);
    else if (hand === "outline") pane.pointerTool = outline = drawing(bench);
    else if (hand === "wand") pane.pointerTool = wand(bench, (um) => page.outlineAt(um, reach));
    else if (hand === "brush" || hand === "erase") pane.pointerTool = brushing(bench, hand === "erase");
    else if (hand === "point") pane.pointerTool = marking(bench, () => classes[(label + 1) % classes.length]?.name ?? "");
    else pane.pointerTool = removing(bench);
    pane.element.style.setProperty("--cursor", pane.pointerTool.cursor);
    pane.redraw();
  };

  const take = (next: Hand): void => {
    hand = next;
    hold();
    paint();
  };

  const choose = (number: number): void => {
    const one = classes[number];
    if (!one) return;
    label = number;
    const shape = page.selected ? page.labels.shapes.get(page.selected) : undefined;
    if (page.editable && page.selected && shape && hand === "pick" && shape.label !== one.name) page.labels.edit([{ uuid: page.selected, after: { ...shape, label: one.name } }]);
    hold();
    paint();
  };

  const chooseMode = (next: Mode): void => {
    mode = next;
    paint();
  };

  const snap = (): void => {
    snaps = !snaps;
    paint();
  };

  const removeSelected = (): void => {
    if (page.editable && page.selected) page.labels.edit([{ uuid: page.selected, after: null }]);
  };

  const buttons = lines.map(([name, picture, text, key]) => [name, tool(picture, text, () => take(name), { key })] as const);
  const pin = tool(PIN[1], PIN[2], () => take("pin"), { key: PIN[3] });
  const undo = tool("undo", "Undo", () => page.labels.undo(), { key: "Ctrl+Z" });
  const redo = tool("redo", "Redo", () => page.labels.redo(), { key: "Ctrl+Y" });
  const chips = classes.map((one, number) => h("button", { type: "button", class: "tool text class-chip", title: `${one.name} (${number + 1})`, onclick: () => choose(number) }, h("i", { class: "swatch", style: { background: one.color } }), one.name, h("kbd", {}, `${number + 1}`)));
  const modes = MODES.map(([name, text, key]) => [name, h("button", { type: "button", class: "tool text", title: `${text} (${key})`, onclick: () => chooseMode(name) }, text)] as const);
  const modeGroup = h("div", { class: "group", role: "group", "aria-label": "What the outline does" }, ...modes.map(([, button]) => button));
  const size = h("input", { type: "range", min: 4, max: 120, value: `${radius}`, "aria-label": "Size of the brush", oninput: () => (radius = Number(size.value)) });
  const unlike = h("input", { type: "range", min: 0.25, max: 2.5, step: 0.05, value: "1", "aria-label": "Reach: how unlike the place it may be", title: "Reach", oninput: () => (reach = Number(unlike.value)) });
  const snapButton = h("button", { type: "button", class: "tool text", title: "Corners go to the edges of areas near them (q)", onclick: () => snap() }, "Snap");
  const joinButton = h("button", { type: "button", class: "tool text", title: "Join with what it touches (j)", onclick: () => join(bench) }, "Join");
  const removeButton = h("button", { type: "button", class: "tool text", title: "Delete", onclick: removeSelected }, "Take away");
  const options = h("div", { class: "options" });

  const paint = (): void => {
    const off = !page.editable;
    for (const [name, button] of buttons) {
      press(button, hand === name);
      button.disabled = off && name !== "pick";
    }
    press(pin, hand === "pin");
    pin.hidden = !page.facts.may_see;
    chips.forEach((chip, number) => {
      press(chip, number === label);
      chip.disabled = off;
    });
    for (const [name, button] of modes) press(button, name === mode);
    press(snapButton, snaps);
    undo.disabled = off || !page.labels.canUndo;
    redo.disabled = off || !page.labels.canRedo;
    const said = [...lines, PIN].find(([name]) => name === hand)?.[4] ?? "";
    fill(options);
    if ((hand === "outline" || hand === "wand") && !off) add(options, modeGroup);
    if (hand === "outline" && !off) add(options, snapButton);
    if (hand === "wand" && !off) add(options, h("label", { class: "slider" }, "Reach", unlike));
    if (hand === "brush" || hand === "erase") add(options, size);
    if (hand === "pick" && page.selected && !off) add(options, project.kind === "regions" && joinButton, removeButton);
    const told = off && hand !== "pin" ? "Read only." : said;
    add(options, h("span", { class: "hint", title: told }, told));
    if (off !== wasOff) {
      wasOff = off;
      hold();
    }
  };

  const key = (event: KeyboardEvent): boolean => {
    if (event.ctrlKey || event.metaKey) {
      if (!page.editable) return false;
      const letter = event.key.toLowerCase();
      if (letter === "z" && !event.shiftKey) page.labels.undo();
      else if (letter === "y" || letter === "z") page.labels.redo();
      else return false;
      return true;
    }
    const next = [...lines, PIN].find(([, , , letter]) => letter === event.key)?.[0];
    const nextMode = project.kind === "regions" ? MODES.find(([, , letter]) => letter === event.key)?.[0] : undefined;
    if (next === "pin" ? page.facts.may_see : next && (page.editable || next === "pick")) take(next as Hand);
    else if (nextMode && page.editable) {
      mode = nextMode;
      take(hand === "wand" ? "wand" : "outline");
    } else if (/^[1-9]$/.test(event.key) && page.editable) choose(Number(event.key) - 1);
    else if (event.key === "q" && project.kind === "regions" && page.editable) snap();
    else if (event.key === "Escape") (page.select(null), take("pick"));
    else if (event.key === "Enter" && outline) outline.finish();
    else if (event.key === "Delete" || event.key === "Backspace") removeSelected();
    else if (event.key === "j" && project.kind === "regions" && page.editable) join(bench);
    else return false;
    return true;
  };

  const element = h(
    "div",
    { class: "bar edit-bar", role: "toolbar", "aria-label": "Label" },
    h("div", { class: "group", role: "group", "aria-label": "Tools" }, ...buttons.map(([, button]) => button), pin),
    h("div", { class: "group classes", role: "group", "aria-label": "Class" }, ...chips),
    h("div", { class: "group" }, undo, redo),
    options,
  );
  if (page.editable) hand = project.kind === "cells" ? "point" : "outline";
  hold();
  return { element, paint, take, key };
}
