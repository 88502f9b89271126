/** The ranks of a closed reader study: by score, then by time; and every score, as the paper's Table 4 has them. */

import { h } from "../dom";
import { percent, points } from "../format";
import { head } from "./progress_page";
import { clock, type LiveRanked, type Ranking } from "./study";

export function rankingTables(ranking: Ranking): HTMLElement {
  const { readers, slides, own } = ranking;
  const mine = (reader: string): string | null => (reader === own ? "own" : null);
  const rows = readers.map((one) =>
    h("tr", { class: mine(one.reader) }, h("td", { class: "number" }, one.rank), h("th", { scope: "row" }, one.reader), h("td", { class: "number" }, one.average_score.toFixed(1)), h("td", { class: "number" }, time(one.seconds)), h("td", { class: "number" }, `${one.answered} of ${slides.length}`), h("td", { class: "number" }, one.bias_points === null ? "–" : points(one.bias_points)), h("td", { class: "number" }, one.limits_points ? `${points(one.limits_points[0])} to ${points(one.limits_points[1])}` : "–")),
  );
  const cells = slides.map((slide) =>
    h("tr", {}, h("th", { scope: "row" }, slide.slide), h("td", { class: "number" }, percent(slide.index_percent, 2)), ...readers.map((one) => h("td", { class: `number ${mine(one.reader) ?? ""}` }, (one.scores[slide.slide] ?? 0).toFixed(0))), h("td", { class: "number" }, slide.average_score.toFixed(1))),
  );
  const foot = (name: string, value: (one: Ranking["readers"][number]) => string, all: string): HTMLElement => h("tr", {}, h("th", { scope: "row" }, name), h("td"), ...readers.map((one) => h("td", { class: `number ${mine(one.reader) ?? ""}` }, value(one))), h("td", { class: "number" }, all));
  return h(
    "div",
    { class: "ranking" },
    h("div", { class: "table-box" }, h("table", { class: "plain-table ranks" }, head("Rank", "Reader", "Average score", "Time", "Answered", "Bias, points", "95 % limits, points"), h("tbody", {}, ...rows))),
    h("h3", {}, "Score of every answer"),
    h("div", { class: "table-box" }, h("table", { class: "plain-table scores" }, head("Slide", "Gold index", ...readers.map((one) => one.reader), "Average"), h("tbody", {}, ...cells), h("tfoot", {}, foot("Average", (one) => one.average_score.toFixed(1), ranking.average_score.toFixed(1)), foot("Time", (one) => time(one.seconds), ""), foot("Rank", (one) => `${one.rank}`, "")))),
    ...ranking.warnings.map((text) => h("p", { class: "note" }, `${text}.`)),
    h("p", { class: "note" }, "A score is 100 less the distance in points from the two whole percents around the gold index; equal scores are ranked by time. Bias is the mean of answer less gold index, the limits are bias ± 1.96 standard deviations."),
  );
}

/** Who has ended so far; scores of single slides come when the study is closed. */
export function liveTable(readers: readonly LiveRanked[], slides: number): HTMLElement {
  const rows = readers.map((one) => h("tr", {}, h("td", { class: "number" }, one.rank), h("th", { scope: "row" }, one.reader), h("td", { class: "number" }, one.average_score.toFixed(1)), h("td", { class: "number" }, time(one.seconds)), h("td", { class: "number" }, `${one.answered} of ${slides}`)));
  return h("div", { class: "table-box" }, h("table", { class: "plain-table ranks" }, head("Rank", "Reader", "Average score", "Time", "Answered"), h("tbody", {}, ...rows)));
}

function time(seconds: number | null): string {
  return seconds === null ? "–" : clock(Math.round(seconds));
}
