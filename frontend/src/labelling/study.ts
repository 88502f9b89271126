/** Reader studies as the server tells of them. */

import type { SlideFacts } from "../api";
import type { Place } from "./office";

export type ReadingState = "waiting" | "running" | "finished" | "time_up" | "closed" | "missed";

export const HOLDERS: ReadonlySet<string> = new Set(["administrator", "trainer"]);

export const READING_WORDS: Record<ReadingState, string> = {
  waiting: "not begun",
  running: "reading",
  finished: "finished",
  time_up: "time is up",
  closed: "ended by closing",
  missed: "never begun",
};

/** Which chip a state has. */
export const READING_CHIPS: Record<ReadingState, string> = { waiting: "", running: "in_progress", finished: "done", time_up: "unfinished", closed: "unfinished", missed: "" };

export interface ReadingLine {
  study: number;
  name: string;
  slides: number;
  minutes: number;
  state: ReadingState;
  closed: boolean;
}

export interface Front {
  place: number;
  regions: Place[];
  slide_facts: SlideFacts;
}

export interface ReadingFacts {
  study: number;
  name: string;
  minutes: number;
  state: ReadingState;
  closed: boolean;
  live: boolean;
  seconds_left: number | null;
  places: { place: number; shown: boolean; percent: number | null }[];
  front: Front | null;
}

export interface ReaderLine {
  name: string;
  state: ReadingState;
  answered: number;
  shown: number;
  seconds: number | null;
  washout_days: number | null;
  seen_before: number;
}

export interface Study {
  study: number;
  name: string;
  at: number;
  by: string;
  minutes: number;
  live: boolean;
  seed: number;
  standard: boolean;
  closed: number | null;
  slides: string[];
  with_regions: string[];
  readers: ReaderLine[];
}

export interface Studies {
  studies: Study[];
  slides: string[];
  people: { name: string; role: string }[];
}

export interface Ranked {
  reader: string;
  rank: number;
  average_score: number;
  seconds: number | null;
  answered: number;
  bias_points: number | null;
  limits_points: [number, number] | null;
  scores: Record<string, number>;
}

export interface Ranking {
  own: string | null;
  readers: Ranked[];
  slides: { slide: string; index_percent: number; average_score: number }[];
  average_score: number;
  warnings: string[];
}

/** Before a live study is closed, for who holds it. */
export type LiveRanked = Pick<Ranked, "rank" | "reader" | "average_score" | "seconds" | "answered">;

export interface Standing {
  place: number;
  of: number;
}

const MINUTE_S = 60;

/** Minutes and seconds as a clock shows them; a second that has begun counts. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / MINUTE_S)}:${`${whole % MINUTE_S}`.padStart(2, "0")}`;
}

/** A whole percent as it was typed; null where it is none. */
export function wholePercent(text: string): number | null {
  const typed = text.trim();
  return /^\d{1,3}$/.test(typed) && Number(typed) <= 100 ? Number(typed) : null;
}
