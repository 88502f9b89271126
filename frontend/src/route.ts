/** The address after `#`: which page, and the exact view, so that a link shows what its sender saw. */

import { normalDegrees, type View } from "./geometry";

export type Page = "view" | "gallery" | "count" | "files";
export type Mode = "side" | "over" | "ki67" | "he";

export interface Route {
  caseId: string | null;
  page: Page;
  query: URLSearchParams;
}

const PAGES: readonly Page[] = ["view", "gallery", "count", "files"];
const MODES: readonly Mode[] = ["side", "over", "ki67", "he"];

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, kind, id, page] = path.split("/");
  const known = PAGES.find((name) => name === page) ?? "view";
  const caseId = kind === "case" && id ? decoded(id) : null;
  return { caseId, page: known, query: new URLSearchParams(query) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function address(caseId: string | null, page: Page = "view", query?: URLSearchParams): string {
  if (caseId === null) return "#/";
  const rest = query?.toString();
  return `#/case/${encodeURIComponent(caseId)}/${page}${rest ? `?${rest}` : ""}`;
}

/** The view of the Ki-67 slide, the mode and the overlay's mix. */
export interface Shown {
  view: View | null;
  mode: Mode | null;
  opacity: number | null;
  curtain: number | null;
}

export function write(shown: { view: View; mode: Mode; opacity: number; curtain: number | null }): URLSearchParams {
  const { view } = shown;
  const query = new URLSearchParams({
    x: view.x.toFixed(2),
    y: view.y.toFixed(2),
    s: view.umPerPx.toPrecision(6),
    r: normalDegrees(view.deg).toFixed(2),
    m: shown.mode,
  });
  if (view.flip) query.set("f", "1");
  if (shown.mode === "over") {
    query.set("o", shown.opacity.toFixed(2));
    if (shown.curtain !== null) query.set("c", shown.curtain.toFixed(3));
  }
  return query;
}

export function read(query: URLSearchParams): Shown {
  const number = (name: string): number | null => {
    const text = query.get(name);
    const value = text === null || text === "" ? Number.NaN : Number(text);
    return Number.isFinite(value) ? value : null;
  };
  const [x, y, s] = [number("x"), number("y"), number("s")];
  const view =
    x === null || y === null || s === null || s <= 0
      ? null
      : { x, y, umPerPx: s, deg: number("r") ?? 0, flip: query.get("f") === "1" };
  return {
    view,
    mode: MODES.find((name) => name === query.get("m")) ?? null,
    opacity: within(number("o")),
    curtain: within(number("c")),
  };
}

function within(value: number | null): number | null {
  return value === null ? null : Math.min(1, Math.max(0, value));
}
