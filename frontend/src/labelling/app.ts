/** The pages of a labelling project: login, and what the address names. */

import { begin, get, LOGGED_OUT, post, Refusal, type Me } from "../api";
import { dialog, failed, fill, h, icon, tell, tool } from "../dom";
import { listenToKeys, onKeys } from "../keys";
import { wholeScreen } from "../view_bar";
import type { ViewPage } from "../view_page";
import { EditPage, type Surroundings } from "./edit_page";
import { GuidePage, keys } from "./guide_page";
import { askLogin, loginPage } from "./login";
import { nameWindow, office, type Project } from "./office";
import { PeoplePage } from "./people_page";
import { ProgressPage } from "./progress_page";
import { QualityPage } from "./quality_page";
import { ReadingPage } from "./reading_page";
import { ReadingsPage } from "./readings_page";
import { StudiesPage } from "./studies_page";
import { HOLDERS } from "./study";
import { WorkPage } from "./work_page";

type Name = "work" | "task" | "studies" | "reading" | "progress" | "people" | "quality" | "guide";

const TABS: readonly [Name, string, readonly Me["role"][] | null][] = [
  ["work", "My work", null],
  ["studies", "Reader study", null],
  ["quality", "Quality", ["quality"]],
  ["people", "People", ["administrator"]],
  ["progress", "Progress", null],
  ["guide", "Guideline", null],
];

interface Where {
  page: Name;
  /** Number of the task, or of the study that is read. */
  task: number;
  query: URLSearchParams;
}

export function where(hash: string): Where {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [, page, number] = path.split("/");
  const task = Number(number);
  if ((page === "task" || page === "reading") && Number.isInteger(task) && task > 0) return { page, task, query: new URLSearchParams(query) };
  const known = TABS.find(([name]) => name === page)?.[0] ?? "work";
  return { page: known, task: 0, query: new URLSearchParams(query) };
}

export class LabellingApp implements Surroundings {
  project!: Project;
  private readonly main = h("main", { id: "main" });
  private readonly header = h("header", { class: "top" });
  private page: ViewPage | null = null;
  private stop = new AbortController();
  private turn = 0;
  // The address as it was last read or written here. While it is another, somebody has just asked for something else.
  private read = "";
  private asking = false;

  private constructor(
    readonly root: Element,
    readonly me: Me,
  ) {}

  static async start(root: Element, me: Me | null | undefined): Promise<void> {
    if (!me) {
      document.title = "Labelling · ki67";
      fill(root, loginPage(() => void begin().then((session) => LabellingApp.start(root, session.person)).catch(failed)));
      root.querySelector<HTMLInputElement>("input[name=name]")?.focus();
      return;
    }
    const app = new LabellingApp(root, me);
    await nameWindow();
    app.project = await get<Project>(office("project"));
    app.show();
  }

  private show(): void {
    fill(this.root, h("a", { class: "skip", href: "#main", onclick: (event: Event) => (event.preventDefault(), this.main.focus()) }, "To the content"), this.header, this.main);
    this.main.tabIndex = -1;
    listenToKeys();
    onKeys((key) => this.key(key), new AbortController().signal);
    window.addEventListener("hashchange", () => void this.follow());
    document.addEventListener(LOGGED_OUT, () => void this.loggedOut());
    void this.follow();
  }

  /** A task or a reading keeps what was done, and asks itself; any other page is shown anew. */
  private async loggedOut(): Promise<void> {
    if (this.asking || ["task", "reading"].includes(where(window.location.hash).page)) return;
    this.asking = true;
    await askLogin(this.me);
    this.asking = false;
    void this.follow();
  }

  private key(key: KeyboardEvent): boolean {
    if (key.ctrlKey || key.metaKey) return false;
    if (key.key === "?") this.help();
    else if (key.key === "f") void wholeScreen();
    else return false;
    return true;
  }

