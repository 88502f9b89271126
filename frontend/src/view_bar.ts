/** How the sections are looked at: side by side or over one another, power, turn, whole screen. */

import { add, h, press, tell, tool } from "./dom";
import { magnification } from "./geometry";
import type { Mode } from "./route";
import type { CaseView } from "./view_page";

const POWERS = [2.5, 5, 10, 20, 40];
const MODES: readonly [Mode, string, string][] = [
  ["side", "side", "Side by side"],
  ["over", "over", "H&E over Ki-67"],
  ["ki67", "one", "Ki-67 alone"],
  ["he", "one", "H&E alone"],
];

export function viewBar(view: CaseView): HTMLElement {
  const { facts } = view.state;
  const whyNot = (mode: Mode): string | null => {
    if (mode !== "ki67" && !view.he) return facts.slides.he?.why_not ?? "This case has no H&E slide";
    if (mode === "over" && !view.warped) return "The sections are not registered";
    return null;
  };
  const modes = MODES.map(([mode, picture, label]) => {
    const reason = whyNot(mode);
    const named = mode === "ki67" || mode === "he" ? (mode === "he" ? "H&E" : "Ki-67") : "";
    const button = tool(picture, reason ? `${label}: ${reason}` : label, () => view.setMode(mode), { disabled: reason !== null });
    add(button, named);
    return [mode, button] as const;
  });
  const opacity = h("input", {
    type: "range",
    min: 0,
    max: 100,
    "aria-label": "Opacity of the H&E",
    oninput: () => view.setMix(Number(opacity.value) / 100, null),
  });
  const curtain = h("button", { type: "button", class: "tool text", onclick: () => view.setMix(view.opacity, view.curtain === null ? 0.5 : null) }, "Curtain");
  const mix = h("div", { class: "group mix", role: "group", "aria-label": "Mix" }, opacity, curtain);
  const link = tool("link", "Move both sections together", () => {
    if (view.link) view.link.linked = !view.link.linked;
    paint();
  });
  const linked = h("div", { class: "group" }, link);
  const power = h(
    "select",
    { "aria-label": "Magnification", class: "power", onchange: () => view.zoomTo(magnification(Number(power.value))) },
    ...POWERS.map((value) => h("option", { value: `${value}` }, `${value}×`)),
    h("option", { value: "", disabled: true, hidden: true }, "zoom"),
  );
  power.value = "";
  power.addEventListener("change", () => (power.value = ""));
  const turn = h("input", {
    type: "range",
    min: 0,
    max: 359,
    class: "turn",
    "aria-label": "Turn in degrees",
    oninput: () => view.turnTo(Number(turn.value)),
  });
  const paint = (): void => {
    for (const [mode, button] of modes) press(button, view.mode === mode);
    mix.hidden = view.mode !== "over";
    opacity.value = `${Math.round(100 * view.opacity)}`;
    opacity.disabled = view.curtain !== null;
    press(curtain, view.curtain !== null);
    linked.hidden = view.mode !== "side" || !view.link;
    press(link, view.link?.linked ?? false);
  };
  view.on("mode", paint);
  view.ki67.addEventListener("move", () => (turn.value = `${Math.round(view.ki67.view.deg)}`));
  paint();
  return h(
    "div",
    { class: "bar view-bar", role: "toolbar", "aria-label": "View" },
    h("div", { class: "group", role: "group", "aria-label": "Sections" }, ...modes.map(([, button]) => button)),
    mix,
    linked,
    h(
      "div",
      { class: "group", role: "group", "aria-label": "Zoom" },
      tool("minus", "Smaller", () => view.leader.zoomBy(1 / 1.5), { key: "−" }),
      tool("plus", "Larger", () => view.leader.zoomBy(1.5), { key: "+" }),
      power,
      tool("home", "The whole region", () => view.flyToRegion(), { key: "0" }),
    ),
    h("div", { class: "group", role: "group", "aria-label": "Turn" }, tool("turn", "Turn by 15°", () => view.leader.turnBy(15), { key: "r" }), turn),
    h("div", { class: "group" }, tool("full", "Whole screen", () => void wholeScreen(), { key: "f" })),
  );
}

export async function wholeScreen(): Promise<void> {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
  } catch {
    tell("The browser does not give the whole screen here.", "error");
  }
}
