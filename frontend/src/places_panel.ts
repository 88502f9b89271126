/** Hot spots, guideline fields and areas left out, as lists that fly there. */

import { add, fill, h, tool } from "./dom";
import { count, percent } from "./format";
import type { CaseView } from "./view_page";

export function placesPanel(view: CaseView): HTMLElement {
  const list = h("ol", { class: "places" });
  const excluded = h("ul", { class: "places" });
  const leftOut = h("details", {}, h("summary", {}, "Not counted"), excluded);
  const paint = (): void => {
    fill(
      list,
      ...view.state.facts.places.map((place) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", "aria-current": place.id === view.chosenPlace ? "true" : null, onclick: () => view.flyTo(place.id) },
            h("span", {}, place.name),
            h("span", { class: "soft" }, `${count(place.positive + place.negative)} cells`),
            h("b", {}, percent(place.index_percent)),
          ),
        ),
      ),
    );
    if (!view.state.facts.places.length) add(list, h("li", { class: "soft" }, "None in this case"));
  };
  const paintExcluded = (): void => {
    leftOut.hidden = !view.excluded.length;
    fill(
      excluded,
      ...view.excluded.map((area) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", onclick: () => view.flyToBox(area.box) },
            h("span", {}, area.reason || area.kind || "left out"),
            h("b", {}, area.areaMm2 === null ? "" : `${area.areaMm2.toFixed(3)} mm²`),
          ),
        ),
      ),
    );
  };
  view.on("place", paint);
  view.on("regions", paintExcluded);
  view.state.addEventListener("numbers", paint, { signal: view.state.signal });
  paint();
  paintExcluded();
  const steps = h("span", { class: "steps" }, tool("back", "Place before", () => view.step(-1), { key: "[" }), tool("back", "Next place", () => view.step(1), { key: "]", class: "tool ahead" }));
  return h("details", { class: "block", open: true }, h("summary", {}, "Hot spots and fields", steps), list, leftOut);
}
