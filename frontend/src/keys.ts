/** Keys go to what is in hand first, then to the page; never to either while something is typed. */

export type KeyEvent = CustomEvent<{ key: KeyboardEvent; used: boolean }>;

const TYPED = new Set(["INPUT", "TEXTAREA", "SELECT"]);

export function listenToKeys(): void {
  document.addEventListener("keydown", (key) => {
    const target = key.target as HTMLElement;
    const typed = TYPED.has(target.tagName) && (target as HTMLInputElement).type !== "checkbox";
    if (typed || key.altKey || document.querySelector("dialog[open]")) return;
    // A focused button or link keeps what presses it, but where the page says that keys are its own.
    const presses = key.key === "Enter" || key.key === " ";
    if (presses && target.closest("button, a, summary") && !target.closest("[data-own-keys]")) return;
    const detail = { key, used: false };
    document.dispatchEvent(new CustomEvent("ki67-key", { detail }));
    if (detail.used) key.preventDefault();
  });
}

export function onKeys(act: (key: KeyboardEvent) => boolean, signal: AbortSignal, first = false): void {
  const listen = ({ detail }: KeyEvent): void => {
    if (!detail.used) detail.used = act(detail.key);
  };
  document.addEventListener("ki67-key", listen as EventListener, { signal, capture: first });
}
