/** Small helpers that make the page's elements; text is always text and never markup. */

type Child = Node | string | number | null | undefined | false;
type Attributes = Record<string, unknown>;

/** An element with attributes (`on…` are listeners, `class`, `dataset`, properties by `.name`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value" || name === "checked") (element as unknown as Attributes)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, ...children);
  return element;
}

export function add(parent: Node, ...children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    parent.appendChild(typeof child === "object" ? child : document.createTextNode(String(child)));
  }
}

export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  add(parent, ...children);
}

export function svg(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  add(element, ...children);
  return element;
}

const PATHS: Record<string, string> = {
  back: "M14 5l-7 7 7 7M7 12h13",
  side: "M3 5h8v14H3zM13 5h8v14h-8z",
  over: "M4 4h11v11H4zM9 9h11v11H9z",
  one: "M4 5h16v14H4z",
  link: "M9 15l6-6M10.5 7.5l2-2a4.2 4.2 0 016 6l-2 2M13.5 16.5l-2 2a4.2 4.2 0 01-6-6l2-2",
  select: "M5 3l6 16 2.3-6.7L20 10z",
  add: "M12 5v14M5 12h14",
  remove: "M5 12h14",
  brush: "M4 20c4 0 5-1 5-4 0-1.4 3-1.4 3 0 0 4-4 4-8 4zM10.5 14.500L19 4l2 2-9 9.500",
  wand: "M4 20L14 10M12.500 8.500l3 3M17 3v4M15 5h4M20 10v3M18.500 11.500h3M9 3v3M7.500 4.500h3",
  exclude: "M12 3a9 9 0 100 18 9 9 0 000-18zM6 6l12 12",
  include: "M12 3a9 9 0 100 18 9 9 0 000-18zM8 12.500l3 3 5-6.500",
  region: "M5 7l7-4 7 5-2 10-9 2-4-6z",
  erase: "M8 19h12M4.500 13.500l9-9a2 2 0 012.800 0l3.200 3.200a2 2 0 010 2.800L11 19H8l-3.500-3.500a1.400 1.400 0 010-2zM9 9l6 6",
  pin: "M12 21c-4-5-6-8-6-11a6 6 0 0112 0c0 3-2 6-6 11zM12 7.800a2.200 2.200 0 100 4.400 2.200 2.200 0 000-4.400z",
  nudge: "M12 3v18M3 12h18M12 3l-2.500 2.500M12 3l2.500 2.500M12 21l-2.500-2.500M12 21l2.500-2.500M3 12l2.500-2.500M3 12l2.500 2.500M21 12l-2.500-2.500M21 12l-2.500 2.500",
  pairs: "M7 4v8M3 8h8M17 12v8M13 16h8M9.500 10.500l5 3",
  undo: "M8 5L4 9l4 4M4 9h9a6 6 0 010 12h-3",
  redo: "M16 5l4 4-4 4M20 9h-9a6 6 0 000 12h3",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  turn: "M20 12a8 8 0 11-2.300-5.700M20 3v4.500h-4.500",
  home: "M4 11l8-7 8 7M6 10v10h12V10",
  plus: "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l5 5M8 11h6M11 8v6",
  minus: "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l5 5M8 11h6",
  help: "M12 3a9 9 0 100 18 9 9 0 000-18zM9.500 9.500a2.500 2.500 0 114 2c-1 .8-1.500 1.300-1.500 2.500M12 17v.2",
  panel: "M4 5h16v14H4zM15 5v14",
  warn: "M12 4L2.500 20h19zM12 10v5M12 17.500v.2",
  done: "M5 12.500l4.500 4.500L19 7",
  close: "M6 6l12 12M18 6L6 18",
  up: "M12 19V5M6 11l6-6 6 6",
  eye: "M2.500 12C5 7.500 8.300 5.500 12 5.500s7 2 9.500 6.500c-2.500 4.500-5.800 6.500-9.500 6.500s-7-2-9.500-6.500zM12 9a3 3 0 100 6 3 3 0 000-6z",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  folder: "M3 6h6l2 2h10v11H3z",
  lock: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 017 0v3",
};

export function icon(name: string): SVGElement {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: PATHS[name] ?? "" }));
}

/** A button with a picture; its label is read out and shown on hover, with its key where it has one. */
export function tool(name: string, label: string, act: () => void, more: Attributes & { key?: string } = {}): HTMLButtonElement {
  const { key, ...attributes } = more;
  const title = key ? `${label} (${key})` : label;
  return h("button", { type: "button", class: "tool", title, "aria-label": label, onclick: act, ...attributes }, icon(name));
}

export function press(button: HTMLElement, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}

let clearing = 0;

/** Say something that matters for a moment; errors stay longer. */
export function tell(message: string, kind: "done" | "error" = "done"): void {
  const place = document.getElementById("told");
  if (!place) return;
  window.clearTimeout(clearing);
  fill(place, h("p", { class: `told ${kind}` }, icon(kind === "done" ? "done" : "warn"), message));
  clearing = window.setTimeout(() => place.replaceChildren(), kind === "done" ? 3500 : 9000);
}

export function failed(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  tell(error instanceof Error ? error.message : String(error), "error");
}

/** A dialog over the page; it gives the focus back when it closes. */
export function dialog(title: string, ...content: Child[]): HTMLDialogElement {
  const shut = tool("close", "Close", () => box.close());
  const box = h("dialog", { "aria-label": title }, h("header", {}, h("h2", {}, title), shut), ...content);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}
