/** Whether everything is saved, and if not, why and what to do; the two versions where somebody else was quicker. */

import { h, icon } from "../dom";
import type { Answer, Conflict, Labels, Saving } from "./labels";
import type { Label } from "./office";
import { areaUm2 } from "./shapes";

const WORDS: Record<Saving, string> = {
  saved: "All saved",
  waiting: "Saving…",
  saving: "Saving…",
  offline: "No connection: kept in this browser, sent as soon as the server answers",
  login: "Log in to go on saving: kept in this browser until then",
  held: "Read only",
  conflict: "A label that you changed was changed elsewhere, too",
  refused: "Not saved",
};

export function savingLine(labels: Labels, shown: boolean, takeOver: () => void, discard: () => void): HTMLElement | null {
  if (!shown && labels.saving !== "held") return null;
  const { saving, unsaved, why } = labels;
  const quiet = saving === "saved" || saving === "saving" || saving === "waiting";
  const told = unsaved && !quiet ? `${WORDS[saving]} (${unsaved} ${unsaved === 1 ? "change" : "changes"})` : WORDS[saving];
  return h(
    "div",
    { class: `saving ${saving}`, role: "status", "data-saving": saving },
    icon(saving === "saved" ? "done" : quiet ? "up" : "warn"),
    h("span", {}, told, !quiet && why && saving !== "offline" && saving !== "login" && saving !== "conflict" ? h("small", {}, why) : null),
    saving === "held" ? h("button", { type: "button", class: "plain", onclick: takeOver }, "Work here instead") : null,
    saving === "refused" && unsaved ? h("button", { type: "button", class: "plain", onclick: discard }, "Give these changes up") : null,
  );
}

/** Both versions, and which shall stand. */
export function mergeCard(labels: Labels, conflict: Conflict, colourOf: (label: string) => string, othersColour: string, show: () => void): HTMLElement {
  const { mine, theirs } = conflict;
  const choose = (answer: Answer) => () => labels.resolve(answer);
  const line = (what: string, one: Label, colour: string, dashed: boolean): HTMLElement =>
    h("li", {}, h("i", { class: dashed ? "dashed" : "solid", style: { borderColor: colour } }), h("b", {}, what), h("span", {}, described(one)));
  return h(
    "section",
    { class: "merge", role: "alertdialog", "aria-label": "Two versions of a label" },
    h("h3", {}, "Two versions of a label"),
    h("ul", {}, line("Yours", mine, colourOf(mine.label), false), line("Theirs", theirs, othersColour, true)),
    h("div", { class: "merge-acts" },
      h("button", { type: "button", class: "plain", onclick: show }, "Show it"),
      h("button", { type: "button", class: "plain", onclick: choose("mine") }, "Keep mine"),
      h("button", { type: "button", class: "plain", onclick: choose("theirs") }, "Keep theirs"),
      h("button", { type: "button", class: "plain", onclick: choose("both"), disabled: mine.deleted || theirs.deleted }, "Keep both"),
    ),
  );
}

function described(one: Label): string {
  if (one.deleted) return "taken away";
  const size = areaUm2(one.geometry);
  return size ? `${one.label}, ${(size / 1e6).toFixed(4)} mm²` : one.label;
}
