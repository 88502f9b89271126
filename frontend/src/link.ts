/**
 * Two panes that show the same tissue.
 *
 * One leads, the one that was touched last; what the other does is answered by nobody, so that they never chase each
 * other. While the leader moves, the follower goes by the map last found round the leader's middle; the server's answer,
 * through the whole composed transform, puts it right as soon as it is there.
 */

import { fitAffine, follow, inverse, apply, probes, type Affine, type Point } from "./geometry";
import type { SlideName } from "./api";
import type { SlideView } from "./slide_view";

export type MapPoints = (from: SlideName, points: readonly Point[]) => Promise<(Point | null)[]>;

export class Link {
  private lead: SlideView;
  private local: Record<SlideName, Affine | null> = { he: null, ki67: null };
  private pointed: { pane: SlideView; um: Point } | null = null;
  private busy = false;
  private again = false;
  private on = true;
  /** Told whether the middle of the leader has a place on the other slide. */
  onFound: (found: boolean) => void = () => undefined;

  constructor(
    private readonly he: SlideView,
    private readonly ki67: SlideView,
    private readonly map: MapPoints,
    private readonly failed: (error: unknown) => void,
    signal: AbortSignal,
  ) {
    this.lead = ki67;
    for (const pane of [he, ki67]) {
      pane.addEventListener("lead", () => this.leads(pane), { signal });
      pane.addEventListener("move", () => this.moved(pane), { signal });
      pane.addEventListener("point", (event) => this.point(pane, (event as CustomEvent<Point>).detail), { signal });
      pane.addEventListener("unpoint", () => this.point(pane, null), { signal });
    }
  }

  get linked(): boolean {
    return this.on;
  }

  set linked(on: boolean) {
    this.on = on;
    if (on) this.moved(this.lead);
  }

  leads(pane: SlideView): void {
    this.lead = pane;
  }

  /** Put the follower right, as after another pane was shown or the registration was moved. */
  renew(): void {
    this.local = { he: null, ki67: null };
    this.moved(this.lead);
  }

  private otherOf(pane: SlideView): SlideView {
    return pane === this.he ? this.ki67 : this.he;
  }

  private moved(pane: SlideView): void {
    if (!this.on || pane !== this.lead) return;
    const local = this.local[pane.name];
    if (local) this.otherOf(pane).show(follow(pane.view, local));
    void this.ask();
  }

  private point(pane: SlideView, um: Point | null): void {
    this.pointed = um ? { pane, um } : null;
    pane.crosshair(um);
    const local = this.local[pane.name];
    this.otherOf(pane).crosshair(um && local ? apply(local, um) : null);
    if (um) void this.ask();
  }

  /** One question at a time; what came up meanwhile is asked next. */
  private async ask(): Promise<void> {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    try {
      do {
        this.again = false;
        await this.answer();
      } while (this.again);
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
    }
  }

  private async answer(): Promise<void> {
    const { lead, pointed } = this;
    const places = probes(lead.view, lead.size);
    const asked = pointed && pointed.pane === lead ? [...places, pointed.um] : places;
    const found = await this.map(lead.name, asked);
    const local = fitAffine(places, found.slice(0, places.length));
    this.onFound(local !== null);
    if (local) {
      this.local[lead.name] = local;
      this.local[this.otherOf(lead).name] = inverse(local);
      if (this.on && lead === this.lead) this.otherOf(lead).show(follow(lead.view, local));
    }
    if (pointed && pointed === this.pointed) await this.placeCrosshair(pointed, found[places.length]);
  }

  private async placeCrosshair(pointed: { pane: SlideView; um: Point }, known: Point | null | undefined): Promise<void> {
    const found = known === undefined ? (await this.map(pointed.pane.name, [pointed.um]))[0] : known;
    if (pointed === this.pointed) this.otherOf(pointed.pane).crosshair(found ?? null);
  }
}
