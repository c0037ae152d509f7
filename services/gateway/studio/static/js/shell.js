// What stands around every page: where one can go, who one is.

import { fill, h } from "./dom.js";
import { icon, mark } from "./parts/icons.js";
import { themeSwitch } from "./parts/theme-switch.js";
import { ROLES } from "./words.js";

const PLACES = [
  ["avatars", "Avatars"],
  ["dubs", "Dubs"],
  ["live", "Live"],
  ["verify", "Verify"],
  ["keys", "API keys"],
  ["system", "System"],
];
const PARENTS = { webhooks: "keys" }; // the operator's key has keys and no webhooks
const OF_OPERATOR = new Set(["keys", "system"]);

/** The frame; `show(section, path, page)` puts a page in. */
export function shell(me, signOut) {
  const places = PLACES.filter(([name]) => me.role !== "operator" || OF_OPERATOR.has(name));
  const links = places.map(([name, words]) => h("a", { href: `#/${name}` }, icon(name), words));
  const main = h("main", { class: "main", id: "main", tabIndex: -1 });
  const skip = h("a", { class: "skip", href: "#main", on: { click: (event) => {
    event.preventDefault(); // the address names a page
    main.focus();
  } } }, "Skip to the content");
  const element = h("div", null, skip, h("div", { class: "shell" },
    h("div", { class: "side" }, h("div", { class: "side-inner" },
      h("a", { class: "brand", href: "#/", "aria-label": "Studio, first page" }, mark(), "Studio"),
      h("nav", { class: "nav", "aria-label": "Main" }, h("ul", null, links.map((link) => h("li", null, link)))),
      h("div", { class: "account" },
        h("p", { class: "who small" }, h("strong", null, me.tenant || "All tenants"), h("span", { class: "faint" }, ROLES[me.role])),
        h("div", { class: "account-actions" }, themeSwitch(),
          h("button", { type: "button", class: "button quiet small", on: { click: signOut } }, icon("leave"), "Sign out"))))),
    main));

  function show(section, path, page) {
    places.forEach(([name], at) => {
      if (name === (PARENTS[section] ?? section)) links[at].setAttribute("aria-current", "page");
      else links[at].removeAttribute("aria-current");
    });
    main.dataset.path = path;
    fill(main, page);
  }

  return { element, show };
}
