/** Colours of the classes: the paper's, or a pair that every eye tells apart. Shapes differ as well. */

import type { Label } from "./api";

export interface Palette {
  positive: string;
  negative: string;
  other: string;
}

const PALETTES: Record<"paper" | "safe", Palette> = {
  paper: { positive: "#d3202f", negative: "#12913f", other: "#6a6f77" },
  // Vermilion and blue of Okabe and Ito: apart for every kind of colour vision.
  safe: { positive: "#d55e00", negative: "#0072b2", other: "#6a6f77" },
};

const KEY = "ki67.colours";
const changed = new EventTarget();

export function paletteName(): "paper" | "safe" {
  return localStorage.getItem(KEY) === "safe" ? "safe" : "paper";
}

export function palette(): Palette {
  return PALETTES[paletteName()];
}

export function colourOf(label: Label): string {
  return palette()[label];
}

export function choosePalette(name: "paper" | "safe"): void {
  localStorage.setItem(KEY, name);
  dress();
  changed.dispatchEvent(new Event("change"));
}

/** Tell the style sheet, too. */
export function dress(): void {
  for (const [name, colour] of Object.entries(palette())) document.documentElement.style.setProperty(`--${name}`, colour);
}

export function onPalette(act: () => void, signal: AbortSignal): void {
  changed.addEventListener("change", act, { signal });
}

/** Red, green and blue of a colour `#rrggbb`. */
export function rgb(colour: string): [number, number, number] {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16)) as [number, number, number];
}
