// Drawn here: 24 units square, strokes in the colour of the text.

import { s } from "../dom.js";

const SHAPES = {
  avatars: ["M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z", "M4.5 20.5c.8-4 3.8-6 7.5-6s6.7 2 7.5 6"],
  dubs: ["M4 5.5h16v13H4z", "M10 9.5v5l4.5-2.5z"],
  live: ["M12 3.5a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3Z", "M5.5 11.5a6.5 6.5 0 0 0 13 0", "M12 18v3"],
  verify: ["M12 3 4.5 6v5.5c0 4.6 3.2 8 7.5 9.5 4.3-1.5 7.5-4.9 7.5-9.5V6z", "m8.8 12 2.3 2.3 4.2-4.6"],
  keys: ["M14.8 13.7a5 5 0 1 0-4.5-4.5L4 15.5V20h4.5v-2.5H11V15z", "M15.5 8.5h.01"],
  system: ["M3.5 12h4l2.5-7 4 14 2.5-7h4"],
  good: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "m8.2 12.3 2.6 2.6 5-5.4"],
  warn: ["M12 4 2.8 19.8h18.4z", "M12 10v4.5", "M12 17.2h.01"],
  refuse: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "m9 9 6 6", "m15 9-6 6"],
  info: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "M12 11v5", "M12 8h.01"],
  now: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "M12 7.5V12l3 2"],
  later: ["M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16Z"],
  upload: ["M12 16V4.5", "m7.5 9 4.5-4.5L16.5 9", "M4.5 15.5v4h15v-4"],
  download: ["M12 4.5V16", "m7.5 11.5 4.5 4.5 4.5-4.5", "M4.5 15.5v4h15v-4"],
  plus: ["M12 5v14", "M5 12h14"],
  copy: ["M9 9h11v11H9z", "M15 9V4H4v11h5"],
  trash: ["M4.5 7h15", "M9.5 7V4h5v3", "M6.5 7l1 13h9l1-13", "M10 11v5", "M14 11v5"],
  back: ["m14.5 5.5-6.5 6.5 6.5 6.5"],
  again: ["M19.5 12a7.5 7.5 0 1 1-2.3-5.4", "M19.5 3.5v4h-4"],
  stop: ["M6.5 6.5h11v11h-11z"],
  play: ["M8 5.5v13l10.5-6.5z"],
  leave: ["M14 4.5h5.5v15H14", "M4 12h10", "m10.5 8.5 3.5 3.5-3.5 3.5"],
  sun: ["M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z", "M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4"],
  moon: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z"],
  auto: ["M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17Z", "M12 3.5v17", "M12 7.5l4.5 0M12 12h6M12 16.5h4.5"],
  hear: ["M4 9.5v5h3.5l5 4v-13l-5 4z", "M16 9a4 4 0 0 1 0 6", "M18.5 6.5a8 8 0 0 1 0 11"],
};

/** An icon; it says nothing to screen readers, the words beside it do. */
export function icon(name) {
  return s("svg", {
    viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 1.7,
    "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true",
  }, SHAPES[name].map((d) => s("path", { d })));
}

/** The mark of the studio. */
export function mark() {
  return s("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" },
    s("rect", { width: 32, height: 32, rx: 8, fill: "currentColor" }),
    s("g", { stroke: "var(--on-accent)", fill: "none", "stroke-width": 2.6, "stroke-linecap": "round" },
      s("circle", { cx: 16, cy: 12, r: 4, fill: "var(--on-accent)" }),
      s("path", { d: "M6.5 26c1.2-5.4 5-8 9.5-8s8.3 2.6 9.5 8" })));
}
