/** What the server says and takes; every place is in µm of its slide. */

import type { Point } from "./geometry";

export type SlideName = "he" | "ki67";
export type Label = "other" | "negative" | "positive";
/** In the order of their numbers in binaries. */
export const LABELS: readonly Label[] = ["other", "positive", "negative"];

export interface Session {
  csrf: string | null;
  version: string;
  /** In the viewer: who corrects. */
  name?: string | null;
  /** Whether a labelling project is served. */
  labelling?: boolean;
  /** In a labelling project: who is logged in. */
  person?: Me | null;
}

export type Role = "labeller" | "leader" | "reviewer" | "quality" | "trainer" | "administrator";

export interface Me {
  person: number;
  name: string;
  role: Role;
  group: string | null;
  trained: boolean;
}

export type Range = [number, number];

export interface CaseLine {
  id: string;
  name: string;
  kind: "score" | "count" | null;
  state: "finished" | "unfinished" | "damaged";
  error: string | null;
  index_percent: number | null;
  corrected_index_percent: number | null;
  ci95_percent: Range | null;
  corrected_ci95_percent: Range | null;
  cells: number | null;
  positive: number | null;
  negative: number | null;
  warnings: string[];
  signed_out: boolean;
  corrections: number;
  modified: string | null;
}

export interface SlideFacts {
  file: string;
  width_px: number;
  height_px: number;
  mpp: number;
  width_um: number;
  height_um: number;
  digest: string;
  /** Address of a tile, with `{level}`, `{col}` and `{row}` left in. */
  tiles: string;
  available: boolean;
  why_not: string | null;
}

export interface CutOff {
  id: string;
  class: string | null;
  equivocal: boolean;
  values_percent: number[];
  name: string;
  source: string;
  population: string;
}

/** A hot spot or a guideline field, a circle on the Ki-67 slide: x, y, radius in µm. */
export interface Place {
  id: string;
  kind: "hot_spot" | "guideline";
  name: string;
  circle_um: [number, number, number];
  positive: number;
  negative: number;
  index_percent: number | null;
}

export interface Numbers {
  index_percent: number | null;
  ci95_percent: Range | null;
  positive: number;
  negative: number;
  cells: number;
  area_mm2: number | null;
  cut_offs: CutOff[] | null;
  warnings: string[] | null;
}

/** A map in tiles, over the whole of a slide. */
export interface Layer {
  id: string;
  label: string;
  slide: SlideName;
  tiles: string;
  width_px: number;
  height_px: number;
  width_um: number;
  low: string;
  high: string;
  legend: string;
}

export interface Registration {
  accepted: boolean;
  reasons: string[];
  pieces?: number;
  mirrored?: boolean;
}

export interface CaseFacts extends CaseLine {
  slides: { he: SlideFacts | null; ki67: SlideFacts | null };
  warped: string | null;
  places: Place[];
  automatic: Numbers | null;
  corrected: Numbers | null;
  layers: Layer[];
  registration: Registration | null;
  version: string | null;
  signed_out_by?: string | null;
  signed_out_when?: string | null;
}

export interface Geometry {
  type: "Polygon" | "MultiPolygon";
  coordinates: Point[][] | Point[][][];
}

export interface Feature {
  type: "Feature";
  geometry: Geometry | null;
  properties: { kind?: string; label?: string; reason?: string; area_mm2?: number; name?: string };
}

export interface Features {
  type: "FeatureCollection";
  features: Feature[];
}

export interface Regions {
  he: Features | null;
  ki67: Features | null;
  counted: Features | null;
  excluded: Features | null;
  unregistered: Features | null;
}

export interface Cell {
  row: number;
  key: number;
  x_um: number;
  y_um: number;
  label: Label;
  automatic_label: Label | null;
  probability: number | null;
  area_um2?: number | null;
  dab_od_mean?: number | null;
  in_region: boolean;
}

export interface GalleryCell {
  row: number;
  x_um: number;
  y_um: number;
  label: Label;
  probability: number | null;
}

export interface Correction {
  id: number;
  kind: string;
  who: string;
  when: string;
  why: string;
  summary: string;
  active: boolean;
}

