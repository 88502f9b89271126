/** Who changed what, when and why; the name and the reason of the next correction; signing out. */

import type { Correction } from "./api";
import type { CaseState } from "./case_state";
import { dialog, fill, h, icon } from "./dom";
import { when } from "./format";

export function historyPanel(state: CaseState): HTMLElement {
  const by = h("input", {
    type: "text",
    name: "by",
    autocomplete: "name",
    maxlength: 80,
    placeholder: "your name",
    value: state.by,
    onchange: () => (state.by = by.value),
  });
  const why = h("input", { type: "text", name: "why", maxlength: 200, placeholder: "as the tool says", value: state.why, oninput: () => (state.why = why.value.trim()) });
  const list = h("ol", { class: "history" });
  const sign = h("button", { type: "button", class: "plain sign" });
  const paint = (): void => {
    const { items } = state.history;
    fill(
      list,
      ...[...items].reverse().map((item) =>
        h(
          "li",
          { class: isUndone(item) ? "undone" : null },
          h("span", { class: "what" }, item.summary || item.kind),
          h("span", { class: "soft" }, `${item.who} · ${when(item.when)} · ${item.why}`, isUndone(item) ? " · does not hold" : null),
        ),
      ),
    );
    if (!items.length) fill(list, h("li", { class: "soft" }, "Nothing was corrected yet."));
    by.disabled = why.disabled = state.locked;
    fill(sign, icon("lock"), state.locked ? "Open again…" : "Sign out…");
    block.querySelector("summary")?.replaceChildren(`Corrections (${items.filter((item) => item.active && !ABOUT_THE_LOG.has(item.kind)).length})`);
  };
  sign.addEventListener("click", () => (state.locked ? askReopen(state) : askSignOut(state)));
  state.addEventListener("nameless", () => {
    block.open = true;
    by.focus();
  }, { signal: state.signal });
  const block = h(
    "details",
    { class: "block", open: true },
    h("summary", {}, "Corrections"),
    h("div", { class: "who" }, h("label", {}, "Who", by), h("label", {}, "Why", why)),
    list,
    sign,
  );
  for (const what of ["history", "numbers"]) state.addEventListener(what, paint, { signal: state.signal });
  paint();
  return block;
}

/** Entries that say what happened to the log, and hold by themselves. */
const ABOUT_THE_LOG = new Set(["undo", "redo", "sign_out", "reopen"]);

function isUndone(item: Correction): boolean {
  return !item.active && !ABOUT_THE_LOG.has(item.kind);
}

function askSignOut(state: CaseState): void {
  const box = dialog(
    "Sign out",
    h("p", {}, "This freezes the index and every correction as they are. They can be opened again, with a reason that is kept."),
    h(
      "form",
      {
        method: "dialog",
        onsubmit: () => void state.signOut(),
      },
      h("button", { class: "plain main" }, "Sign out as ", state.by || "…"),
    ),
  );
  if (!state.by) {
    box.close();
    state.dispatchEvent(new Event("nameless"));
  }
}

function askReopen(state: CaseState): void {
  const why = h("input", { type: "text", required: true, maxlength: 200, placeholder: "reason", "aria-label": "Reason" });
  dialog(
    "Open again",
    h("form", { method: "dialog", onsubmit: () => void state.reopen(why.value.trim()) }, why, h("button", { class: "plain main" }, "Open again")),
  );
}
