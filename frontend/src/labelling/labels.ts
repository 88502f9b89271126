/**
 * The labels of one task as this window has them, and how they get to the server.
 *
 * Every stroke is kept in the browser's database before it is sent, and taken out of it when the server has answered;
 * so a reload, a lost connection, a session that ended or a server that was killed loses nothing.
 */

import { Refusal } from "../api";
import { keepWork, readWork, type Change, type Shape, type Waiting, type Work } from "./local";
import { newUuid, saveLabels, type Label } from "./office";

const SEND_AFTER_MS = 400;
const AGAIN_AFTER_MS = [1000, 2000, 5000, 10_000, 15_000] as const;
const MOST_AT_ONCE = 500;
/** The server takes 2 MB at once; a label that is larger alone is sent alone. */
const MOST_LETTERS = 1_000_000;
const NEVER = new Set([403, 404, 413, 422]);
const MOST_UNDO = 200;

export type Saving = "saved" | "waiting" | "saving" | "offline" | "login" | "held" | "conflict" | "refused";

export interface Conflict {
  mine: Label;
  theirs: Label;
}

export type Answer = "mine" | "theirs" | "both";

export class Labels extends EventTarget {
  /** Labels as they are drawn. */
  readonly shapes = new Map<string, Shape>();
  conflict: Conflict | null = null;
  saving: Saving = "saved";
  why = "";
  private readonly versions = new Map<string, number>();
  private readonly waiting = new Map<string, Waiting>();
  private done: Change[][] = [];
  private undone: Change[][] = [];
  private timer = 0;
  private failures = 0;
  private sending = false;
  private kept: Promise<void> = Promise.resolve();
  private readonly online = (): void => this.sendSoon(0);

  private constructor(
    readonly task: number,
    private readonly key: string,
    private readonly save: (task: number, changes: readonly Label[]) => Promise<{ labels: Label[] }>,
  ) {
    super();
    window.addEventListener("online", this.online);
  }

  /** Labels of the server with what waits here over them. */
  static async open(task: number, key: string, server: readonly Label[], save = saveLabels): Promise<Labels> {
    const found = new Labels(task, key, save);
    for (const { uuid, version, label, geometry } of server) {
      found.versions.set(uuid, version);
      found.shapes.set(uuid, { label, geometry });
    }
    const work = await readWork(key);
    for (const one of work.waiting) {
      found.waiting.set(one.uuid, one);
      if (one.deleted) found.shapes.delete(one.uuid);
      else found.shapes.set(one.uuid, { label: one.label, geometry: one.geometry });
    }
    [found.done, found.undone] = [work.done, work.undone];
    if (work.waiting.length) found.tell("waiting");
    return found;
  }

  get unsaved(): number {
    return this.waiting.size;
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  /** One stroke: all of it is undone together. */
  edit(changes: readonly { uuid: string; after: Shape | null }[]): void {
    const step = changes.map(({ uuid, after }) => ({ uuid, before: this.shapes.get(uuid) ?? null, after }));
    if (!step.length) return;
    this.done = [...this.done, step].slice(-MOST_UNDO);
    this.undone = [];
    this.apply(step.map(({ uuid, after }) => ({ uuid, after })));
  }

  undo(): void {
    const step = this.done.pop();
    if (!step) return;
    this.undone.push(step);
    this.apply(step.map(({ uuid, before }) => ({ uuid, after: before })));
  }

  redo(): void {
    const step = this.undone.pop();
    if (!step) return;
    this.done.push(step);
    this.apply(step.map(({ uuid, after }) => ({ uuid, after })));
  }

  private apply(changes: readonly { uuid: string; after: Shape | null }[]): void {
    for (const { uuid, after } of changes) {
      const now = this.shapes.get(uuid);
      const shape = after ?? now;
      if (!shape) continue;
      if (after) this.shapes.set(uuid, after);
      else this.shapes.delete(uuid);
      const version = this.waiting.get(uuid)?.version ?? this.versions.get(uuid) ?? 0;
      this.waiting.set(uuid, { uuid, version, label: shape.label, geometry: shape.geometry, deleted: after === null });
    }
    this.keep();
    this.dispatchEvent(new Event("change"));
    if (this.saving !== "conflict") this.tell("waiting");
    this.sendSoon(SEND_AFTER_MS);
  }

  private keep(): void {
    const work: Work = { waiting: [...this.waiting.values()], done: this.done, undone: this.undone };
    this.kept = this.kept.then(() => keepWork(this.key, work)).catch((error: unknown) => this.tell("refused", `The browser keeps nothing: ${String(error)}`));
  }

  /** Send soon; at once with 0. */
  sendSoon(afterMs: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.send(), afterMs);
  }

