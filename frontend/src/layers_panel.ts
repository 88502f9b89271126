/** What is drawn over the sections, each switched by itself. */

import type { Label } from "./api";
import { choosePalette, paletteName } from "./colours";
import { h } from "./dom";
import type { CaseView } from "./view_page";

export interface LayerChoice {
  cells: boolean;
  classes: Set<Label>;
  regions: boolean;
  excluded: boolean;
  places: boolean;
  density: boolean;
  layers: Map<string, number>;
}

export function layersPanel(view: CaseView): HTMLElement {
  const { choice } = view;
  const redraw = (): void => view.redraw();
  const flag = (name: "cells" | "regions" | "excluded" | "places" | "density", text: string): HTMLElement =>
    check(text, choice[name], (on) => {
      choice[name] = on;
      redraw();
    });
  const classes = (["positive", "negative", "other"] as const).map((label) =>
    check(
      label,
      choice.classes.has(label),
      (on) => {
        if (on) choice.classes.add(label);
        else choice.classes.delete(label);
        redraw();
      },
      h("i", { class: `mark ${label}` }),
    ),
  );
  const layers = view.layers.map((layer) => {
    const slider = h("input", {
      type: "range",
      min: 0,
      max: 100,
      value: "0",
      "aria-label": `Opacity of ${layer.label}`,
      oninput: () => view.setLayer(layer.id, Number(slider.value) / 100),
    });
    const where = layer.slide === "he" ? "on H&E" : "on Ki-67";
    const legend = h("span", { class: "soft legend" }, layer.low, h("i", { class: "viridis" }), layer.high);
    return h("label", { class: "layer", title: layer.legend }, h("span", {}, layer.label, " ", h("span", { class: "soft" }, where)), slider, legend);
  });
  const safe = check("Colours for every eye (orange and blue)", paletteName() === "safe", (on) => choosePalette(on ? "safe" : "paper"));
  return h(
    "details",
    { class: "block", open: true },
    h("summary", {}, "Layers"),
    h("div", { class: "checks" }, flag("cells", "Cells"), flag("density", "Density from far"), flag("regions", "Region"), flag("excluded", "Left out"), flag("places", "Hot spots, fields")),
    h("div", { class: "checks", role: "group", "aria-label": "Classes" }, ...classes),
    ...layers,
    safe,
  );
}

function check(text: string, on: boolean, act: (on: boolean) => void, mark?: HTMLElement): HTMLElement {
  const box = h("input", { type: "checkbox", checked: on, onchange: () => act(box.checked) });
  return h("label", { class: "check" }, box, mark ?? null, text);
}
