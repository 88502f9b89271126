/** Reader studies for who holds them: start one, see who is how far, close it, the ranking, files. */

import { get, post } from "../api";
import { dialog, failed, fill, h, icon, tell } from "../dom";
import { count, when } from "../format";
import type { ViewPage } from "../view_page";
import { office } from "./office";
import { head } from "./progress_page";
import { liveTable, rankingTables } from "./ranking_table";
import { clock, READING_CHIPS, READING_WORDS, type LiveRanked, type ReaderLine, type Ranking, type Studies, type Study } from "./study";
import { studyForm, type StudyBody } from "./study_form";

const LOOK_AGAIN_MS = 10_000;
const FILES: readonly [string, string][] = [
  ["answers.csv", "Answers and times, as ki67 compete reads them"],
  ["standard.csv", "Gold standard"],
  ["imrmc.csv", "For reader-study software"],
  ["entries.csv", "Every entry of every reader"],
];

export class StudiesPage implements ViewPage {
  readonly element = h("div", { class: "page studies-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();
  private readonly timer: number;
  private told: Studies | null = null;
  private rankings = new Map<number, HTMLElement>();
  private readonly folded = new Map<number, boolean>();
  private writing = false;

  constructor() {
    this.timer = window.setInterval(() => void (!this.writing && this.told?.studies.some((one) => one.closed === null) && this.load()), LOOK_AGAIN_MS);
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.told = await get<Studies>(office("studies"), this.stop.signal);
      await Promise.all(this.told.studies.map((one) => this.readRanking(one)));
      if (!this.writing) this.paint();
    } catch (error) {
      failed(error);
      if (!this.told) fill(this.element, h("p", { class: "waiting error" }, error instanceof Error ? error.message : ""));
    }
  }

  /** Ranks of a closed study do not change once its standard is there. */
  private async readRanking(study: Study): Promise<void> {
    const { closed, live, standard } = study;
    if (!standard || (closed === null && !live) || !study.readers.some((one) => ["finished", "time_up", "closed"].includes(one.state))) return;
    if (closed !== null && this.rankings.get(study.study)?.dataset["closed"]) return;
    try {
      const told = await get<Ranking | { readers: LiveRanked[] }>(office(`studies/${study.study}/ranking`), this.stop.signal);
      const table = "slides" in told ? rankingTables(told) : liveTable(told.readers, study.slides.length);
      if ("slides" in told) table.dataset["closed"] = "true";
      this.rankings.set(study.study, table);
    } catch (error) {
      failed(error);
    }
  }

  private paint(): void {
    const { studies } = this.told as Studies;
    this.writing = false;
    fill(this.element, h("div", { class: "list-head" }, h("h1", {}, "Reader studies"), h("button", { type: "button", class: "plain main", onclick: () => this.write() }, "Start a study")), ...studies.map((one, number) => this.card(one, number === 0)), studies.length ? null : h("p", { class: "nothing" }, "No study yet. Readers give the Ki-67 index of blinded slides under a clock and are ranked against a gold standard."));
  }

  private write(): void {
    this.writing = true;
    const send = async (body: StudyBody): Promise<void> => {
      if (await this.do("studies", body, `${body.name} is started; its readers find it under Reader study.`)) this.element.scrollIntoView();
    };
    fill(this.element, h("div", { class: "list-head" }, h("h1", {}, "Start a reader study")), studyForm(this.told as Studies, send, () => this.paint()));
    this.element.querySelector<HTMLElement>("input")?.focus();
  }

  private async do(path: string, body: unknown, said: string): Promise<boolean> {
    try {
      const { warnings } = await post<{ warnings?: string[] }>(office(path), body, this.stop.signal);
      if (warnings?.length) tell(`${said} ${warnings.join("; ")}.`, "error");
      else tell(said);
      this.writing = false;
      await this.load();
      return true;
    } catch (error) {
      failed(error);
      return false;
    }
  }

  private card(study: Study, first: boolean): HTMLElement {
    const { closed, standard } = study;
    const day = (at: number): string => when(new Date(1000 * at).toISOString());
    const facts = [`${count(study.slides.length)} slides`, `${study.minutes} min`, study.live ? "live" : "sealed", `seed ${study.seed}`, `started ${day(study.at)} by ${study.by}`, closed === null ? null : `closed ${day(closed)}`].filter((one) => one !== null);
    const ranking = this.rankings.get(study.study);
    const box = h(
      "details",
      { class: "card study", open: this.folded.get(study.study) ?? first, ontoggle: () => this.folded.set(study.study, box.open) },
      h("summary", {}, h("h2", {}, study.name), h("span", { class: `chip ${closed === null ? "in_progress" : "done"}` }, closed === null ? "open" : "closed"), standard ? null : h("span", { class: "chip unfinished" }, "no gold standard")),
      h("p", { class: "soft" }, facts.join(" · ")),
      h("p", { class: "soft slide-names" }, study.slides.map((one) => (study.with_regions.includes(one) ? `${one} (regions)` : one)).join(", ")),
      this.readerTable(study),
      this.acts(study),
      ranking ? h("h3", {}, closed === null ? "Ranking so far" : "Ranking") : null,
      ranking ?? null,
    );
    return box;
  }

  private readerTable(study: Study): HTMLElement {
    const before = study.readers.some((one) => one.seen_before);
    const row = (one: ReaderLine): HTMLElement => {
      const washed = one.washout_days === null ? "" : `${one.seen_before} of them, ${one.washout_days.toFixed(1)} days before`;
      return h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, h("span", { class: `chip ${READING_CHIPS[one.state]}` }, READING_WORDS[one.state])), h("td", { class: "number" }, `${one.answered} of ${study.slides.length}`), h("td", { class: "number" }, one.seconds === null ? "–" : clock(Math.round(one.seconds))), before ? h("td", {}, washed) : null);
    };
    return h("div", { class: "table-box" }, h("table", { class: "plain-table readers" }, head("Reader", "Where", "Answered", "Time", ...(before ? ["Had slides in an earlier study"] : [])), h("tbody", {}, ...study.readers.map(row))));
  }

  private acts(study: Study): HTMLElement {
    const { closed, standard } = study;
    const give = closed === null || !standard ? h("button", { type: "button", class: "plain", onclick: () => this.askStandard(study) }, standard ? "Another gold standard…" : "Give the gold standard…") : null;
    const end = closed === null ? h("button", { type: "button", class: "plain", onclick: () => this.askClose(study) }, "Close the study…") : null;
    const files = closed === null ? [] : FILES.filter(([file]) => standard || file !== "standard.csv").map(([file, what]) => h("a", { class: "plain", href: `/api/${office(`studies/${study.study}/files/${file}`)}`, download: `study-${study.study}-${file}`, title: what }, icon("file"), file));
    return h("div", { class: "study-acts" }, give, end, ...files);
  }

  private askStandard(study: Study): void {
    const file = h("input", { type: "file", accept: ".csv,text/csv", required: true });
    const send = async (): Promise<void> => {
      const standard = (await file.files?.[0]?.text()) ?? "";
      if (await this.do(`studies/${study.study}/standard`, { standard }, "The gold standard is taken; nobody sees it before the study is closed.")) box.close();
    };
    const box = dialog("Gold standard", h("form", { class: "asked", onsubmit: (event: Event) => (event.preventDefault(), void send()) }, h("p", { class: "note" }, "A CSV with the columns slide and index_percent, or slide, positive and negative."), h("label", {}, "File", file), h("footer", {}, h("button", { class: "plain main" }, "Give it"))));
  }

  private askClose(study: Study): void {
    const reading = study.readers.filter((one) => one.state === "running").map((one) => one.name);
    const waiting = study.readers.filter((one) => one.state === "waiting").length;
    const send = async (): Promise<void> => {
      if (await this.do(`studies/${study.study}/close`, {}, `${study.name} is closed.`)) box.close();
    };
    const box = dialog("Close the study", h("form", { class: "asked", onsubmit: (event: Event) => (event.preventDefault(), void send()) }, h("p", {}, "Answers, scores and the standard can then be seen; readers see the ranking. It cannot be opened again."), reading.length ? h("p", { class: "reason" }, icon("warn"), h("span", {}, `Reading now, and ended by this: ${reading.join(", ")}.`)) : null, waiting ? h("p", { class: "reason" }, icon("warn"), h("span", {}, `${waiting} ${waiting === 1 ? "reader has" : "readers have"} not begun and cannot any more.`)) : null, h("footer", {}, h("button", { class: "plain main" }, "Close it"))));
  }

  close(): void {
    window.clearInterval(this.timer);
    this.stop.abort();
  }
}
