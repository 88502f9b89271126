/** One case as the page knows it: its facts, its corrections, and how it is corrected. */

import { caseUrl, get, post, Refusal, type CaseFacts, type Change, type Corrected, type History } from "./api";
import { failed, tell } from "./dom";

const NAME = "ki67.by";
const STALE = 409;

/** What changed: `numbers` the index, `cells` and `areas` what is drawn, `registration` the map, `history` the log. */
export type Happened = "numbers" | "cells" | "areas" | "registration" | "history";

export class CaseState extends EventTarget {
  history: History = { version: "", items: [], can_undo: false, can_redo: false };
  /** A reason typed once holds until another is typed. */
  why = "";
  private waiting: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly id: string,
    public facts: CaseFacts,
    readonly signal: AbortSignal,
  ) {
    super();
  }

  static async open(id: string, signal: AbortSignal): Promise<CaseState> {
    const state = new CaseState(id, await get<CaseFacts>(caseUrl(id), signal), signal);
    await state.readHistory();
    return state;
  }

  get version(): string | null {
    return this.facts.version;
  }

  get by(): string {
    return localStorage.getItem(NAME) ?? "";
  }

  set by(name: string) {
    localStorage.setItem(NAME, name.trim());
    if (name.trim()) void post("session", { name: name.trim() }, this.signal, "PUT").catch(failed);
    this.happened("history");
  }

  get locked(): boolean {
    return this.facts.signed_out;
  }

  /** Make a correction; the next waits until it is made. True where it was. */
  change(change: Change, why: string): Promise<boolean> {
    return this.sent("/corrections", { ...change, why: this.why || why }, touched(change));
  }

  undo(): Promise<boolean> {
    return this.sent("/undo", { why: this.why || "taken back" }, ["cells", "areas", "registration"]);
  }

  redo(): Promise<boolean> {
    return this.sent("/redo", { why: this.why || "made again" }, ["cells", "areas", "registration"]);
  }

  signOut(): Promise<boolean> {
    return this.sent("/sign-out", {}, []);
  }

  reopen(why: string): Promise<boolean> {
    return this.sent("/reopen", { why }, []);
  }

  async readHistory(): Promise<void> {
    if (this.version !== null) this.history = await get<History>(caseUrl(this.id, "/corrections"), this.signal);
    this.happened("history");
  }

  /** Whether it is known who corrects; asks where it is not, before work is done that would be in vain. */
  named(): boolean {
    if (this.by) return true;
    tell("Say who you are first: the name goes with every correction.", "error");
    this.dispatchEvent(new Event("nameless"));
    return false;
  }

  private sent(where: string, body: object, what: Happened[]): Promise<boolean> {
    const next = this.waiting.then(() => this.send(where, body, what));
    this.waiting = next;
    return next;
  }

  private async send(where: string, body: object, what: Happened[]): Promise<boolean> {
    if (!this.named()) return false;
    try {
      const answer = await post<Partial<Corrected>>(caseUrl(this.id, where), { ...body, by: this.by, version: this.version });
      this.take(answer);
      await this.readFacts();
      for (const happened of what) this.happened(happened);
      return true;
    } catch (error) {
      if (error instanceof Refusal && error.status === STALE) await this.readFacts();
      for (const happened of ["cells", "areas"] as const) this.happened(happened);
      failed(error);
      return false;
    }
  }

  private take(answer: Partial<Corrected>): void {
    this.facts = {
      ...this.facts,
      version: answer.version ?? this.facts.version,
      automatic: answer.automatic ?? this.facts.automatic,
      corrected: answer.corrected === undefined ? this.facts.corrected : answer.corrected,
    };
    this.happened("numbers");
  }

  private async readFacts(): Promise<void> {
    this.facts = await get<CaseFacts>(caseUrl(this.id), this.signal);
    this.happened("numbers");
    await this.readHistory();
  }

  private happened(what: Happened): void {
    this.dispatchEvent(new Event(what));
  }
}

function touched(change: Change): Happened[] {
  switch (change.kind) {
    case "relabel":
    case "remove":
    case "add":
      return ["cells"];
    case "nudge":
      return ["cells", "areas", "registration"];
    default:
      return ["cells", "areas"];
  }
}
