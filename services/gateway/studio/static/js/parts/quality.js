// The report on the footage: a verdict, what to do about it, and the picture that shows why.

import { h } from "../dom.js";
import { count, plain } from "../format.js";
import { CHECKS, LEVELS } from "../words.js";
import { icon } from "./icons.js";
import { card } from "./page.js";

const ORDER = { refuse: 0, warn: 1, good: 2 };
const KINDS = { good: "good", warn: "warn", refuse: "bad" };
const SAID = { good: "Good", warn: "Could be better", refuse: "Cannot be used" };

export function qualityReport({ quality, quality_picture_url: picture }) {
  const [title, about] = LEVELS[quality.level];
  const sorted = [...quality.verdicts].sort((a, b) => ORDER[a.level] - ORDER[b.level]);
  const poor = sorted.filter(({ level }) => level !== "good");
  const fine = sorted.filter(({ level }) => level === "good");
  return card("Quality of the footage", { aside: h("span", { class: `badge ${KINDS[quality.level]}` }, title) },
    h("p", { class: "soft" }, about),
    poor.length > 0 && h("div", { class: "verdicts" }, poor.map(verdict)),
    picture && h("a", { class: "zoom", href: picture, target: "_blank", rel: "noopener" },
      h("img", { src: picture, alt: "Frames of the footage with the tracked face, mouth opening, head turn and loudness over time. Opens in full size.", loading: "lazy" })),
    fine.length > 0 && h("details", { open: poor.length === 0 }, h("summary", null, `${count(fine.length, "check")} passed`),
      h("div", { class: "verdicts" }, fine.map(verdict))));
}

function verdict({ name, value, unit, level, message, remedy }) {
  return h("div", { class: `verdict ${level}` },
    icon(level),
    h("h3", null, CHECKS[name] ?? plain(name), h("span", { class: "visually-hidden" }, `: ${SAID[level]}`)),
    value !== null && unit && h("span", { class: "value soft small" }, `${Number(value.toPrecision(3))} ${unit}`),
    h("p", null, message),
    remedy && h("p", { class: "todo" }, remedy));
}
