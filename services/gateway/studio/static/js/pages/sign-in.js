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
        h("p", { class: "soft" }, "On the machine that runs the suite, make one; it is printed once:"),
        h("code", { class: "code" }, "avatar keys make studio"),
        h("p", { class: "soft" }, "The command line's own key is AVATAR_KEY in ", h("code", null, "~/.avatar/settings.env"),
          "; AVATAR_BOOTSTRAP_KEY there is the operator's, which makes keys for any tenant. Elsewhere, ask an admin: keys are made here too, under API keys."))),
    h("div", { class: "signin-bottom small" }, h("a", { href: "/docs" }, "API documentation"), themeSwitch())));
}
