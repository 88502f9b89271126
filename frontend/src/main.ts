/** The page: what the address names is shown, and nothing else is kept. */

import { begin } from "./api";
import { CaseState } from "./case_state";
import { dress } from "./colours";
import { CountPage } from "./count_page";
import { fill, h, icon, tool } from "./dom";
import { FilesPage } from "./files_page";
import { percent } from "./format";
import { Gallery } from "./gallery_page";
import { help } from "./help";
import { listenToKeys, onKeys } from "./keys";
import { LabellingApp } from "./labelling/app";
import { ListPage } from "./list_page";
import { address, parse, type Page, type Route } from "./route";
import { wholeScreen } from "./view_bar";
import { CaseView, type ViewPage } from "./view_page";

const TABS: readonly [Page, string][] = [
  ["view", "Slides"],
  ["gallery", "Gallery"],
  ["count", "Count"],
  ["files", "Report"],
];

class App {
  private readonly main = h("main", { id: "main" });
  private readonly header = h("header", { class: "top" });
  private state: CaseState | null = null;
  private stop = new AbortController();
  private page: ViewPage | null = null;
  private shown: Route | null = null;
  private turn = 0;
  private readonly views = new Map<string, URLSearchParams>();
  // The address as it was last read or written here. While it is another, somebody has just asked for something else.
  private read = "";

  start(root: Element): void {
    root.append(h("a", { class: "skip", href: "#main", onclick: (event: Event) => (event.preventDefault(), this.main.focus()) }, "To the content"), this.header, this.main);
    this.main.tabIndex = -1;
    listenToKeys();
    onKeys((key) => this.key(key), new AbortController().signal);
    window.addEventListener("hashchange", () => void this.follow());
    void this.follow();
  }

  private key(key: KeyboardEvent): boolean {
    if (key.ctrlKey || key.metaKey) return false;
    if (key.key === "?") help();
    else if (key.key === "f") void wholeScreen();
    else return false;
    return true;
  }

  private async follow(): Promise<void> {
    this.read = window.location.hash;
    const route = parse(this.read);
    const turn = ++this.turn;
    this.close();
    this.shown = route;
    try {
      if (route.caseId !== this.state?.id) {
        this.stop.abort();
        this.stop = new AbortController();
        this.state = null;
        fill(this.main, h("p", { class: "waiting" }, "Reading…"));
        if (route.caseId !== null) this.state = await CaseState.open(route.caseId, this.stop.signal);
      }
      if (turn !== this.turn) return;
      this.page = this.made(route);
      fill(this.main, this.page.element);
      this.paintHeader(route);
    } catch (error) {
      if (turn !== this.turn) return;
      this.paintHeader(route);
      fill(this.main, h("p", { class: "waiting error" }, icon("warn"), error instanceof Error ? error.message : String(error)));
    }
  }

  private made(route: Route): ViewPage {
    const { state } = this;
    if (!state) return new ListPage();
    if (route.page === "gallery") return new Gallery(state);
    if (route.page === "count") return new CountPage(state);
    if (route.page === "files") return new FilesPage(state);
    const query = route.query.size ? route.query : (this.views.get(state.id) ?? route.query);
    return new CaseView(state, query, (view) => this.keepView(state.id, view));
  }

  private keepView(id: string, view: URLSearchParams): void {
    this.views.set(id, view);
    if (this.shown?.caseId !== id || this.shown.page !== "view" || window.location.hash !== this.read) return;
    window.history.replaceState(null, "", address(id, "view", view));
    this.read = window.location.hash;
  }

  private paintHeader(route: Route): void {
    const { state } = this;
    const name = state?.facts.name ?? "ki67";
    document.title = state ? `${name} · ki67` : "ki67";
    const home = h("a", { class: "brand", href: "#/", "aria-label": "All cases" }, state ? icon("back") : null, h("b", {}, "ki67"));
    const tabs = TABS.map(([page, text]) =>
      h("a", { href: address(state?.id ?? null, page), "aria-current": page === route.page ? "page" : null }, text),
    );
    const index = h("span", { class: "top-index" });
    const paint = (): void => {
      const shown = state?.facts.corrected ?? state?.facts.automatic;
      fill(index, shown ? percent(shown.index_percent) : "", state?.locked ? icon("lock") : null);
    };
    state?.addEventListener("numbers", paint, { signal: state.signal });
    paint();
    fill(
      this.header,
      home,
      state ? h("span", { class: "case-name", title: name }, name) : null,
      // Whoever counts by eye is not told.
      state && route.page !== "count" ? index : null,
      h("span", { class: "room" }),
      state ? h("nav", { "aria-label": "Case" }, ...tabs) : null,
      tool("help", "Keys and marks", help, { key: "?" }),
    );
  }

  private close(): void {
    this.page?.close();
    this.page = null;
  }
}

async function main(): Promise<void> {
  dress();
  const root = document.getElementById("app");
  if (!root) return;
  try {
    const session = await begin();
    if (session.labelling) await LabellingApp.start(root, session.person);
    else new App().start(root);
  } catch (error) {
    fill(root, h("p", { class: "waiting error" }, icon("warn"), error instanceof Error ? error.message : String(error)));
  }
}

void main();
