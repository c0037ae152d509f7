// How far something is, in words as much as in a bar.

import { h, fill, slot, announce } from "../dom.js";
import { percent } from "../format.js";
import { icon } from "./icons.js";

/** A bar; call `update(fraction, words, right)`. Readers hear of it at every tenth. */
export function progressBar(label) {
  const bar = h("progress", { max: 1, value: 0, "aria-label": label });
  const words = h("span", { class: "soft" });
  const right = h("span", { class: "soft" });
  const host = h("div", { class: "progress" }, h("div", { class: "progress-line" }, words, right), bar);
  let tenth = -1;
  host.update = (fraction, now, beside = percent(fraction)) => {
    bar.value = fraction;
    fill(words, now);
    fill(right, beside);
    if (Math.floor(fraction * 10) !== tenth) {
      tenth = Math.floor(fraction * 10);
      announce(`${label}: ${percent(fraction)}. ${now}`);
    }
  };
  return host;
}

/** The steps of some work; `update(index)` says which one is under way. */
export function stepList(names) {
  return slot((index) => index, (index) => h("ol", { class: "steps" }, names.map((name, at) => {
    const state = at < index ? "done" : at === index ? "now" : "";
    const sign = { done: "good", now: "now" }[state] ?? "later";
    return h("li", { class: state, "aria-current": state === "now" ? "step" : null },
      icon(sign), name, h("span", { class: "visually-hidden" }, { done: "done", now: "under way" }[state] ?? "to come"));
  })));
}
