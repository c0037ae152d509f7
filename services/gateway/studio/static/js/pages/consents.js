// Consents on record: who agreed to what, and taking it back.

import { fill, h } from "../dom.js";
import { at, makes, revoke, since } from "../parts/consent.js";
import { badge, button, card, empty, link, loaded, page } from "../parts/page.js";

export function consentsPage(context) {
  const { api, me, signal } = context;
  const list = h("div", { class: "slot" });
  const read = () => fill(list, loaded("Loading consents", () => Promise.all([
    api.all("consents", { signal }), api.all("avatars", { signal }),
  ]), show, signal));
  read();
  const record = () => link("New consent", "#/consents/new", { icon: "plus" });
  return page({
    title: "Consents", back: ["#/avatars", "Avatars"], actions: makes(me) ? [record()] : [],
    about: "Who agreed to an avatar of theirs, and what shows it. Revoking a consent ends and erases all that stands on it.",
  }, card("On record", list));

  function show([consents, avatars]) {
    if (consents.length === 0) {
      return empty({
        icon: "good", title: "No consent yet", about: "Each avatar begins with the consent of the person it shows.",
        actions: makes(me) ? [record()] : [],
      });
    }
    return h("table", { class: "table" },
      h("thead", null, h("tr", null, ["Person", "State", "Recorded", "Avatars", ""].map((words) => h("th", { scope: "col" }, words || h("span", { class: "visually-hidden" }, "Actions"))))),
      h("tbody", null, consents.map((consent) => row(consent, avatars.filter((avatar) => avatar.consent === consent.id)))));
  }

  function row(consent, avatars) {
    const { subject_name: name, granted_by: by } = consent;
    const revocable = consent.state !== "revoked" && makes(me);
    return h("tr", null,
      h("td", { data: { label: "Person" } }, h("div", null, h("a", { href: `#/consents/${consent.id}` }, name), by !== name && h("span", { class: "soft small" }, ` told by ${by}`))),
      h("td", { data: { label: "State" } }, h("span", null, badge(consent.state), h("span", { class: "faint small" }, since(consent)))),
      h("td", { data: { label: "Recorded" } }, at(consent.created_at)),
      h("td", { data: { label: "Avatars" } }, avatars.length === 0 ? "None" : h("ul", null, avatars.map(({ id, name: called }) => h("li", null, h("a", { href: `#/avatars/${id}` }, called))))),
      h("td", { class: "end" }, revocable && button("Revoke", { kind: "danger small", "aria-label": `Revoke the consent of ${name}`, on: async () => {
        if (await revoke(context, consent, avatars)) read();
      } })));
  }
}
