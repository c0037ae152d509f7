// API keys: who may call.

import { fill, h } from "../dom.js";
import { ago, moment } from "../format.js";
import { button, busy, card, copyButton, empty, link, loaded, note, page } from "../parts/page.js";
import { confirm } from "../parts/dialog.js";
import { field, input, select } from "../parts/fields.js";
import { ROLES } from "../words.js";

export function keysPage(context) {
  const { me } = context;
  const about = "Programs and people call the suite with a key. Each belongs to one tenant.";
  if (me.role !== "admin" && me.role !== "operator") {
    return page({ title: "API keys", about, actions: [link("Webhooks", "#/webhooks")] }, note("info", h("h3", null, "This key may not manage keys"),
      h("p", null, `It has the role ${me.role}. Ask an admin of your tenant, or sign in with an admin's key.`)));
  }
  const once = h("div", { class: "slot" });
  const list = h("div", { class: "slot" });
  let tenant = me.tenant;
  const read = () => fill(list, tenant ? keyList(context, tenant, read) : h("p", { class: "soft" }, "Name a tenant above to see its keys."));
  const made = (key) => {
    tenant = key.tenant;
    fill(once, secret(key));
    once.querySelector("h3").focus();
    read();
  };
  const choose = (named) => { tenant = named; read(); };
  read();
  const actions = me.role === "operator" ? [] : [link("Webhooks", "#/webhooks")];
  return page({ title: "API keys", about, actions }, once,
    card("New key", newKey(context, made, choose)),
    card("Keys", list));
}

function newKey({ api, me, signal }, made, choose) {
  const operator = me.role === "operator";
  const name = input({ name: "name", required: true, maxLength: 200, placeholder: "Build server" });
  const named = field("What it is for", name);
  const role = select([["member", "Member: makes avatars and dubs"], ["admin", "Admin: manages keys too"], ["reviewer", "Reviewer: decides on evidence of consent"], ["viewer", "Viewer: looks on"]], { name: "role" });
  const tenant = input({ name: "tenant", placeholder: "acme", required: operator });
  const ofTenant = field("Tenant", tenant, "Its name; a new one is begun with its first key.");
  const place = h("div", { class: "slot" });
  const make = h("button", { type: "submit", class: "button primary" }, "Make a key");
  tenant.addEventListener("change", () => choose(tenant.value.trim()));

  const submit = async (event) => {
    event.preventDefault();
    if (operator && !tenant.value.trim()) return ofTenant.fail("Name the tenant.");
    if (!name.value.trim()) return named.fail("Say what it is for.");
    const body = { name: name.value.trim(), role: role.value, ...(operator && { tenant: tenant.value.trim() }) };
    const key = await busy(make, "Making", place, () => api.post("keys", body, { signal }));
    if (key) {
      name.value = "";
      made(key);
    }
    return undefined;
  };
  return h("form", { class: "form", noValidate: true, on: { submit } },
    h("div", { class: "pair" }, operator && ofTenant, named, field("Role", role)), place, h("div", null, make));
}

function secret(key) {
  return note("good", h("h3", { tabIndex: -1 }, `The key “${key.name}”`),
    h("p", null, "It is shown this once. Copy it now, to where it is used."),
    h("div", { class: "copy-row" }, h("code", { class: "code wrap", data: { secret: "" } }, key.key), copyButton(key.key)));
}

function keyList({ api, me, signal }, tenant, again) {
  const query = me.role === "operator" ? { tenant } : {};
  return loaded("Loading keys", () => api.all("keys", { query, signal }), (keys) => {
    if (keys.length === 0) return empty({ icon: "keys", title: "No key yet", about: `Make the first one of ${tenant} above.` });
    return h("table", { class: "table" },
      h("thead", null, h("tr", null, ["Name", "Role", "Made", "Id", ""].map((words) => h("th", { scope: "col" }, words || h("span", { class: "visually-hidden" }, "Actions"))))),
      h("tbody", null, keys.map((key) => row(key))));
  }, signal);

  function row(key) {
    const own = key.id === me.key;
    return h("tr", null,
      h("td", { data: { label: "Name" } }, h("span", null, h("strong", null, key.name), own && h("span", { class: "soft small" }, " (this one)"))),
      h("td", { data: { label: "Role" } }, ROLES[key.role]),
      h("td", { data: { label: "Made" } }, h("span", { title: moment(key.created_at) }, ago(key.created_at))),
      h("td", { data: { label: "Id" } }, h("code", null, key.id)),
      h("td", { class: "end" }, h("span", null, button("Revoke", { kind: "danger small", "aria-label": `Revoke ${key.name}`, on: () => revoke(key, own) }))));
  }

  async function revoke(key, own) {
    const done = await confirm({
      title: `Revoke “${key.name}”?`, action: "Revoke the key",
      body: [h("p", null, "Whatever uses it is refused from now on. This cannot be undone."),
        own && note("warn", h("p", null, "It is the key that you are signed in with: you will be signed out."))],
      work: () => api.delete(`keys/${key.id}`, { query }),
    });
    if (done) again();
  }
}
