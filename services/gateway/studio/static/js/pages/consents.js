// Consents on record: who agreed to what, and taking it back.

import { fill, h } from "../dom.js";
import { day, moment } from "../format.js";
import { badge, button, card, empty, link, loaded, note, page } from "../parts/page.js";
import { confirm } from "../parts/dialog.js";

export function consentsPage({ api, signal }) {
  const list = h("div", { class: "slot" });
  const read = () => fill(list, loaded("Loading consents", () => Promise.all([
    api.all("consents", { signal }), api.all("avatars", { signal }),
  ]), show, signal));
  read();
  return page({
    title: "Consents", back: ["#/avatars", "Avatars"],
    about: "Who agreed to an avatar of theirs. Revoking stops all new work with the avatars that stand on a consent; it does not erase them.",
  }, card("On record", list));

  function show([consents, avatars]) {
    if (consents.length === 0) {
      return empty({
        icon: "good", title: "No consent yet", about: "The first one is recorded when an avatar is made.",
        actions: [link("New avatar", "#/avatars/new", { icon: "plus" })],
      });
    }
    return h("table", { class: "table" },
      h("thead", null, h("tr", null, ["Person", "State", "Recorded", "Avatars", ""].map((words) => h("th", { scope: "col" }, words || h("span", { class: "visually-hidden" }, "Actions"))))),
      h("tbody", null, consents.map((consent) => row(consent, avatars.filter((avatar) => avatar.consent === consent.id)))));
  }

  function row(consent, avatars) {
    const { subject_name: name, granted_by: by, statement } = consent;
    return h("tr", null,
      h("td", { data: { label: "Person" } }, h("div", null, h("strong", null, name), by !== name && h("span", { class: "soft small" }, ` told by ${by}`),
        statement && h("details", null, h("summary", { class: "small" }, "What they agreed to"), h("p", { class: "statement small" }, statement)))),
      h("td", { data: { label: "State" } }, h("span", null, badge(consent.state), h("span", { class: "faint small" }, since(consent)))),
      h("td", { data: { label: "Recorded" } }, h("span", { title: moment(consent.created_at) }, day(consent.created_at))),
      h("td", { data: { label: "Avatars" } }, avatars.length === 0 ? "None" : h("ul", null, avatars.map(({ id, name: called }) => h("li", null, h("a", { href: `#/avatars/${id}` }, called))))),
      h("td", { class: "end" }, consent.state !== "revoked" && button("Revoke", { kind: "danger small", "aria-label": `Revoke the consent of ${name}`, on: () => revoke(consent, avatars) })));
  }

  async function revoke(consent, avatars) {
    const done = await confirm({
      title: `Revoke the consent of ${consent.subject_name}?`, action: "Revoke the consent",
      body: [h("p", null, "No dub and no live session is begun any more with what stands on it. This cannot be undone; a new consent may be recorded."),
        avatars.length > 0 && note("warn", h("p", null, "Erase its avatars, too, where the person asks for that: each avatar's page does it."))],
      work: () => api.post(`consents/${consent.id}/revoke`),
    });
    if (done) read();
  }
}

function since({ state, revoked_at: revoked, expires_at: expires }) {
  if (state === "revoked") return ` ${day(revoked)}`;
  if (!expires) return "";
  return state === "expired" ? ` ${day(expires)}` : ` until ${day(expires)}`;
}
