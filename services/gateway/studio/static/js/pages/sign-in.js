// Signing in: at the identity provider where there is one, or with an API key.

import { h } from "../dom.js";
import { leaveTo } from "../oidc.js";
import { mark } from "../parts/icons.js";
import { button, busy, note } from "../parts/page.js";
import { field, input } from "../parts/fields.js";
import { problem } from "../parts/problem.js";
import { themeSwitch } from "../parts/theme-switch.js";

/**
 * The page.
 * @param {object} options
 * @param {string} options.said a remark
 * @param {Error} [options.error] why signing in did not work
 * @param {object|null} options.oidc the identity provider
 * @param {function(string): Promise} options.onKey takes a key or raises
 */
export function signIn({ said, error, oidc, onKey }) {
  const place = h("div", { class: "slot" }, error ? problem(error) : said && note("info", h("p", null, said)));
  const byKey = keyForm(onKey, oidc ? h("div", { class: "slot" }) : place, oidc);
  return h("main", { class: "signin" }, h("div", { class: "signin-box" },
    h("p", { class: "brand" }, mark(), "Studio"),
    h("div", { class: "card form" },
      h("div", null, h("h1", { tabIndex: -1 }, "Sign in"),
        h("p", { class: "soft" }, "Make talking avatars, have them speak, and talk with them live.")),
      oidc ? [atProvider(oidc, place), place, h("details", { open: !window.isSecureContext }, h("summary", { class: "small" }, "With an API key instead"), byKey)] : byKey,
      h("details", { class: "small" }, h("summary", null, "Where do I get a key?"),
        h("p", { class: "soft" }, "On the machine that runs the suite, make one; it is printed once:"),
        h("code", { class: "code" }, "avatar keys make studio"),
        h("p", { class: "soft" }, "The command line's own key is AVATAR_KEY in ", h("code", null, "~/.avatar/settings.env"),
          "; AVATAR_BOOTSTRAP_KEY there is the operator's, which makes keys for any tenant. Elsewhere, ask an admin: keys are made here too, under API keys."))),
    h("div", { class: "signin-bottom small" }, h("a", { href: "/docs" }, "API documentation"), themeSwitch())));
}

function atProvider(oidc, place) {
  if (!window.isSecureContext) {
    return note("warn", h("p", null, "This page came over plain HTTP: browsers sign in at an identity provider from HTTPS addresses only. Use an API key, or open the studio by its HTTPS address."));
  }
  const go = button(`Sign in with ${new URL(oidc.issuer).host}`, { kind: "primary", icon: "keys", on: () => busy(go, "Leaving", place, () => leaveTo(oidc)) });
  return go;
}

function keyForm(onKey, place, oidc) {
  const key = input({ type: "password", id: "key", name: "key", spellcheck: false, autocapitalize: "off", placeholder: "avk_…", required: true });
  const labelled = field("API key", key, "Kept in this tab only, and forgotten when it is closed.");
  const enter = h("button", { type: "submit", class: oidc ? "button" : "button primary" }, oidc ? "Use the key" : "Sign in");
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

  return h("form", { class: "form", noValidate: true, on: { submit } },
    labelled,
    h("label", { class: "check small" }, shown, h("span", null, "Show the key")),
    place, h("div", { class: "stretch" }, enter));
}
