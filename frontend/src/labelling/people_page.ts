/** The administrator's page: people, who labels what, where every slide stands, what is opened once and for all. */

import { get, post } from "../api";
import { dialog, failed, fill, h, icon, tell } from "../dom";
import type { ViewPage } from "../view_page";
import type { Surroundings } from "./edit_page";
import { KIND_WORDS, office, STATE_WORDS, type PersonLine, type TaskLine } from "./office";
import { head } from "./progress_page";

const ROLES = ["labeller", "leader", "reviewer", "quality", "trainer", "administrator"] as const;
const IN_GROUPS = new Set<string>(["labeller", "leader"]);
const LABELS = new Set<string>(["labeller", "leader", "reviewer", "quality", "trainer"]);
const DEFAULT_SEED = 2020;
const SHORTEST_PASSWORD = 10;

export class PeoplePage implements ViewPage {
  readonly element = h("div", { class: "page people-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();
  private people: PersonLine[] = [];
  private tasks: TaskLine[] = [];
  private filter = "";

  constructor(private readonly here: Surroundings) {
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      const { signal } = this.stop;
      [this.people, this.tasks] = await Promise.all([get<PersonLine[]>(office("people"), signal), get<TaskLine[]>(office("tasks"), signal)]);
      this.paint();
    } catch (error) {
      failed(error);
      fill(this.element, h("p", { class: "waiting error" }, error instanceof Error ? error.message : ""));
    }
  }

  private async do<T>(path: string, body: unknown, said: (answer: T) => string): Promise<boolean> {
    try {
      tell(said(await post<T>(office(path), body, this.stop.signal)));
      await this.load();
      return true;
    } catch (error) {
      failed(error);
      return false;
    }
  }

  private paint(): void {
    const { project } = this.here;
    fill(
      this.element,
      h("div", { class: "list-head" }, h("h1", {}, "People"), h("button", { type: "button", class: "plain main", onclick: () => this.askPerson() }, "Add a person")),
      h("div", { class: "table-box" }, h("table", { class: "plain-table" }, head("Name", "Role", "Group", "Training", "Password", ""), h("tbody", {}, ...this.people.map((one) => this.personRow(one))))),
      h("div", { class: "list-head" }, h("h1", {}, "Slides"),
        h("button", { type: "button", class: "plain", onclick: () => this.askSeed("Assign all in balance", "assign-balanced", (answer: { tasks: number }) => `${answer.tasks} tasks assigned.`, "New slides go to labellers and leaders so that each has about as many; training slides to whoever has not passed them.") }, "Assign all…"),
        project.kind === "cells" ? h("button", { type: "button", class: "plain", onclick: () => this.askSeed("Draw squares to count in", "rois", (answer: { slides: number }) => `Squares drawn on ${answer.slides} slides.`, "Ten squares of 250 µm on every slide that has none, at random where there is tissue.") }, "Draw squares…") : null,
        project.unblinded ? h("span", { class: "soft" }, "test slides are open") : h("button", { type: "button", class: "plain", onclick: () => this.askUnblind() }, "Open the test slides…")),
      this.taskTable(),
    );
  }

  private personRow(one: PersonLine): HTMLElement {
    const acts = one.active
      ? [h("button", { type: "button", class: "plain", onclick: () => this.askPassword(one) }, one.can_log_in ? "New password…" : "Give a password…"), h("button", { type: "button", class: "plain", onclick: () => this.askRemoval(one) }, "Remove the name…")]
      : [];
    const training = IN_GROUPS.has(one.role) ? (one.trained ? "passed" : "not passed") : "";
    return h("tr", { class: one.active ? null : "gone" }, h("th", { scope: "row" }, one.name), h("td", {}, one.role), h("td", {}, one.group ?? ""), h("td", {}, one.active ? training : ""), h("td", {}, one.active && !one.can_log_in ? h("span", { class: "chip unfinished" }, "none") : ""), h("td", { class: "row-acts" }, ...acts));
  }

  private taskTable(): HTMLElement {
    const search = h("input", { type: "search", placeholder: "Slide, person or state", "aria-label": "Search slides", value: this.filter, oninput: () => ((this.filter = search.value), fillRows()) });
    const body = h("tbody");
    const fillRows = (): void => {
      const words = this.filter.toLowerCase().split(/\s+/).filter(Boolean);
      const found = this.tasks.filter((one) => words.every((word) => `${one.slide} ${one.labeller ?? ""} ${STATE_WORDS[one.state]} ${one.split} ${one.patient}`.toLowerCase().includes(word)));
      fill(body, ...found.map((one) => this.taskRow(one)));
    };
    fillRows();
    return h("div", {}, search, h("div", { class: "table-box" }, h("table", { class: "plain-table" }, head("Slide", "Patient", "Split", "Kind", "State", "Labeller", "Reviewer", "Minutes"), body)));
  }

  private taskRow(one: TaskLine): HTMLElement {
    const state = one.state;
    const who =
      state === "new"
        ? this.assignChoice(one)
        : h("span", {}, one.labeller ?? "", state === "assigned" && one.kind === "label" ? h("button", { type: "button", class: "plain small", onclick: () => void this.do(`tasks/${one.task}/unassign`, {}, () => `${one.slide} is free again.`) }, "Take back") : null);
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/task/${one.task}` }, one.slide)), h("td", {}, one.patient), h("td", {}, one.split), h("td", {}, KIND_WORDS[one.kind]), h("td", {}, h("span", { class: `chip ${state}` }, STATE_WORDS[state])), h("td", {}, who), h("td", {}, one.reviewer ?? ""), h("td", { class: "number" }, one.minutes ? one.minutes.toFixed(1) : ""));
  }

  private assignChoice(one: TaskLine): HTMLElement {
    const people = this.people.filter((person) => person.active && LABELS.has(person.role));
    const choice = h("select", { "aria-label": `Who labels ${one.slide}`, onchange: () => void this.do("assign", { slide: one.slide, to: choice.value }, () => `${one.slide} goes to ${choice.value}.`) }, h("option", { value: "" }, "assign to…"), ...people.map((person) => h("option", { value: person.name }, person.name)));
    return choice;
  }

  private ask(title: string, note: string, fields: HTMLElement[], button: string, send: () => Promise<boolean>): void {
    const act = async (): Promise<void> => {
      if (await send()) box.close();
    };
    const box = dialog(title, h("form", { class: "asked", onsubmit: (event: Event) => (event.preventDefault(), void act()) }, note ? h("p", { class: "note" }, note) : null, ...fields, h("footer", {}, h("button", { class: "plain main" }, button))));
    box.querySelector<HTMLElement>("input, select")?.focus();
  }

  private askPerson(): void {
    const groups = [...new Set(this.people.map((one) => one.group).filter((one): one is string => one !== null))];
    const name = h("input", { type: "text", required: true, maxlength: 100 });
    const role = h("select", {}, ...ROLES.map((one) => h("option", { value: one }, one)));
    const group = h("input", { type: "text", maxlength: 100, list: "groups" });
    const password = passwordField(false);
    this.ask("Add a person", "Labellers and leaders need a group. Give a password that the person changes when logged in.", [h("label", {}, "Name", name), h("label", {}, "Role", role), h("label", {}, "Group", group, h("datalist", { id: "groups" }, ...groups.map((one) => h("option", { value: one })))), h("label", {}, "Password", password)], "Add", () =>
      this.do("people", { name: name.value, role: role.value, group: IN_GROUPS.has(role.value) || group.value ? group.value : "", password: password.value }, () => `${name.value} is added.`),
    );
  }

  private askPassword(one: PersonLine): void {
    const password = passwordField(true);
    this.ask(`A password for ${one.name}`, "All open sessions of this person end.", [h("label", {}, "Password", password)], "Set it", () => this.do(`people/${one.person}/password`, { password: password.value }, () => `${one.name} can log in.`));
  }

  private askRemoval(one: PersonLine): void {
    this.ask(`Remove the name ${one.name}`, "The name and the password are taken away for good; labels and log keep a number. This cannot be undone.", [], "Remove it", () => this.do(`people/${one.person}/remove-name`, {}, (answer: { shown_as: string }) => `Shown as ${answer.shown_as} from now on.`));
  }

  private askSeed<T>(title: string, path: string, said: (answer: T) => string, note: string): void {
    const seed = h("input", { type: "number", min: 0, max: 2 ** 31 - 1, required: true, value: `${DEFAULT_SEED}` });
    this.ask(title, note, [h("label", {}, "Seed of the draw, kept in the log", seed)], "Draw", () => this.do(path, { seed: Number(seed.value) }, said));
  }

  private askUnblind(): void {
    this.ask("Open the test slides", "Labels of test slides can then be seen and exported. It is kept in the log and cannot be undone.", [h("p", { class: "reason" }, icon("warn"), h("span", {}, "Only when no model will be chosen by them any more."))], "Open them", async () => {
      const done = await this.do("unblind", {}, () => "The test slides are open.");
      if (done) this.here.project = { ...this.here.project, unblinded: true };
      this.paint();
      return done;
    });
  }

  close(): void {
    this.stop.abort();
  }
}

function passwordField(required: boolean): HTMLInputElement {
  return h("input", { type: "password", minlength: SHORTEST_PASSWORD, maxlength: 1024, autocomplete: "new-password", required });
}
