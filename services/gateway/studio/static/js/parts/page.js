// What pages are built of.

import { h, fill, announce } from "../dom.js";
import { STATES } from "../words.js";
import { icon } from "./icons.js";
import { problem } from "./problem.js";

/** A page with its heading. `back` is `[address, name]`. */
export function page({ title, about, actions = [], back, beside = [] }, ...content) {
  return h("div", { class: "page" },
    h("header", { class: "head" },
      h("div", { class: "head-text" },
        back && h("a", { class: "crumb", href: back[0] }, icon("back"), back[1]),
        h("div", { class: "title-line" }, h("h1", { id: "title", tabIndex: -1 }, title), beside),
        about && h("p", null, about)),
      h("div", { class: "head-actions" }, actions)),
    content);
}

/** A card with a heading; `aside` stands at its right. */
export function card(title, ...content) {
  const [aside, rest] = content[0]?.aside ? [content[0].aside, content.slice(1)] : [null, content];
  return h("section", { class: "card", "aria-label": title },
    h("div", { class: "card-head" }, h("h2", null, title), aside), rest);
}

/** A state in words. */
export function badge(state) {
  const [words, kind] = STATES[state] ?? [state, ""];
  return h("span", { class: `badge ${kind}`, data: { state } }, words);
}

/** A button. */
export function button(words, { kind = "", icon: name, on, type = "button", ...more } = {}) {
  return h("button", { type, class: `button ${kind}`, on: on && { click: on }, ...more }, name && icon(name), words);
}

/** A link that looks like a button. */
export function link(words, href, { kind = "", icon: name, ...more } = {}) {
  return h("a", { class: `button ${kind}`, href, ...more }, name && icon(name), words);
}

/** What to do where there is nothing yet. */
export function empty({ icon: name, title, about, actions = [] }) {
  return h("div", { class: "empty" }, icon(name), h("h2", null, title), h("p", null, about),
    h("div", { class: "button-row" }, actions));
}

/** Names and values. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value, options]) =>
    h("div", null, h("dt", { title: options?.about ?? "" }, name), h("dd", { class: options?.big ? "big" : "" }, value))));
}

/** A remark. */
export function note(kind, ...content) {
  const names = { good: "good", warn: "warn", bad: "refuse" };
  return h("div", { class: `note ${kind}` }, icon(names[kind] ?? "info"), h("div", null, content));
}

/**
 * Show `words` until `load` is through, then what `render` makes of it, or the problem and a way to
 * try again.
 */
export function loaded(words, load, render, signal) {
  const host = h("div", { class: "slot" });
  const begin = async () => {
    fill(host, h("p", { class: "loading" }, `${words} …`));
    try {
      const found = await load();
      if (signal.aborted) return;
      fill(host, render(found));
      if (document.activeElement?.id === "main") host.querySelector("h1")?.focus({ preventScroll: true });
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(host, problem(error, { onRetry: begin }));
    }
  };
  begin();
  return host;
}

/** Run `work` with the button that began it marked as busy; problems appear in `place`. */
export async function busy(control, words, place, work) {
  const before = [...control.childNodes];
  control.setAttribute("aria-disabled", "true");
  control.disabled = true;
  fill(control, `${words} …`);
  fill(place);
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") {
      fill(place, problem(error));
      place.scrollIntoView?.({ block: "nearest" });
    }
    return undefined;
  } finally {
    control.removeAttribute("aria-disabled");
    control.disabled = false;
    fill(control, before);
  }
}

/** A button that copies a text. */
export function copyButton(text, words = "Copy") {
  const made = button(words, { kind: "small", icon: "copy", on: async () => {
    await navigator.clipboard.writeText(text);
    fill(made, icon("good"), "Copied");
    announce("Copied.");
    setTimeout(() => fill(made, icon("copy"), words), 2000);
  } });
  return made;
}
