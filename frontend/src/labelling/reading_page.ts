/** One reader's part in a study: blinded slides, a clock that the server keeps, a whole percent for each slide. */

import { get, post, Refusal, type Me } from "../api";
import { dialog, failed, fill, h, icon, tell, tool } from "../dom";
import { outlinesOf, regions } from "../drawings";
import { onKeys } from "../keys";
import { SlideView } from "../slide_view";
import { wholeScreen } from "../view_bar";
import type { ViewPage } from "../view_page";
import { askLogin } from "./login";
import { office } from "./office";
import { movedByKey } from "./pane_keys";
import { rankingTables } from "./ranking_table";
import { clock, wholePercent, type Front, type Ranking, type ReadingFacts, type Standing } from "./study";

const TICK_MS = 250;
const AGAIN_MS = 3000;
const FEW_S = 300;
const LAST_S = 60;
/** What is typed is sent by itself when so much is left. */
const LAST_CALL_S = 1.5;
const REGION_COLOUR = "#17586f";

export class ReadingPage implements ViewPage {
  readonly element = h("div", { class: "page reading-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();
  private facts!: ReadingFacts;
  private pane: SlideView | null = null;
  private ends = 0;
  private timer = 0;
  private again = 0;
  private called = false;
  private busy = false;
  private readonly left = h("b", { class: "time-left", role: "timer", "aria-label": "Time left" });
  private readonly field = h("input", { type: "text", name: "percent", inputmode: "numeric", maxlength: 3, autocomplete: "off", "aria-label": "Ki-67 index, whole percent", oninput: () => this.paintKept() });
  private readonly kept = h("p", { class: "kept", role: "status" });
  private readonly title = h("h2");
  private readonly places = h("ol", { class: "place-list" });
  private readonly panes = h("div", { class: "panes", "data-mode": "ki67" });
  private readonly before = h("button", { type: "button", class: "plain", title: "Slide before ([)", onclick: () => void this.turn(-1) }, "Previous");
  private readonly after = h("button", { type: "button", class: "plain", title: "Next slide (])", onclick: () => void this.turn(1) }, "Next");

  constructor(
    private readonly study: number,
    private readonly me: Me,
  ) {
    const { signal } = this.stop;
    onKeys((event) => this.key(event), signal);
    document.addEventListener("visibilitychange", () => void (document.visibilityState === "visible" && this.facts?.state === "running" && this.load()), { signal });
    this.timer = window.setInterval(() => this.tick(), TICK_MS);
    void this.load();
  }

  private address(rest = ""): string {
    return office(`readings/${this.study}${rest}`);
  }

  /** Ask the server; where the session has ended, log in over what is typed, and ask again. */
  private async ask<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Refusal && error.status === 401)) throw error;
        await askLogin(this.me);
      }
    }
  }

  private async load(): Promise<void> {
    try {
      this.take(await this.ask(() => get<ReadingFacts>(this.address(), this.stop.signal)));
    } catch (error) {
      failed(error);
      if (!this.facts) fill(this.element, h("p", { class: "waiting error" }, error instanceof Error ? error.message : ""));
    }
  }

  /** Show what the server says; a slide that is in front already stays as it is. */
  private take(facts: ReadingFacts): void {
    if (this.stop.signal.aborted) return;
    const [before, ran] = [this.facts?.front?.place, this.facts?.state === "running"];
    this.facts = facts;
    this.ends = Date.now() + 1000 * (facts.seconds_left ?? 0);
    if (facts.state !== "running" || !facts.front) {
      this.leaveSlide();
      if (facts.state === "time_up" && ran) tell("The time is up. What you answered stands.", "error");
      void this.paintAround();
      return;
    }
    if (!ran || !this.panes.isConnected) this.paintViewer();
    if (before !== facts.front.place || !this.pane) this.showSlide(facts.front);
    this.paintPlaces(facts.front.place);
    this.paintKept();
    this.tick();
  }

  // ---- before and after

  private async paintAround(): Promise<void> {
    const { facts } = this;
    this.element.className = "page reading-page";
    const slides = facts.places.length;
    const answered = facts.places.filter((one) => one.percent !== null).length;
    const title = h("div", { class: "list-head" }, h("h1", {}, facts.name));
    if (facts.state === "waiting") {
      fill(
        this.element,
        title,
        h(
          "section",
          { class: "card reading-rules" },
          h("p", {}, h("b", {}, `${slides} ${slides === 1 ? "slide" : "slides"}, ${facts.minutes} minutes for all.`)),
          h("ul", {}, h("li", {}, "Give the Ki-67 index of each slide, a whole percent."), h("li", {}, "The clock starts when you press Begin. It runs once, without a pause, also while this page is closed."), h("li", {}, "You may go back and change an answer; every answer is kept, and the last one counts."), h("li", {}, "When the time is over nothing more is taken; a slide without an answer scores 0."), h("li", {}, "Of equal scores the shorter time ranks first: press Finish when you are done.")),
          h("button", { type: "button", class: "plain main", onclick: () => void this.step("begin", {}) }, "Begin"),
        ),
      );
      return;
    }
    const said = { finished: "You have finished.", time_up: "The time is up; what you answered in time stands.", closed: "The study was closed while you were reading.", missed: "The study was closed before you began.", running: "" }[facts.state];
    const result = h("div", {}, h("p", { class: "waiting" }, "Reading…"));
    fill(this.element, title, h("section", { class: "card" }, h("p", {}, said), facts.state === "missed" ? null : h("p", { class: "soft" }, `${answered} of ${slides} answered.`)), result);
    await this.paintResult(result);
  }

  private async paintResult(place: Element): Promise<void> {
    const { facts } = this;
    if (!facts.closed && !facts.live) return fill(place, h("p", { class: "note" }, "The ranking is sealed until the study is closed."));
    try {
      const told = await this.ask(() => get<Ranking | Standing>(office(`studies/${this.study}/ranking`), this.stop.signal));
      if ("of" in told) fill(place, h("section", { class: "card standing" }, h("b", {}, `Place ${told.place}`), h("span", {}, `of ${told.of} who have ended so far. All scores are shown when the study is closed.`)));
      else fill(place, h("h2", {}, "Ranking"), rankingTables(told));
    } catch (error) {
      fill(place, h("p", { class: "note" }, error instanceof Error ? `${error.message}.` : ""));
    }
  }

  // ---- while it runs

  private paintViewer(): void {
    this.element.className = "viewer reading-page";
    const moves = h("div", { class: "group", role: "group", "aria-label": "View" }, tool("home", "The whole slide", () => this.pane?.home(), { key: "0" }), tool("plus", "Nearer", () => this.pane?.zoomBy(1.5), { key: "+" }), tool("minus", "Farther", () => this.pane?.zoomBy(1 / 1.5), { key: "-" }), tool("turn", "Turn", () => this.pane?.turnBy(15), { key: "r" }), tool("full", "Whole screen", () => void wholeScreen(), { key: "f" }));
    const form = h("form", { class: "answer", onsubmit: (event: Event) => (event.preventDefault(), void this.keep()) }, h("label", {}, h("span", {}, "Ki-67 index"), h("span", { class: "percent-field" }, this.field, "%")), h("button", { class: "plain main" }, "Keep"), this.kept);
    const finish = h("button", { type: "button", class: "plain", onclick: () => this.askFinish() }, icon("done"), "Finish…");
    fill(
      this.element,
      h("div", { class: "stage" }, h("div", { class: "bar", role: "toolbar", "aria-label": "View" }, moves, h("span", { class: "soft" }, this.facts.name)), this.panes),
      h("aside", { class: "panel", "aria-label": "Reading" }, h("section", { class: "time" }, this.left, h("span", { class: "soft" }, "left for all slides")), h("section", {}, this.title, form, h("div", { class: "turns" }, this.before, this.after)), h("section", { class: "places-box" }, this.places), h("section", { class: "acts" }, finish)),
    );
  }

  private showSlide({ place, regions: outlined, slide_facts: facts }: Front): void {
    this.leaveSlide();
    const label = `Slide ${place} of ${this.facts.places.length}`;
    this.title.textContent = label;
    this.field.value = `${this.facts.places[place - 1]?.percent ?? ""}`;
    this.called = false;
    if (!facts.available) return fill(this.panes, h("p", { class: "waiting error" }, icon("warn"), facts.why_not ?? ""));
    const pane = new SlideView("ki67", label, facts);
    const outlines = outlinesOf({ type: "FeatureCollection", features: outlined.flatMap((geometry) => (geometry.type === "Point" ? [] : [{ type: "Feature" as const, geometry, properties: {} }])) });
    pane.drawings.push(regions(() => outlines, REGION_COLOUR));
    pane.addEventListener("ready", () => pane.home(), { once: true });
    this.pane = pane;
    fill(this.panes, pane.element);
    this.field.focus({ preventScroll: true });
  }

  private leaveSlide(): void {
    this.pane?.close();
    this.pane = null;
    this.panes.replaceChildren();
  }

  private paintPlaces(front: number): void {
    const { places } = this.facts;
    this.before.disabled = front === 1;
    this.after.disabled = front === places.length;
    fill(this.places, ...places.map((one) => h("li", {}, h("button", { type: "button", "aria-current": one.place === front ? "true" : null, "aria-label": `Slide ${one.place}, ${one.percent === null ? "no answer" : `${one.percent} %`}`, onclick: () => void this.goTo(one.place) }, h("span", {}, one.place), h("b", {}, one.percent === null ? "–" : `${one.percent} %`)))));
  }

  private get standing(): number | null {
    const { front, places } = this.facts;
    return front ? (places[front.place - 1]?.percent ?? null) : null;
  }

  private paintKept(said = ""): void {
    const typed = this.field.value.trim();
    const wrong = typed !== "" && wholePercent(typed) === null;
    const same = typed !== "" && wholePercent(typed) === this.standing;
    this.field.setAttribute("aria-invalid", String(wrong));
    this.kept.className = `kept ${said || wrong ? "wrong" : same ? "same" : ""}`;
    this.kept.textContent = said || (wrong ? "a whole percent, 0 to 100" : same ? "kept" : typed ? "not kept yet" : "no answer yet");
  }

  private tick(): void {
    if (this.facts?.state !== "running") return;
    const left = (this.ends - Date.now()) / 1000;
    this.left.textContent = clock(left);
    this.left.className = `time-left ${left <= LAST_S ? "last" : left <= FEW_S ? "few" : ""}`;
    if (left <= LAST_CALL_S && !this.called) {
      this.called = true;
      void this.keep();
    }
    if (left <= 0 && !this.busy) {
      this.busy = true;
      void this.load().finally(() => (this.busy = false));
    }
  }

  /** Keep what is typed, where it is an answer that the server has not got; false where it could not be kept. */
  private async keep(): Promise<boolean> {
    window.clearTimeout(this.again);
    const { front } = this.facts;
    const typed = this.field.value.trim();
    const percent = wholePercent(typed);
    if (!front || typed === "" || percent === this.standing) return true;
    if (percent === null) {
      this.field.select();
      return false;
    }
    return this.step("answers", { place: front.place, percent }, true);
  }

  private async turn(by: 1 | -1): Promise<void> {
    const { front } = this.facts;
    if (front) await this.goTo(front.place + by);
  }

  private async goTo(place: number): Promise<void> {
    if (place < 1 || place > this.facts.places.length || place === this.facts.front?.place) return;
    if (await this.keep()) await this.step("show", { place });
  }

  /** One step on the server; an answer that did not get there is sent again. */
  private async step(act: string, body: Record<string, number>, retries = false): Promise<boolean> {
    try {
      this.take(await this.ask(() => post<ReadingFacts>(this.address(`/${act}`), body, this.stop.signal)));
      return true;
    } catch (error) {
      if (this.stop.signal.aborted) return false;
      const offline = error instanceof Refusal && error.status === 0;
      if (offline && retries) {
        this.paintKept("not kept: the server does not answer; trying again");
        this.again = window.setTimeout(() => void this.keep(), AGAIN_MS);
        return false;
      }
      failed(error);
      if (error instanceof Refusal && error.status === 403) await this.load();
      return false;
    }
  }

  private askFinish(): void {
    const ask = async (): Promise<void> => {
      if (!(await this.keep()) || this.facts.state !== "running") return;
      const open = this.facts.places.filter((one) => one.percent === null).map((one) => one.place);
      const box = dialog("Finish", h("form", { onsubmit: (event: Event) => (event.preventDefault(), box.close(), void this.step("finish", {})) }, open.length ? h("p", { class: "reason" }, icon("warn"), h("span", {}, `No answer for ${open.length === 1 ? "slide" : "slides"} ${open.join(", ")}: scored 0.`)) : h("p", {}, "Every slide has an answer."), h("p", { class: "note" }, "The clock stops for good, and nothing can be changed after that."), h("footer", {}, h("button", { class: "plain main" }, "Finish"))));
    };
    void ask();
  }

  private key(event: KeyboardEvent): boolean {
    if (!this.pane || event.ctrlKey || event.metaKey) return false;
    if (movedByKey(this.pane, event)) return true;
    if (event.key === "]") void this.turn(1);
    else if (event.key === "[") void this.turn(-1);
    else return false;
    return true;
  }

  close(): void {
    this.stop.abort();
    window.clearInterval(this.timer);
    window.clearTimeout(this.again);
    this.leaveSlide();
  }
}
