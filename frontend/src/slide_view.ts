/** One pane: a slide in OpenSeadragon, what is drawn over it, its crosshair, scale bar and overview. */

import OpenSeadragon from "openseadragon";
import type { SlideFacts, SlideName } from "./api";
import { h } from "./dom";
import { apply, boxOf, inverse, magnification, normalDegrees, scaleBar, screenOf, type Affine, type Box, type Point, type Size, type View } from "./geometry";
import { tileAddress, type Pyramid } from "./pyramids";

const TILE = 256;
const MOST_CACHED_TILES = 1000;
const MOST_SCREEN_PX_PER_SLIDE_PX = 6;
const SCALE_BAR_PX = 130;

export type Drawing = (context: CanvasRenderingContext2D, pane: SlideView) => void;

/** Where a press, a move or a release was: pixels of the pane, µm of the slide, and what was held down. */
export interface Touch {
  px: Point;
  um: Point;
  event: PointerEvent | MouseEvent;
}

/** A tool that takes the pointer for itself; each returns whether it did. */
export interface PointerTool {
  cursor: string;
  press?(touch: Touch): boolean;
  drag?(touch: Touch): void;
  release?(touch: Touch): void;
  click?(touch: Touch): void;
  double?(touch: Touch): void;
  draw?: Drawing;
}

export class SlideView extends EventTarget {
  readonly element: HTMLElement;
  readonly viewer: OpenSeadragon.Viewer;
  readonly drawings: Drawing[] = [];
  pointerTool: PointerTool | null = null;
  ready = false;
  private closed = false;
  private readonly canvas = h("canvas", { class: "over", "aria-hidden": "true" });
  private readonly cross = h("div", { class: "crosshair", "aria-hidden": "true", hidden: true });
  private readonly bar = h("div", { class: "scalebar" });
  private readonly zoomed = h("span", { class: "zoomed" });
  private readonly place = h("span", { class: "place" });
  private readonly layers = new Map<string, OpenSeadragon.TiledImage>();
  private readonly asked = new Set<string>();
  private readonly opacities = new Map<string, number>();
  private crossAt: Point | null = null;
  private drawn = 0;