  private help(): void {
    dialog("Keys", keys(this.project.kind === "cells"), h("p", { class: "note" }, "Research software, not a medical device."));
  }

  go(address: string): void {
    const before = window.location.hash.split("?")[0];
    window.history.replaceState(null, "", before === address ? window.location.hash : address);
    void this.follow();
  }

  keep(query: URLSearchParams): void {
    const [path = ""] = window.location.hash.split("?");
    query.delete("m");
    if (!path.startsWith("#/task/") || window.location.hash !== this.read) return;
    window.history.replaceState(null, "", `${path}?${query.toString()}`);
    this.read = window.location.hash;
  }

  private async follow(): Promise<void> {
    this.read = window.location.hash;
    const asked = where(this.read);
    const turn = ++this.turn;
    this.page?.close();
    this.page = null;
    this.stop.abort();
    this.stop = new AbortController();
    this.paintHeader(asked.page);
    try {
      if (asked.page === "task") fill(this.main, h("p", { class: "waiting" }, "Reading…"));
      const made = await this.made(asked);
      if (turn !== this.turn) return made.close();
      this.page = made;
      fill(this.main, made.element);
    } catch (error) {
      if (turn !== this.turn) return;
      if (error instanceof Refusal && error.status === 401) return window.location.reload();
      fill(this.main, h("p", { class: "waiting error" }, icon("warn"), error instanceof Error ? error.message : String(error)));
    }
  }

  private async made({ page, task, query }: Where): Promise<ViewPage> {
    if (page === "task") return EditPage.open(task, this, query, this.stop.signal);
    if (page === "reading") return new ReadingPage(task, this.me);
    if (page === "studies") return HOLDERS.has(this.me.role) ? new StudiesPage() : new ReadingsPage();
    if (page === "progress") return new ProgressPage(this);
    if (page === "people") return new PeoplePage(this);
    if (page === "quality") return new QualityPage();
    if (page === "guide") return new GuidePage(this);
    return new WorkPage(this);
  }

  private paintHeader(page: Name): void {
    const { me, project } = this;
    document.title = `${project.name} · ki67`;
    const tabs = TABS.filter(([, , roles]) => roles === null || roles.includes(me.role)).map(([name, text]) => h("a", { href: `#/${name}`, "aria-current": name === page || (name === "studies" && page === "reading") ? "page" : null }, text));
    const who = h("button", { type: "button", class: "tool text who-am-i", onclick: () => this.account() }, me.name, h("span", { class: "soft" }, me.group ? `${me.role}, ${me.group}` : me.role));
    fill(this.header, h("a", { class: "brand", href: "#/work", "aria-label": "My work" }, page === "task" ? icon("back") : null, h("b", {}, "ki67")), h("span", { class: "case-name", title: project.name }, project.name), h("span", { class: "room" }), h("nav", { "aria-label": "Project" }, ...tabs), who, tool("help", "Keys", () => this.help(), { key: "?" }));
  }

  private account(): void {
    const old = h("input", { type: "password", required: true, autocomplete: "current-password" });
    const next = h("input", { type: "password", required: true, minlength: 10, maxlength: 1024, autocomplete: "new-password" });
    const change = async (): Promise<void> => {
      try {
        await post(office("password"), { old: old.value, new: next.value });
        tell("Your password is changed; other sessions of yours have ended.");
        box.close();
      } catch (error) {
        failed(error);
      }
    };
    const leave = async (): Promise<void> => {
      await post(office("logout"), {}).catch(failed);
      window.location.reload();
    };
    const box = dialog(this.me.name, h("p", {}, h("button", { type: "button", class: "plain", onclick: () => void leave() }, "Log out")), h("form", { class: "asked", onsubmit: (event: Event) => (event.preventDefault(), void change()) }, h("h3", {}, "Another password"), h("label", {}, "The one until now", old), h("label", {}, "The new one, 10 characters or more", next), h("footer", {}, h("button", { class: "plain" }, "Change it"))));
  }
}
