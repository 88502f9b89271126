/** What the server of a labelling project says and takes; every place is in µm of its slide. */

import { get, post, type Geometry, type SlideFacts } from "../api";
import type { Point } from "../geometry";

export type Kind = "regions" | "cells";
export type State = "new" | "assigned" | "in_progress" | "submitted" | "in_review" | "accepted" | "returned" | "qc_selected" | "qc_passed" | "qc_failed";
export type TaskKind = "label" | "training" | "check";
export type Act = "begin" | "submit" | "take_review" | "leave_review" | "accept" | "send_back" | "unassign";

export interface ClassName {
  name: string;
  color: string;
}

export interface Project {
  id: string;
  name: string;
  kind: Kind;
  classes: ClassName[];
  guideline: string;
  prelabels_allowed: boolean;
  unblinded: boolean;
  heartbeat_s: number;
  lease_s: number;
}

export interface Task {
  task: number;
  slide: number;
  name: string;
  kind: TaskKind;
  state: State;
  minutes: number;
  own: boolean;
  labeller: string | null;
  may_edit: boolean;
  may_see: boolean;
  acts: Act[];
  reason: string | null;
  /** Whose labels were put there beforehand, to be mended. */
  prelabelled: string | null;
  labels: number | null;
  open_remarks: number | null;
}

export interface TaskFacts extends Task {
  rois: [number, number, number][] | null;
  slide_facts: SlideFacts;
}

export interface Desk {
  own: Task[];
  review: Task[];
  trained: boolean;
}

export interface PointGeometry {
  type: "Point";
  coordinates: Point;
}

export type Place = Geometry | PointGeometry;

/** A label as the server keeps it. */
export interface Label {
  uuid: string;
  version: number;
  label: string;
  geometry: Place;
  deleted: boolean;
}

export interface Remark {
  remark: number;
  by: string;
  at: number;
  x_um: number | null;
  y_um: number | null;
  text: string;
  settled: boolean;
}

export interface Before {
  at: number | null;
  labels: Label[];
}

export interface PersonLine {
  person: number;
  name: string;
  role: string;
  group: string | null;
  active: boolean;
  trained: boolean;
  can_log_in: boolean;
  tasks?: Record<string, number>;
  minutes_per_slide?: number | null;
}

export interface Agreement {
  first: string;
  second: string;
  agreement: number | null;
  ci95: [number, number] | null;
  slides: number;
  classes: Record<string, number>;
}

export interface CurvePoint {
  person: string;
  at: number;
  kind: TaskKind;
  agreement: number | null;
  minutes: number;
}

export interface DrawFigures {
  passed: boolean;
  agreement: number | null;
  ci95: [number, number] | null;
  slides: number;
  reason: string;
  reopened: number;
  per_slide: { slide: string; agreement: number | null }[];
}

export interface Progress {
  project: string;
  kind: Kind;
  slides: number;
  states: Record<string, number>;
  done: number;
  people: PersonLine[];
  agreement: Agreement[];
  index_icc: number | null;
  curves: CurvePoint[];
  draws: { draw: number; passed: boolean | null; share: number; figures: DrawFigures | null }[];
}

export interface Draw {
  draw: number;
  group: string | null;
  at: number;
  seed: number;
  share: number;
  rule: string;
  limit: number;
  passed: boolean | null;
  figures: DrawFigures | null;
  checks: { task: number; state: State }[];
}

export interface TaskLine {
  task: number;
  slide: string;
  patient: string;
  split: string;
  kind: TaskKind;
  state: State;
  labeller: string | null;
  reviewer: string | null;
  minutes: number;
}

export const STATE_WORDS: Record<State, string> = {
  new: "not assigned",
  assigned: "to do",
  in_progress: "in progress",
  submitted: "handed in",
  in_review: "in review",
  accepted: "accepted",
  returned: "sent back",
  qc_selected: "in quality control",
  qc_passed: "passed quality control",
  qc_failed: "failed quality control",
};

export const KIND_WORDS: Record<TaskKind, string> = { label: "labelling", training: "training", check: "blind check" };

export const office = (path: string): string => `labelling/${path}`;

/** A name for a new label; also where the page came unencrypted and the browser has no function for it. */
export function newUuid(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const LET_GO_MS = 700;

/** Names this window to the server: a slide is open in one window at a time. Kept through a reload. */
let windowName = "";

/** A window that was duplicated has the name of the first in its storage: whoever comes second takes another. */
export async function nameWindow(): Promise<void> {
  const key = "ki67.window";
  windowName = sessionStorage.getItem(key) ?? newUuid();
  if (navigator.locks && !(await held(windowName))) {
    windowName = newUuid();
    await held(windowName);
  }
  sessionStorage.setItem(key, windowName);
}

function held(name: string): Promise<boolean> {
  return new Promise((told) => {
    // A page that is loaded again may have to wait until the one before has let go.
    const request = navigator.locks.request(`ki67 ${name}`, { signal: AbortSignal.timeout(LET_GO_MS) }, () => {
      told(true);
      // Held for as long as the window is open.
      return new Promise<void>(() => undefined);
    });
    request.catch(() => told(false));
  });
}

/** This window, and those of this browser that are open, where it can tell. */
export async function openWindows(): Promise<{ own: string; open: ReadonlySet<string> }> {
  const held = navigator.locks ? ((await navigator.locks.query()).held ?? []) : [];
  return { own: windowName, open: new Set(held.map((lock) => (lock.name ?? "").replace(/^ki67 /, ""))) };
}

const inWindow = (): Record<string, string> => ({ "X-Window": windowName });

export function saveLabels(task: number, changes: readonly Label[]): Promise<{ labels: Label[] }> {
  return post(office(`tasks/${task}/labels`), { changes }, undefined, "POST", inWindow());
}

export function keepLease(task: number, takeOver = false): Promise<{ until: number }> {
  return post(office(`tasks/${task}/lease`), { take_over: takeOver }, undefined, "POST", inWindow());
}

/** Said also while the page closes. */
export function giveLeaseBack(task: number): Promise<unknown> {
  return post(office(`tasks/${task}/lease`), {}, undefined, "DELETE", inWindow(), true);
}

export function perform(task: number, act: Act, reason = ""): Promise<Task> {
  return post(office(`tasks/${task}/acts`), { act, reason });
}

export function readTask(task: number, signal?: AbortSignal): Promise<TaskFacts> {
  return get(office(`tasks/${task}`), signal);
}

/** What looks like a place and hangs together with it, at the resolution of a view. */
export async function magicOutline(task: number, [x, y]: Point, umPerPx: number, reach: number, signal: AbortSignal): Promise<Geometry> {
  const body = { x_um: x, y_um: y, um_per_px: umPerPx, reach };
  return (await post<{ geometry: Geometry }>(office(`tasks/${task}/wand`), body, signal)).geometry;
}

export function readLabels(task: number, signal?: AbortSignal): Promise<Label[]> {
  return get(office(`tasks/${task}/labels`), signal);
}
