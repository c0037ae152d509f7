// A curve over training steps, drawn as SVG.

import { h, s } from "../dom.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [340, 180, 30, 6, 16, 24];

/**
 * Likeness over steps.
 * @param {Array<{step: number, value: number}>} points in order
 * @param {string} unit
 */
export function curve(points, unit) {
  if (points.length === 0) {
    return h("p", { class: "placeholder small" }, "The curve begins with the first check on frames that training does not see.");
  }
  const values = points.map((point) => point.value);
  const low = Math.floor(Math.min(...values) / 2) * 2;
  const high = Math.max(low + 4, Math.ceil(Math.max(...values) / 2) * 2);
  const last = points.at(-1);
  const first = points[0].step;
  const span = Math.max(1, last.step - first);
  const x = (step) => LEFT + ((step - first) / span) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const path = points.map(({ step, value }, at) => `${at ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const floor = HEIGHT - BOTTOM;
  const lines = [low, (low + high) / 2, high];
  const label = `${last.value.toFixed(1)} ${unit} at step ${last.step}, from ${values[0].toFixed(1)} ${unit} at step ${first}.`;
  return s("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    lines.map((value) => [
      s("line", { class: "grid-line", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(0)),
    ]),
    s("path", { class: "area", d: `${path}L${x(last.step)} ${floor}L${x(first)} ${floor}Z` }),
    s("path", { class: "line", d: path }),
    s("circle", { class: "dot", cx: x(last.step), cy: y(last.value), r: 4 }),
    s("text", { class: "last", x: x(last.step) - 8, y: Math.max(12, y(last.value) - 10), "text-anchor": "end" }, `${last.value.toFixed(1)} ${unit}`),
    s("text", { x: x(first), y: HEIGHT - 6 }, `step ${first}`),
    s("text", { x: x(last.step), y: HEIGHT - 6, "text-anchor": "end" }, `step ${last.step}`));
}

const LINE = /step (\d+), held-out PSNR (-?[\d.]+) dB/;

/** The points that a training job's log tells of. */
export function pointsOf(lines) {
  const found = new Map();
  for (const line of lines) {
    const match = LINE.exec(line);
    if (match) found.set(Number(match[1]), Number(match[2]));
  }
  return [...found].sort(([a], [b]) => a - b).map(([step, value]) => ({ step, value }));
}
