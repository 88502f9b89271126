/** The form that a reader study is started with. */

import { h } from "../dom";
import type { Studies } from "./study";

const DEFAULT_MINUTES = 30;
const DEFAULT_SEED = 2020;

export interface StudyBody {
  name: string;
  slides: { slide: string; regions: string | null }[];
  readers: string[];
  minutes: number;
  live: boolean;
  seed: number;
  standard: string | null;
}

/** Names to choose from, with a search where they are many. */
class Choice {
  private readonly boxes: readonly { name: string; box: HTMLInputElement; line: HTMLElement }[];
  private readonly count = h("span", { class: "soft" });
  readonly element: HTMLElement;

  constructor(title: string, names: readonly { name: string; more: string }[], changed: () => void) {
    this.boxes = names.map(({ name, more }) => {
      const box = h("input", { type: "checkbox", onchange: () => (this.paint(), changed()) });
      return { name, box, line: h("label", { class: "check" }, box, h("span", {}, name), more ? h("span", { class: "soft" }, more) : null) };
    });
    const search = h("input", { type: "search", placeholder: "Search", "aria-label": `Search ${title.toLowerCase()}`, oninput: () => this.narrow(search.value) });
    this.element = h("fieldset", { class: "choice" }, h("legend", {}, title, " ", this.count), search, h("div", { class: "choice-list" }, ...this.boxes.map(({ line }) => line)));
    this.paint();
  }

  get chosen(): string[] {
    return this.boxes.filter(({ box }) => box.checked).map(({ name }) => name);
  }

  private narrow(text: string): void {
    const wanted = text.toLowerCase();
    for (const { name, line } of this.boxes) line.hidden = !name.toLowerCase().includes(wanted);
  }

  private paint(): void {
    this.count.textContent = `${this.chosen.length} chosen`;
  }
}

export function studyForm(choices: Studies, send: (body: StudyBody) => Promise<void>, leave: () => void): HTMLElement {
  const name = h("input", { type: "text", required: true, maxlength: 100 });
  const minutes = h("input", { type: "number", min: 1, max: 600, step: "any", required: true, value: `${DEFAULT_MINUTES}` });
  const live = h("select", {}, h("option", { value: "" }, "sealed until closing"), h("option", { value: "live" }, "live: own place at the end"));
  const seed = h("input", { type: "number", min: 0, max: 2 ** 31 - 1, required: true, value: `${DEFAULT_SEED}` });
  const said = h("p", { class: "note" });
  const files = h("input", { type: "file", multiple: true, onchange: () => match() });
  const standard = h("input", { type: "file", accept: ".csv,text/csv" });
  const slides = new Choice("Slides", choices.slides.map((one) => ({ name: one, more: "" })), () => match());
  const readers = new Choice("Readers", choices.people.map((one) => ({ name: one.name, more: one.role })), () => undefined);

  /** A region file belongs to the slide that it is called after. */
  const regionsOf = (): Map<string, File> => new Map([...(files.files ?? [])].map((file) => [file.name.split(".")[0] ?? "", file]));
  const match = (): void => {
    const chosen = new Set(slides.chosen);
    const [found, astray] = [[...regionsOf()].filter(([slide]) => chosen.has(slide)), [...regionsOf()].filter(([slide]) => !chosen.has(slide))];
    said.textContent = found.length || astray.length ? `Regions for ${found.length} ${found.length === 1 ? "slide" : "slides"}.${astray.length ? ` Called after no chosen slide: ${astray.map(([, file]) => file.name).join(", ")}.` : ""}` : "";
  };
  const start = async (): Promise<void> => {
    const outlined = regionsOf();
    const given = await Promise.all(slides.chosen.map(async (slide) => ({ slide, regions: (await outlined.get(slide)?.text()) ?? null })));
    await send({ name: name.value, slides: given, readers: readers.chosen, minutes: Number(minutes.value), live: live.value === "live", seed: Number(seed.value), standard: (await standard.files?.[0]?.text()) ?? null });
  };
  return h(
    "form",
    { class: "card study-form", onsubmit: (event: Event) => (event.preventDefault(), void start()) },
    h("div", { class: "study-fields" }, h("label", {}, "Name, as readers see it", name), h("label", {}, "Minutes for all slides", minutes), h("label", {}, "Ranking", live), h("label", {}, "Seed of the orders, kept in the log", seed)),
    h("div", { class: "choices" }, slides.element, readers.element),
    h("div", { class: "study-fields" }, h("label", {}, "Region files, each called after its slide (if wanted)", files), h("label", {}, "Gold standard, CSV with slide, index_percent (or later)", standard)),
    said,
    h("p", { class: "note" }, "Readers see slides by number, each in an order of the own. Administrators and trainers know the slides by name and read in none. Nobody sees the standard or an answer before the study is closed."),
    h("footer", {}, h("button", { type: "button", class: "plain", onclick: leave }, "Leave it"), h("button", { class: "plain main" }, "Start the study")),
  );
}
