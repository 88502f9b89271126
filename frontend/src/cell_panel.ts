/** One cell: its picture at full resolution, what was measured, and another class for it. */

import { caseUrl, type Cell, type Label } from "./api";
import type { Picked } from "./cells";
import type { Corrector } from "./correction_bar";
import { h, press, tool } from "./dom";

const CROP_UM = 40;
const KEYS: Record<string, Label> = { p: "positive", n: "negative", o: "other" };

/** Give the picked cell a class, or take it away, by a key; true where the key was one of these. */
export function cellKey(view: Corrector, picked: Picked, key: KeyboardEvent): boolean {
  const label = KEYS[key.key];
  if (key.ctrlKey || key.metaKey) return false;
  if (label && label !== picked.label) void view.relabel([picked.row], label);
  else if (key.key === "Delete" || key.key === "Backspace") void view.remove([picked.row]);
  else return label !== undefined;
  return true;
}

export function cellPanel(view: Corrector, cell: Cell): HTMLElement {
  const { state } = view;
  const change = (to: Label): void => {
    if (to !== cell.label) void view.relabel([cell.row], to);
  };
  const classes = Object.entries(KEYS).map(([key, label]) => {
    const button = h(
      "button",
      { type: "button", class: "tool text", title: `${label} (${key})`, disabled: state.locked, onclick: () => change(label) },
      h("i", { class: `mark ${label}` }),
      label,
    );
    press(button, label === cell.label);
    return button;
  });
  const crop = caseUrl(state.id, `/cells/${cell.row}/crop.png?size_um=${CROP_UM}`);
  return h(
    "section",
    { class: "cell", "aria-label": "Cell" },
    h("div", { class: "aimed" }, h("img", { src: `/api/${crop}`, alt: `Cell ${cell.row}, ${CROP_UM} µm across`, width: 132, height: 132 })),
    h(
      "div",
      { class: "cell-facts" },
      h(
        "dl",
        {},
        ...fact("class", cell.label),
        ...fact("automatic", cell.automatic_label ?? "added by hand"),
        ...fact("probability", cell.probability == null ? "–" : cell.probability.toFixed(2)),
        ...fact("DAB", cell.dab_od_mean == null ? "–" : cell.dab_od_mean.toFixed(2)),
        ...fact("area", cell.area_um2 == null ? "–" : `${cell.area_um2.toFixed(0)} µm²`),
        ...fact("x, y in µm", `${cell.x_um.toFixed(0)}, ${cell.y_um.toFixed(0)}`),
      ),
    ),
    h(
      "div",
      { class: "group", role: "group", "aria-label": "Class of this cell" },
      ...classes,
      tool("remove", "Remove this cell", () => void view.remove([cell.row]), { disabled: state.locked }),
    ),
    tool("close", "Leave this cell", () => view.select(null)),
  );
}

function fact(name: string, value: string): HTMLElement[] {
  return [h("dt", {}, name), h("dd", {}, value)];
}
