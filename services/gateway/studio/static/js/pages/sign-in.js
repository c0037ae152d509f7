// Signing in with an API key.

import { h } from "../dom.js";
import { mark } from "../parts/icons.js";
import { busy, note } from "../parts/page.js";
import { field, input } from "../parts/fields.js";
import { themeSwitch } from "../parts/theme-switch.js";

/** The page; `onKey` takes a key or raises. */
export function signIn({ said, onKey }) {
  const key = input({ type: "password", id: "key", name: "key", spellcheck: false, autocapitalize: "off", placeholder: "avk_…", required: true });
  const labelled = field("API key", key, "Kept in this tab only, and forgotten when it is closed.");
  const place = h("div", { class: "slot" }, said && note("info", h("p", null, said)));
  const enter = h("button", { type: "submit", class: "button primary" }, "Sign in");
  const shown = h("input", { type: "checkbox", on: { change: () => { key.type = shown.checked ? "text" : "password"; } } });

  const submit = async (event) => {
    event.preventDefault();
    const given = key.value.trim();
    if (!given) {
      labelled.fail("Paste a key here.");
      return;
    }
    await busy(enter, "Signing in", place, () => onKey(given));
  };

  return h("main", { class: "signin" }, h("div", { class: "signin-box" },
    h("p", { class: "brand" }, mark(), "Studio"),
    h("form", { class: "card form", noValidate: true, on: { submit } },
      h("div", null, h("h1", { tabIndex: -1 }, "Sign in"),
        h("p", { class: "soft" }, "Make talking avatars, have them speak, and talk with them live.")),
      labelled,
      h("label", { class: "check small" }, shown, h("span", null, "Show the key")),
      place, enter,
      h("details", { class: "small" }, h("summary", null, "Where do I get a key?"),
        h("p", { class: "soft" }, "On the machine that runs the suite, ", h("code", null, "avatar up"),
          " makes one and writes it into its settings. Print it there with:"),
        h("code", { class: "code" }, "grep ^AVATAR_KEY ~/.avatar/settings.env"),
        h("p", { class: "soft" }, "An admin can make more, here under API keys or with ", h("code", null, "avatar keys make NAME"), "."))),
    h("div", { class: "signin-bottom small" }, h("a", { href: "/docs" }, "API documentation"), themeSwitch())));
}
