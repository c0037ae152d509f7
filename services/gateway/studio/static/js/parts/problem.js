// What went wrong, and what to do about it.

import { h } from "../dom.js";
import { icon } from "./icons.js";

/**
 * @param {{message: string, remedy?: string, code?: string, requestId?: string}} error
 * @param {{title?: string, onRetry?: function(): void, actions?: Node[]}} [options]
 */
export function problem(error, { title, onRetry, actions = [] } = {}) {
  const message = sentence(error.message ?? String(error));
  const remedy = sentence(error.remedy || (error.code ? "" : "Reload the page; tell whoever runs this if it stays so."));
  const mark = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean).join(" · ");
  const again = onRetry && h("button", { type: "button", class: "button small", on: { click: onRetry } }, icon("again"), "Try again");
  return h("div", { class: "note bad", role: "alert" }, icon("refuse"), h("div", null,
    h("h3", null, title ?? message),
    title && h("p", null, message),
    remedy && h("p", { class: "remedy" }, remedy),
    mark && h("p", { class: "small soft" }, h("code", null, mark)),
    (again || actions.length > 0) && h("div", { class: "button-row" }, again, actions)));
}

/** With a capital and a full stop. */
export function sentence(text) {
  if (!text) return "";
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}
