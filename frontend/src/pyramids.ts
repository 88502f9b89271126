/** Pictures in tiles: a slide, the other section laid on it, a map of it. */

import type { CaseFacts, SlideFacts } from "./api";

/** A Deep Zoom pyramid in tiles of 256 px without overlap; `tiles` is their address with level, column and row left in. */
export interface Pyramid {
  width_px: number;
  height_px: number;
  width_um: number;
  tiles: string;
}

export function tileAddress(pyramid: Pyramid, level: number, column: number, row: number): string {
  return pyramid.tiles.replace("{level}", `${level}`).replace("{col}", `${column}`).replace("{row}", `${row}`);
}

/** The H&E as it lies on the Ki-67 slide; null where the sections are not registered or one is not there. */
export function warpedPyramid({ slides, warped }: CaseFacts): Pyramid | null {
  return warped && slides.he?.available && slides.ki67 ? laidOn(slides.ki67, warped) : null;
}

function laidOn({ width_px, height_px, width_um }: SlideFacts, tiles: string): Pyramid {
  return { width_px, height_px, width_um, tiles };
}
