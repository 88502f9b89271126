/** What was said of the labels, at places or on the whole; ticked off as it is mended. */

import { h } from "../dom";
import { when } from "../format";
import type { Remark } from "./office";

export interface RemarkActs {
  choose(remark: Remark): void;
  settle(remark: Remark, settled: boolean): void;
  pin(): void;
  write(): void;
}

export function remarksPanel(remarks: readonly Remark[], chosen: number | null, acts: RemarkActs): HTMLElement {
  const open = remarks.filter((one) => !one.settled).length;
  const lines = remarks.map((remark, number) => {
    const done = h("input", { type: "checkbox", checked: remark.settled, onchange: () => acts.settle(remark, done.checked) });
    return h(
      "li",
      { class: remark.settled ? "settled" : null },
      h("button", { type: "button", "aria-current": remark.remark === chosen ? "true" : null, onclick: () => acts.choose(remark) },
        h("b", {}, `${number + 1}`),
        h("span", {}, remark.text, h("small", {}, `${remark.by}, ${when(new Date(1000 * remark.at).toISOString())}${remark.x_um === null ? ", on the whole" : ""}`))),
      h("label", { class: "check" }, done, "done"),
    );
  });
  return h(
    "details",
    { class: "block", open: true },
    h("summary", {}, `Remarks${remarks.length ? ` (${open} open)` : ""}`),
    h("ol", { class: "remarks" }, ...lines),
    h("div", { class: "remark-acts" }, h("button", { type: "button", class: "plain", onclick: acts.pin }, "Pin to a place"), h("button", { type: "button", class: "plain", onclick: acts.write }, "On the whole")),
  );
}