  constructor(
    readonly name: SlideName,
    readonly label: string,
    readonly facts: SlideFacts,
  ) {
    super();
    const host = h("div", { class: "slide" });
    this.element = h(
      "section",
      { class: "pane", "aria-label": `${label} section`, "data-slide": name },
      host,
      this.canvas,
      this.cross,
      h("div", { class: "pane-name" }, h("i", { class: `stain ${name}` }), label),
      h("div", { class: "pane-foot" }, this.bar, this.zoomed, this.place),
    );
    dressed();
    this.viewer = OpenSeadragon({
      element: host,
      // The canvas draws as fast as WebGL where there is no graphics card, and a page has few WebGL contexts.
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "TOP_RIGHT",
      navigatorSizeRatio: 0.17,
      navigatorAutoFade: false,
      preserveImageSizeOnResize: true,
      animationTime: 0.35,
      springStiffness: 8,
      blendTime: 0,
      zoomPerScroll: 1.25,
      visibilityRatio: 0.2,
      minZoomImageRatio: 0.6,
      maxZoomPixelRatio: MOST_SCREEN_PX_PER_SLIDE_PX,
      maxImageCacheCount: MOST_CACHED_TILES,
      maxTilesPerFrame: 4,
      timeout: 60_000,
      tileRetryMax: 2,
      tileRetryDelay: 1000,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true, pinchRotate: true },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
      tileSources: tileSource(facts) as unknown as string,
    });
    this.viewer.canvas.setAttribute("role", "img");
    this.viewer.canvas.setAttribute("aria-label", `${label} section; arrow keys move it, plus and minus zoom`);
    // The page has keys of its own.
    for (const keys of ["canvas-key", "canvas-key-press"] as const)
      this.viewer.addHandler(keys as "canvas-key", (event) => ((event as { preventDefaultAction: boolean }).preventDefaultAction = true));
    this.viewer.addHandler("update-viewport", () => this.paint());
    this.viewer.addHandler("viewport-change", () => this.moved());
    // OpenSeadragon goes on with the view it had after it has told of the new size.
    this.viewer.addHandler("after-resize", () => queueMicrotask(() => this.begin()));
    this.viewer.addHandler("open", () => this.begin());
    this.viewer.addHandler("tile-load-failed", () => this.dispatchEvent(new Event("tile-missing")));
    this.watchPointer(host);
  }

  get size(): Size {
    const { x, y } = this.viewer.viewport?.containerSize ?? { x: 1, y: 1 };
    return { width: Math.max(1, x), height: Math.max(1, y) };
  }

  /** What is shown at this moment, in the middle of a movement, too. */
  get view(): View {
    const { viewport } = this.viewer;
    const middle = viewport.getCenter(true);
    return {
      x: middle.x * this.facts.width_um,
      y: middle.y * this.facts.width_um,
      umPerPx: this.facts.width_um / (viewport.getZoom(true) * this.size.width),
      deg: normalDegrees(viewport.getRotation(true)),
      flip: viewport.getFlip(),
    };
  }

  show(view: View, immediately = true): void {
    const { viewport } = this.viewer;
    if (viewport.getFlip() !== view.flip) viewport.setFlip(view.flip);
    viewport.setRotation(nearestTurn(viewport.getRotation(true), view.deg), immediately);
    viewport.zoomTo(this.facts.width_um / (view.umPerPx * this.size.width), undefined, immediately);
    viewport.panTo(new OpenSeadragon.Point(view.x / this.facts.width_um, view.y / this.facts.width_um), immediately);
  }

  /** Fly to a box of the slide. */
  fly(box: Box, room = 1.3): void {
    const { width, height } = this.size;
    const umPerPx = Math.max((box.x1 - box.x0) / width, (box.y1 - box.y0) / height, 0.05) * room;
    this.show({ ...this.view, x: (box.x0 + box.x1) / 2, y: (box.y0 + box.y1) / 2, umPerPx }, false);
  }

  home(): void {
    const { width_um, height_um } = this.facts;
    this.fly({ x0: 0, y0: 0, x1: width_um, y1: height_um }, 1.08);
  }

  zoomBy(factor: number): void {
    this.viewer.viewport.zoomBy(factor);
    this.viewer.viewport.applyConstraints();
  }

  turnBy(deg: number): void {
    this.viewer.viewport.rotateBy(deg);
  }

  panBy(xPx: number, yPx: number): void {
    const [x, y] = apply(inverse(this.toScreen), [this.size.width / 2 + xPx, this.size.height / 2 + yPx]);
    this.viewer.viewport.panTo(new OpenSeadragon.Point(x / this.facts.width_um, y / this.facts.width_um));
  }

  get toScreen(): Affine {
    return screenOf(this.view, this.size);
  }

  box(margin = 0): Box {
    return boxOf(this.view, this.size, margin);
  }

  /** Put the crosshair on a place of the slide, or take it away. */
  crosshair(um: Point | null): void {
    this.crossAt = um;
    this.placeCrosshair();
    this.place.textContent = um ? `${um[0].toFixed(1)}, ${um[1].toFixed(1)} µm` : "";
  }

  redraw(): void {
    if (this.drawn) return;
    this.drawn = requestAnimationFrame(() => this.paint());
  }

  /** Lay a pyramid over the slide, or change how it is mixed. */
  lay(id: string, pyramid: Pyramid, opacity: number): void {
    this.opacities.set(id, opacity);
    const known = this.layers.get(id);
    if (known) known.setOpacity(opacity);
    if (known || opacity <= 0 || this.asked.has(id)) return;
    this.asked.add(id);
    const options = {
      tileSource: tileSource(pyramid),
      width: pyramid.width_um / this.facts.width_um,
      opacity,
      success: ({ item }: { item: OpenSeadragon.TiledImage }) => {
        if (!this.asked.delete(id)) return this.viewer.world.removeItem(item);
        this.layers.set(id, item);
        item.setOpacity(this.opacities.get(id) ?? 0);
        this.cut();
      },
    };
    this.viewer.addTiledImage(options as unknown as Parameters<OpenSeadragon.Viewer["addTiledImage"]>[0]);
  }

  /** Take a layer away, as where its tiles are not what they were. */
  unlay(id: string): void {
    this.asked.delete(id);
    const known = this.layers.get(id);
    if (known) this.viewer.world.removeItem(known);
    this.layers.delete(id);
  }

  /** Show a layer only right of a line across the pane (0 to 1); null shows all of it. */
  curtain: { id: string; at: number } | null = null;

  /** Cut the layer at the curtain, wherever the slide has been moved to. */
  cut(): void {
    for (const [id, image] of this.layers) {
      if (this.curtain?.id !== id) {
        image.resetCroppingPolygons();
        continue;
      }
      const { width, height } = this.size;
      const back = inverse(this.toScreen);
      const left = this.curtain.at * width;
      const far = 4 * Math.max(width, height);
      const corners: Point[] = [[left, -far], [width + far, -far], [width + far, height + far], [left, height + far]];
      const content = image.getContentSize();
      const scale = content.x / this.facts.width_um;
      image.setCroppingPolygons([corners.map((corner) => toPoint(apply(back, corner), scale))]);
    }
  }

  close(): void {
    this.closed = true;
    cancelAnimationFrame(this.drawn);
    this.viewer.destroy();
  }

  /** A view can be shown once the slide is there and the pane has a size. */
  private begin(): void {
    if (this.closed) return;
    const there = this.viewer.world.getItemCount() > 0 && this.size.width > 1 && this.size.height > 1;
    if (there && !this.ready) {
      this.ready = true;
      this.dispatchEvent(new Event("ready"));
    }
    if (there) this.moved();
  }

  private moved(): void {
    if (this.curtain) this.cut();
    this.dispatchEvent(new Event("move"));
    this.redraw();
  }

  private placeCrosshair(): void {
    this.cross.hidden = this.crossAt === null;
    if (!this.crossAt) return;
    const [x, y] = apply(this.toScreen, this.crossAt);
    this.cross.style.transform = `translate(${x}px, ${y}px)`;
  }

  private paint(): void {
    cancelAnimationFrame(this.drawn);
    this.drawn = 0;
    const { width, height } = this.size;
    const sharp = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * sharp), Math.round(height * sharp)];
    if (this.canvas.width !== across || this.canvas.height !== down) {
      this.canvas.width = across;
      this.canvas.height = down;
    }
    const context = this.canvas.getContext("2d");
    if (!context) return;
    context.setTransform(sharp, 0, 0, sharp, 0, 0);
    context.clearRect(0, 0, width, height);
    for (const drawing of this.drawings) {
      context.save();
      drawing(context, this);
      context.restore();
    }
    this.pointerTool?.draw?.(context, this);
    this.placeCrosshair();
    this.tellPlace();
  }

  private tellPlace(): void {
    const { view } = this;
    const bar = scaleBar(view.umPerPx, SCALE_BAR_PX);
    this.bar.style.width = `${bar.px}px`;
    this.bar.textContent = bar.label;
    const power = magnification(view.umPerPx);
    this.zoomed.textContent = `${power < 10 ? power.toFixed(1) : power.toFixed(0)}×`;
    this.zoomed.title = `${view.umPerPx.toPrecision(3)} µm a pixel, as an objective of that power shows it at 0.25 µm for 40×`;
    Object.assign(this.element.dataset, {
      x: view.x.toFixed(3),
      y: view.y.toFixed(3),
      umPerPx: view.umPerPx.toPrecision(9),
      deg: view.deg.toFixed(4),
      flip: view.flip ? "1" : "0",
    });
  }

  private watchPointer(host: HTMLElement): void {
    const told = (event: { originalEvent: Event }): Touch => {
      // Not the event's own position: of clicks alone it is mirrored where the slide is.
      const pointer = event.originalEvent as PointerEvent;
      const { left, top } = host.getBoundingClientRect();
      const px: Point = [pointer.clientX - left, pointer.clientY - top];
      return { px, um: apply(inverse(this.toScreen), px), event: pointer };
    };
    let held = false;
    this.viewer.addHandler("canvas-press", (event) => {
      this.dispatchEvent(new Event("lead"));
      held = this.pointerTool?.press?.(told(event as never)) ?? false;
    });
    this.viewer.addHandler("canvas-drag", (event) => {
      if (!held) return;
      (event as { preventDefaultAction: boolean }).preventDefaultAction = true;
      this.pointerTool?.drag?.(told(event as never));
    });
    this.viewer.addHandler("canvas-drag-end", (event) => {
      if (held) (event as { preventDefaultAction: boolean }).preventDefaultAction = true;
    });
    this.viewer.addHandler("canvas-release", (event) => {
      if (held) this.pointerTool?.release?.(told(event as never));
      held = false;
    });
    this.viewer.addHandler("canvas-click", (event) => {
      if ((event as { quick: boolean }).quick) this.pointerTool?.click?.(told(event as never));
    });
    this.viewer.addHandler("canvas-double-click", (event) => this.pointerTool?.double?.(told(event as never)));
    this.viewer.addHandler("canvas-scroll", () => this.dispatchEvent(new Event("lead")));
    this.viewer.addHandler("canvas-pinch", () => this.dispatchEvent(new Event("lead")));
    this.viewer.navigator?.addHandler("canvas-press" as never, (() => this.dispatchEvent(new Event("lead"))) as never);
    host.addEventListener("pointermove", (event) => {
      const { left, top } = host.getBoundingClientRect();
      const um = apply(inverse(this.toScreen), [event.clientX - left, event.clientY - top]);
      this.dispatchEvent(new CustomEvent<Point>("point", { detail: um }));
    });
    host.addEventListener("pointerleave", () => this.dispatchEvent(new Event("unpoint")));
  }
}