  /** Everything is with the server when this has ended without an error. */
  async flush(): Promise<void> {
    window.clearTimeout(this.timer);
    while (this.sending) await new Promise((resolve) => window.setTimeout(resolve, 50));
    await this.send();
    if (this.waiting.size) throw new Error(this.why || "Not everything is saved yet.");
  }

  private async send(): Promise<void> {
    if (this.sending || this.conflict || !this.waiting.size) return;
    this.sending = true;
    try {
      while (this.waiting.size && !this.conflict) {
        const batch = this.batch();
        this.tell("saving");
        await this.kept;
        const { labels } = await this.save(this.task, batch);
        labels.forEach((label, at) => this.saved(label, batch[at] as Waiting));
        this.keep();
        this.failures = 0;
      }
      this.tell("saved");
    } catch (error) {
      this.failed(error);
    } finally {
      this.sending = false;
    }
  }

  private batch(): Waiting[] {
    const found: Waiting[] = [];
    let letters = 0;
    for (const one of this.waiting.values()) {
      letters += JSON.stringify(one).length;
      if (found.length && (letters > MOST_LETTERS || found.length >= MOST_AT_ONCE)) break;
      found.push(one);
    }
    return found;
  }

  /** What the server says stands, unless the hand has gone on meanwhile. */
  private saved(label: Label, sent: Waiting): void {
    this.versions.set(label.uuid, label.version);
    const now = this.waiting.get(label.uuid);
    if (now !== sent) {
      if (now) this.waiting.set(label.uuid, { ...now, version: label.version });
      return;
    }
    this.waiting.delete(label.uuid);
    if (!label.deleted) this.shapes.set(label.uuid, { label: label.label, geometry: label.geometry });
  }

  private failed(error: unknown): void {
    if (!(error instanceof Refusal)) return this.tell("refused", error instanceof Error ? error.message : String(error));
    const { mine, theirs } = error.told as { mine?: Label; theirs?: Label };
    if (error.status === 409 && mine && theirs) {
      this.conflict = { mine, theirs };
      return this.tell("conflict", error.message);
    }
    if (error.status === 401) return this.tell("login", error.message);
    if (error.status === 423) return this.tell("held", error.message);
    if (NEVER.has(error.status)) return this.tell("refused", error.message);
    this.tell("offline", error.message);
    const wait = AGAIN_AFTER_MS[Math.min(this.failures++, AGAIN_AFTER_MS.length - 1)] ?? 1000;
    this.sendSoon(wait);
  }

  /** Which of two versions stands after a conflict. */
  resolve(answer: Answer): void {
    const { conflict } = this;
    if (!conflict) return;
    const { theirs } = conflict;
    const mine = this.waiting.get(theirs.uuid);
    this.conflict = null;
    this.versions.set(theirs.uuid, theirs.version);
    if (answer === "mine" && mine) this.waiting.set(theirs.uuid, { ...mine, version: theirs.version });
    else {
      this.waiting.delete(theirs.uuid);
      if (theirs.deleted) this.shapes.delete(theirs.uuid);
      else this.shapes.set(theirs.uuid, { label: theirs.label, geometry: theirs.geometry });
      if (answer === "both" && mine && !mine.deleted) {
        const uuid = newUuid();
        this.shapes.set(uuid, { label: mine.label, geometry: mine.geometry });
        this.waiting.set(uuid, { ...mine, uuid, version: 0 });
      }
    }
    // What was done to this label before is no longer what would be undone.
    const known = (step: Change[]): boolean => step.every((change) => change.uuid !== theirs.uuid);
    [this.done, this.undone] = [this.done.filter(known), this.undone.filter(known)];
    this.keep();
    this.dispatchEvent(new Event("change"));
    this.tell(this.waiting.size ? "waiting" : "saved");
    this.sendSoon(0);
  }

  /** What waits can no longer be saved, as where the work was handed on meanwhile. */
  refuse(why: string): void {
    this.tell("refused", why);
  }

  /** Another window has the slide open; or it has not any more. */
  held(held: boolean, why = ""): void {
    if (held) return this.tell("held", why);
    this.tell(this.waiting.size ? "waiting" : "saved");
    this.sendSoon(0);
  }

  /** Give up what the server does not take; what it has stays. */
  async discard(): Promise<void> {
    window.clearTimeout(this.timer);
    this.waiting.clear();
    [this.done, this.undone] = [[], []];
    this.keep();
    await this.kept;
  }

  private tell(saving: Saving, why = ""): void {
    [this.saving, this.why] = [saving, why];
    this.dispatchEvent(new Event("saving"));
  }

  close(): void {
    window.clearTimeout(this.timer);
    window.removeEventListener("online", this.online);
  }
}
