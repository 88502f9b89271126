/** What waits for a person: training first, own work with why it came back, work to review. */

import { get, type Me } from "../api";
import { failed, fill, h, icon } from "../dom";
import { count } from "../format";
import type { ViewPage } from "../view_page";
import type { Surroundings } from "./edit_page";
import { keysWaiting } from "./local";
import { KIND_WORDS, office, perform, STATE_WORDS, type Act, type Desk, type Project, type Task } from "./office";

const TO_DO = new Set(["assigned", "in_progress", "returned", "qc_failed"]);

export class WorkPage implements ViewPage {
  readonly element = h("div", { class: "page work-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();

  constructor(private readonly here: Surroundings) {
    void this.load();
  }

  private async load(): Promise<void> {
    const { me, project } = this.here;
    try {
      const [desk, waiting] = await Promise.all([get<Desk>(office("desk"), this.stop.signal), keysWaiting(`${project.id} ${me.person}`)]);
      this.paint(desk, new Set(waiting.map((key) => Number(key.split(" ")[2]))));
    } catch (error) {
      failed(error);
      fill(this.element, h("p", { class: "waiting error" }, error instanceof Error ? error.message : ""));
    }
  }

  private paint(desk: Desk, waiting: ReadonlySet<number>): void {
    const { me, project } = this.here;
    const toDo = desk.own.filter((task) => TO_DO.has(task.state));
    const done = desk.own.filter((task) => !TO_DO.has(task.state));
    const training = toDo.filter((task) => task.kind === "training");
    const rest = toDo.filter((task) => task.kind !== "training");
    const [first] = [...toDo, ...desk.review];
    fill(
      this.element,
      h("div", { class: "list-head" }, h("h1", {}, "My work"), h("span", { class: "soft" }, summary(toDo.length, desk.review.length)), first ? h("a", { class: "plain main next", href: `#/task/${first.task}` }, "Next") : null),
      training.length && !desk.trained ? h("p", { class: "notice" }, icon("warn"), h("span", {}, "The training slides come first. They have a known answer; the others open when you have passed them. ", h("a", { href: "#/guide" }, "Read the guideline"))) : null,
      section("Training", training, waiting),
      section("To label", rest, waiting),
      section("To review", desk.review, waiting, (task) => this.reviewButton(task)),
      section("Done", done, waiting),
      desk.own.length + desk.review.length ? null : nothing(me, project),
    );
  }

  private reviewButton(task: Task): HTMLElement | null {
    if (!task.acts.includes("take_review")) return null;
    return h("button", { type: "button", class: "plain", onclick: () => void this.take(task, "take_review") }, "Review it");
  }

  private async take(task: Task, act: Act): Promise<void> {
    try {
      await perform(task.task, act);
      this.here.go(`#/task/${task.task}`);
    } catch (error) {
      failed(error);
      void this.load();
    }
  }

  close(): void {
    this.stop.abort();
  }
}

function several(number: number, what: string): string {
  return `${count(number)} ${what}${number === 1 ? "" : "s"}`;
}

function summary(toDo: number, review: number): string {
  const parts = [`${count(toDo)} to label`];
  if (review) parts.push(`${count(review)} to review`);
  return parts.join(", ");
}

function section(title: string, tasks: readonly Task[], waiting: ReadonlySet<number>, button?: (task: Task) => HTMLElement | null): HTMLElement | null {
  if (!tasks.length) return null;
  return h("section", {}, h("h2", {}, title), h("ul", { class: "tasks" }, ...tasks.map((task) => line(task, waiting.has(task.task), button?.(task) ?? null))));
}

function line(task: Task, waits: boolean, button: HTMLElement | null): HTMLElement {
  const picture = h("img", { src: `/api/${office(`slides/${task.slide}/thumbnail.jpg`)}`, alt: "", loading: "lazy", onerror: () => picture.remove() });
  const facts = [
    task.own ? null : `by ${task.labeller ?? "nobody"}`,
    task.prelabelled ? `beforehand by ${task.prelabelled}` : null,
    task.labels === null ? null : several(task.labels, "label"),
    task.open_remarks ? several(task.open_remarks, "open remark") : null,
    task.minutes ? `${task.minutes} min` : null,
  ].filter((one) => one !== null);
  return h(
    "li",
    {},
    h("a", { class: "thumb", href: `#/task/${task.task}`, tabindex: -1, "aria-hidden": "true" }, picture),
    h("div", {}, h("a", { href: `#/task/${task.task}` }, task.name), task.kind === "label" ? null : h("span", { class: "soft" }, ` ${KIND_WORDS[task.kind]}`), h("p", { class: "soft" }, facts.join(" · ")), task.reason ? h("p", { class: "reason" }, icon("back"), h("span", {}, task.reason)) : null, waits ? h("p", { class: "reason" }, icon("warn"), h("span", {}, "Not all of it is saved yet: open it")) : null),
    h("span", { class: `chip ${task.state}` }, STATE_WORDS[task.state]),
    button,
  );
}

function nothing(me: Me, project: Project): HTMLElement {
  const text = { administrator: "You assign slides and see who is where: People, Progress.", trainer: "The guideline is yours to write: Guideline.", quality: "Draw accepted slides of a group: Quality." }[me.role as string];
  return h("p", { class: "nothing" }, text ?? `Nothing waits for you in ${project.name}.`);
}
