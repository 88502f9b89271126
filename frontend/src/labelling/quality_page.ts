/** Quality control: draw accepted slides of a group, label them again blind, compare. */

import { get, post } from "../api";
import { failed, fill, h, icon, tell } from "../dom";
import { percent, when } from "../format";
import type { ViewPage } from "../view_page";
import { office, STATE_WORDS, type Draw, type Progress } from "./office";

const DEFAULT_SHARE_PERCENT = 5;
const DEFAULT_LIMIT_PERCENT = 95;

export class QualityPage implements ViewPage {
  readonly element = h("div", { class: "page quality-page" }, h("p", { class: "waiting" }, "Reading…"));
  private readonly stop = new AbortController();

  constructor() {
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      const [draws, progress] = await Promise.all([get<Draw[]>(office("draws"), this.stop.signal), get<Progress>(office("progress"), this.stop.signal)]);
      this.paint(draws, [...new Set(progress.people.map((one) => one.group).filter((one): one is string => one !== null))].sort());
    } catch (error) {
      failed(error);
      fill(this.element, h("p", { class: "waiting error" }, error instanceof Error ? error.message : ""));
    }
  }

  private paint(draws: readonly Draw[], groups: readonly string[]): void {
    fill(this.element, h("div", { class: "list-head" }, h("h1", {}, "Quality control")), this.drawForm(groups), ...draws.map((one) => this.drawCard(one)), draws.length ? null : h("p", { class: "nothing" }, "No draw yet."));
  }

  private drawForm(groups: readonly string[]): HTMLElement {
    const group = h("select", { required: true }, ...groups.map((one) => h("option", { value: one }, one)));
    const share = h("input", { type: "number", min: DEFAULT_SHARE_PERCENT, max: 100, step: "any", value: `${DEFAULT_SHARE_PERCENT}`, required: true });
    const limit = h("input", { type: "number", min: 1, max: 99.9, step: "any", value: `${DEFAULT_LIMIT_PERCENT}`, required: true });
    const rule = h("select", {}, h("option", { value: "point" }, "the agreement itself"), h("option", { value: "interval" }, "the lower end of its 95 % interval"));
    const seed = h("input", { type: "number", min: 0, max: 2 ** 31 - 1, value: `${Math.floor(Math.random() * 1e6)}`, required: true });
    const send = async (): Promise<void> => {
      try {
        await post(office("draws"), { group: group.value, seed: Number(seed.value), share: Number(share.value) / 100, limit: Number(limit.value) / 100, rule: rule.value }, this.stop.signal);
        tell("Drawn: label the slides below again.");
        await this.load();
      } catch (error) {
        failed(error);
      }
    };
    return h("form", { class: "card draw-form", onsubmit: (event: Event) => (event.preventDefault(), void send()) }, h("h2", {}, "Draw accepted slides"), h("label", {}, "Group", group), h("label", {}, "Share drawn, %", share), h("label", {}, "Limit, %", limit), h("label", {}, "Above the limit must lie", rule), h("label", {}, "Seed", seed), h("button", { class: "plain main", disabled: !groups.length }, "Draw"));
  }

  private drawCard(draw: Draw): HTMLElement {
    const rule = draw.rule === "interval" ? "lower end of the 95 % interval" : "agreement";
    const ready = draw.checks.every((check) => check.state === "submitted");
    const title = h("div", { class: "task-title" }, h("h2", {}, `Draw ${draw.draw}, group ${draw.group ?? "–"}`), draw.passed === null ? h("span", { class: "chip unfinished" }, "open") : h("span", { class: `chip ${draw.passed ? "done" : "failed"}` }, draw.passed ? "passed" : "failed"));
    const facts = h("p", { class: "soft" }, `${when(new Date(1000 * draw.at).toISOString())} · ${percent(100 * draw.share, 0)} drawn by seed ${draw.seed} · ${rule} above ${percent(100 * draw.limit, 0)}`);
    if (draw.figures) {
      const { agreement, ci95, slides, reopened } = draw.figures;
      const range = ci95 ? ` (95 % ${percent(100 * ci95[0])} to ${percent(100 * ci95[1])})` : "";
      return h("section", { class: "card" }, title, facts, h("p", {}, h("b", {}, agreement === null ? "no agreement known" : percent(100 * agreement)), `${range} on ${slides} ${slides === 1 ? "slide" : "slides"}`, draw.passed ? "" : `; more slides of the group that went back: ${reopened}`), h("ul", { class: "class-counts" }, ...draw.figures.per_slide.map((one) => h("li", {}, h("span", {}, one.slide), h("b", {}, one.agreement === null ? "–" : percent(100 * one.agreement))))));
    }
    const lines = draw.checks.map((check, number) => h("li", {}, h("a", { href: `#/task/${check.task}` }, `Slide ${number + 1}`), h("span", { class: `chip ${check.state}` }, STATE_WORDS[check.state])));
    return h("section", { class: "card" }, title, facts, h("p", { class: "note" }, "Label them as if nobody had. The first labels are shown to nobody until all are handed in and compared."), h("ul", { class: "checks-list" }, ...lines), h("button", { type: "button", class: "plain main", disabled: !ready, onclick: () => void this.conclude(draw) }, icon("done"), "Compare"));
  }

  private async conclude(draw: Draw): Promise<void> {
    try {
      await post(office(`draws/${draw.draw}/conclude`), {}, this.stop.signal);
      await this.load();
    } catch (error) {
      failed(error);
    }
  }

  close(): void {
    this.stop.abort();
  }
}
