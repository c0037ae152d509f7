// Light, dark, or as the system has it.

import { h, fill } from "../dom.js";
import { icon } from "./icons.js";

const KEY = "studio.theme";
const THEMES = [["", "auto", "as the system"], ["light", "sun", "light"], ["dark", "moon", "dark"]];

/** A button that goes from one theme to the next. */
export function themeSwitch() {
  const host = h("button", { type: "button", class: "button quiet icon", on: { click: next } });
  const current = () => THEMES.findIndex(([name]) => name === (localStorage.getItem(KEY) ?? ""));

  function show() {
    const [, sign, words] = THEMES[current()] ?? THEMES[0];
    fill(host, icon(sign));
    host.setAttribute("aria-label", `Theme: ${words}. Change`);
    host.title = `Theme: ${words}`;
  }

  function next() {
    const [name] = THEMES[(current() + 1) % THEMES.length];
    if (name) {
      localStorage.setItem(KEY, name);
      document.documentElement.dataset.theme = name;
    } else {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    }
    show();
  }

  show();
  return host;
}