export interface History {
  version: string;
  items: Correction[];
  can_undo: boolean;
  can_redo: boolean;
}

export interface Corrected {
  version: string;
  automatic: Numbers;
  corrected: Numbers | null;
  signed_out: boolean;
}

export type Change =
  | { kind: "relabel"; rows: number[]; to: Label }
  | { kind: "remove"; rows: number[] }
  | { kind: "add"; x_um: number; y_um: number; label: Label }
  | { kind: "exclude" | "include" | "region"; area: Geometry; slide?: SlideName }
  | { kind: "nudge"; shift_um: [number, number]; rotate_deg: number };

export interface Counts {
  positive: number;
  negative: number;
  index_percent: number;
}

/** A guideline field; what the program counted is told once a person has counted it. */
export interface Field {
  id: string;
  name: string;
  x_um: number;
  y_um: number;
  radius_um: number;
  count: (Counts & { by: string; when: string }) | null;
  program: Counts | null;
  difference_points: number | null;
}

export interface CountedField extends Field {
  overall: { fields: number; count: Counts; program: Counts; difference_points: number };
}

export interface FileLine {
  name: string;
  path: string;
  kind: "folder" | "case" | "slide" | "regions" | "landmarks";
  bytes: number | null;
}

export interface Files {
  dir: string;
  parent: string | null;
  entries: FileLine[];
}

export interface Job {
  id: number;
  command: string;
  out: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  stage: string;
  done: number;
  total: number | null;
  seconds: number | null;
  /** How long its stage will take yet. */
  left_seconds: number | null;
  error: string | null;
  log: string[];
}

export interface Export {
  format: string;
  what: string;
  layers: boolean;
}

/** What the server refused, in its own words. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** All that was answered, where it was JSON. */
    readonly told: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

/** Told to the document when somebody's session in a labelling project has ended. */
export const LOGGED_OUT = "ki67-logged-out";

let session: Session = { csrf: "", version: "" };

export async function begin(): Promise<Session> {
  session = await get<Session>("session");
  return session;
}

export function get<T>(path: string, signal?: AbortSignal, headers: Record<string, string> = {}): Promise<T> {
  return request(path, signal ? { headers, signal } : { headers }).then((answer) => answer.json() as Promise<T>);
}

export async function bytes(path: string, signal?: AbortSignal): Promise<{ data: ArrayBuffer; headers: Headers }> {
  const answer = await request(path, signal ? { signal } : {});
  return { data: await answer.arrayBuffer(), headers: answer.headers };
}

export function post<T>(path: string, body: unknown, signal?: AbortSignal, method = "POST", more: Record<string, string> = {}, keepalive = false): Promise<T> {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": session.csrf ?? "", ...more };
  const init: RequestInit = { method, headers, body: JSON.stringify(body), keepalive };
  return request(path, signal ? { ...init, signal } : init).then((answer) => answer.json() as Promise<T>);
}

/** Put a file as it is. */
export function putFile(path: string, file: Blob, signal?: AbortSignal): Promise<Response> {
  const init: RequestInit = { method: "PUT", headers: { "Content-Type": file.type, "X-CSRF-Token": session.csrf ?? "" }, body: file };
  return request(path, signal ? { ...init, signal } : init);
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`/api/${path}`, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer. Is 'ki67 serve' still running?");
  }
  if (answer.ok) return answer;
  const told = await toldBy(answer);
  if (answer.status === 401 && session.person) document.dispatchEvent(new Event(LOGGED_OUT));
  throw new Refusal(answer.status, reasonOf(answer, told), told);
}

async function toldBy(answer: Response): Promise<Record<string, unknown>> {
  try {
    return (await answer.json()) as Record<string, unknown>;
  } catch {
    // Not ours: the status says what there is to say.
    return {};
  }
}

function reasonOf(answer: Response, told: Record<string, unknown>): string {
  if (answer.status === 401 && !session.labelling) return "Not signed in: open the link that 'ki67 serve' printed.";
  if (typeof told["error"] === "string" && told["error"]) return told["error"];
  return `The server answered ${answer.status} ${answer.statusText}`.trim();
}

export function caseUrl(id: string, rest = ""): string {
  return `cases/${encodeURIComponent(id)}${rest}`;
}
