/** Keys, and what the marks mean. */

import { dialog, h } from "./dom";

const KEYS: readonly [string, string][] = [
  ["arrows, + −, 0", "move, zoom, the whole region"],
  ["r, Shift r", "turn"],
  ["v", "side by side, over one another, one alone"],
  ["h", "hide all that is drawn, and back"],
  ["[ ]", "hot spot or field before, next"],
  ["f", "whole screen"],
  ["s a d b", "pick, add, remove a cell; brush over many"],
  ["x i g m l", "exclude, count after all, redraw the region; move it by keys, by pairs of places"],
  ["p n o, Delete", "the picked cell is positive, negative, other; is none"],
  ["Ctrl+Z, Ctrl+Y", "undo, redo"],
  ["?", "this"],
];

export function help(): void {
  dialog(
    "Keys and marks",
    h("table", { class: "keys" }, ...KEYS.map(([key, text]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, text)))),
    h(
      "p",
      { class: "marks" },
      ...(["positive", "negative", "other"] as const).flatMap((label) => [h("i", { class: `mark ${label}` }), ` ${label}   `]),
      "dashed: added or changed by hand",
    ),
    h("p", { class: "note" }, "Research software, not a medical device."),
  );
}