function tileSource(pyramid: Pyramid): Record<string, unknown> {
  const { width_px: width, height_px: height } = pyramid;
  const maxLevel = Math.ceil(Math.log2(Math.max(width, height, 1)));
  // Below its eighth level a pyramid is one tile of a few pixels.
  const minLevel = Math.min(maxLevel, 8);
  const getTileUrl = (level: number, column: number, row: number): string => tileAddress(pyramid, level, column, row);
  return { width, height, tileSize: TILE, tileOverlap: 0, minLevel, maxLevel, getTileUrl };
}

/**
 * OpenSeadragon puts a style element into the page unless it finds its own, and the page's rules forbid that.
 *
 * It finds this one, which is no style element but for its name; the style itself is in the page's own sheet.
 */
function dressed(): void {
  const mark = "data-openseadragon-mobile-css";
  if (document.querySelector(`style[${mark}]`)) return;
  const found = document.createElementNS("urn:ki67:none", "style");
  found.setAttribute(mark, "true");
  document.head.append(found);
}

function toPoint([x, y]: Point, scale: number): OpenSeadragon.Point {
  return new OpenSeadragon.Point(x * scale, y * scale);
}

/** The same turn, written so that the way to it is short. */
function nearestTurn(from: number, to: number): number {
  return from + (((to - from + 540) % 360) + 360) % 360 - 180;
}
