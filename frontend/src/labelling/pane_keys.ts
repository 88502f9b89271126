/** Keys that move a slide: arrows, plus and minus, the whole of it, a turn. */

import type { SlideView } from "../slide_view";

const STEP_PX = 90;
const TURN_DEG = 15;
const ZOOM = 1.5;

/** Whether the key was one of them. */
export function movedByKey(pane: SlideView, event: KeyboardEvent): boolean {
  const pan = { ArrowLeft: [-STEP_PX, 0], ArrowRight: [STEP_PX, 0], ArrowUp: [0, -STEP_PX], ArrowDown: [0, STEP_PX] }[event.key];
  if (pan) pane.panBy(pan[0] as number, pan[1] as number);
  else if (event.key === "+" || event.key === "=") pane.zoomBy(ZOOM);
  else if (event.key === "-") pane.zoomBy(1 / ZOOM);
  else if (event.key === "0") pane.home();
  else if (event.key === "r") pane.turnBy(TURN_DEG);
  else return false;
  return true;
}
