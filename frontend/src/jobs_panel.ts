/** Runs started from the page: which slides, how far, stopped when asked to. */

import { get, post, type FileLine, type Files, type Job } from "./api";
import { dialog, failed, fill, h, icon, tell, tool } from "./dom";
import { count, seconds, size } from "./format";
import { address } from "./route";

const EVERY_MS = 1500;

type Role = "ki67" | "he" | "regions";

export class JobsPanel {
  readonly element = h("section", { class: "jobs", "aria-label": "Runs", "aria-live": "polite" });
  readonly button = h("button", { type: "button", class: "plain main", onclick: () => this.ask() }, "New run…");
  private timer = 0;
  private atWork = new Set<number>();

  constructor(
    private readonly signal: AbortSignal,
    private readonly ended: () => void,
  ) {
    signal.addEventListener("abort", () => window.clearTimeout(this.timer));
    void this.look();
  }

  private async look(): Promise<void> {
    window.clearTimeout(this.timer);
    try {
      const jobs = await get<Job[]>("jobs", this.signal);
      const working = new Set(jobs.filter(isAtWork).map((job) => job.id));
      if ([...this.atWork].some((id) => !working.has(id))) this.ended();
      this.atWork = working;
      fill(this.element, ...jobs.filter((job) => isAtWork(job) || job.state === "failed" || job.state === "done").slice(0, 6).map((job) => this.line(job)));
      if (working.size) this.timer = window.setTimeout(() => void this.look(), EVERY_MS);
    } catch (error) {
      failed(error);
    }
  }

  private line(job: Job): HTMLElement {
    const known = job.total !== null && job.total > 0;
    const progress = h("progress", known ? { max: job.total, value: job.done, "aria-label": job.stage } : { "aria-label": job.stage || job.state });
    return h(
      "div",
      { class: `job ${job.state}` },
      h("b", {}, job.state === "done" ? h("a", { href: address(job.out.replaceAll("/", "~")) }, job.out) : job.out),
      isAtWork(job) ? progress : h("span", { class: `chip ${job.state}` }, job.state),
      h("span", { class: "soft" }, said(job)),
      isAtWork(job) ? tool("close", `Stop ${job.out}`, () => void this.cancel(job)) : null,
    );
  }

  private async cancel(job: Job): Promise<void> {
    try {
      await post(`jobs/${job.id}/cancel`, {}, this.signal);
      tell(`${job.out} was stopped. The same run continues where it was.`);
    } catch (error) {
      failed(error);
    }
    void this.look();
  }

  private ask(): void {
    const chosen: Record<Role, string | null> = { ki67: null, he: null, regions: null };
    const out = h("input", { type: "text", required: true, maxlength: 200, placeholder: "folder of the case", "aria-label": "Folder of the case" });
    const picked = h("dl", { class: "picked" });
    const start = h("button", { class: "plain main" }, "Start");
    const paint = (): void => {
      const line = (role: Role, text: string, none: string): HTMLElement[] => [
        h("dt", {}, text),
        h("dd", {}, chosen[role] ?? h("span", { class: "soft" }, none), chosen[role] ? tool("close", `Not this ${text}`, () => ((chosen[role] = null), paint())) : null),
      ];
      fill(picked, ...line("ki67", "Ki-67", "choose below"), ...line("he", "H&E", "none: the Ki-67 slide is counted alone"), ...line("regions", "Regions", "found by the program"));
      start.disabled = chosen.ki67 === null;
    };
    const choose = (role: Role, file: FileLine): void => {
      chosen[role] = file.path;
      if (role === "ki67" && !out.value) out.value = `${file.path.replace(/\.[^./]+$/, "")}-case`;
      paint();
    };
    const form = h(
      "form",
      {
        class: "new-run",
        onsubmit: (event: Event) => {
          event.preventDefault();
          if (chosen.ki67) void this.start({ ...chosen, ki67: chosen.ki67 }, out.value.trim()).then((done) => done && box.close());
        },
      },
      picked,
      this.browser(choose),
      h("label", {}, "Case", out),
      h("footer", {}, start),
    );
    const box = dialog("New run", form);
    paint();
  }

  private browser(choose: (role: Role, file: FileLine) => void): HTMLElement {
    const list = h("ul", { class: "files", "aria-label": "Files" });
    const open = async (dir: string): Promise<void> => {
      try {
        const { parent, entries } = await get<Files>(`files?dir=${encodeURIComponent(dir)}`, this.signal);
        const up = parent === null ? null : h("li", {}, h("button", { type: "button", onclick: () => void open(parent) }, icon("up"), "folder above"));
        fill(list, up, ...entries.map((file) => entry(file, open, choose)));
        if (!entries.length) fill(list, up, h("li", { class: "soft" }, "Nothing here that can be used"));
      } catch (error) {
        failed(error);
      }
    };
    void open("");
    return list;
  }

  private async start(chosen: { ki67: string; he: string | null; regions: string | null }, out: string): Promise<boolean> {
    try {
      await post<Job>("jobs", { ...chosen, out }, this.signal);
      void this.look();
      return true;
    } catch (error) {
      failed(error);
      return false;
    }
  }
}

/** What it does, how much of that is done, how long it has run, how long the stage will take yet. */
function said(job: Job): string {
  const known = isAtWork(job) && job.total !== null && job.total > 0;
  const what = job.error ?? (job.state === "queued" ? "waits its turn" : job.stage || (isAtWork(job) ? "begins" : ""));
  const far = known ? `${count(job.done)} of ${count(job.total)}` : "";
  const left = job.left_seconds === null ? "" : `about ${seconds(Math.max(1, job.left_seconds))} left of this`;
  return [what, far, seconds(job.seconds), left].filter(Boolean).join(" · ");
}

function isAtWork(job: Job): boolean {
  return job.state === "queued" || job.state === "running";
}

function entry(file: FileLine, open: (dir: string) => Promise<void>, choose: (role: Role, file: FileLine) => void): HTMLElement {
  if (file.kind === "folder") return h("li", {}, h("button", { type: "button", onclick: () => void open(file.path) }, icon("folder"), file.name));
  const use = (role: Role, text: string): HTMLElement => h("button", { type: "button", class: "use", "aria-label": `${file.name} is ${text}`, onclick: () => choose(role, file) }, text);
  const uses = file.kind === "slide" ? [use("ki67", "Ki-67"), use("he", "H&E")] : file.kind === "regions" ? [use("regions", "Regions")] : [];
  return h("li", {}, icon(file.kind === "case" ? "done" : "file"), h("span", {}, file.name), h("span", { class: "soft" }, file.kind === "case" ? "a case" : size(file.bytes ?? undefined)), ...uses);
}
