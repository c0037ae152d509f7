// Webhooks: which server of yours hears what happens.

import { fill, h } from "../dom.js";
import { ago, moment } from "../format.js";
import { EVENTS } from "../words.js";
import { badge, button, busy, card, copyButton, empty, loaded, note, page } from "../parts/page.js";
import { confirm } from "../parts/dialog.js";
import { check, field, input } from "../parts/fields.js";

const SHOWN = 10;

export function webhooksPage(context) {
  const { api, signal } = context;
  const once = h("div", { class: "slot" });
  const list = h("div", { class: "slot" });
  const read = () => fill(list, loaded("Loading webhooks", () => api.all("webhooks", { signal }), (hooks) => {
    if (hooks.length === 0) return empty({ icon: "system", title: "No webhook yet", about: "Without one, your programs have to ask how their avatars and dubs go." });
    return hooks.map((hook) => webhook(context, hook, read));
  }, signal));
  const made = (hook) => {
    fill(once, secret(hook));
    once.querySelector("h3").focus();
    read();
  };
  read();
  return page({
    title: "Webhooks", back: ["#/keys", "API keys"],
    about: "When an avatar or a dub has ended, a server of yours is told by a signed POST, and again until it answers.",
  }, once, card("New webhook", newWebhook(context, made)), list);
}

function newWebhook({ api, signal }, made) {
  const url = input({ name: "url", type: "url", required: true, placeholder: "https://example.com/hooks" });
  const at = field("URL", url, "Reached from the suite, by https.");
  const boxes = Object.entries(EVENTS).map(([value, words]) => check(words, { name: "events", value, checked: !value.endsWith("cancelled") }));
  const place = h("div", { class: "slot" });
  const make = h("button", { type: "submit", class: "button primary" }, "Make a webhook");
  const form = h("form", { class: "form", noValidate: true, on: { submit } }, at,
    h("fieldset", { class: "field" }, h("legend", { class: "legend" }, "What it hears of"), boxes), place, h("div", null, make));

  async function submit(event) {
    event.preventDefault();
    if (!url.value.trim()) return at.fail("Name the URL.");
    const events = new FormData(form).getAll("events");
    if (events.length === 0) return fill(place, note("warn", h("p", null, "Choose at least one event.")));
    const hook = await busy(make, "Making", place, () => api.post("webhooks", { url: url.value.trim(), events }, { signal }));
    if (hook) {
      url.value = "";
      made(hook);
    }
    return undefined;
  }
  return form;
}

function secret(hook) {
  return note("good", h("h3", { tabIndex: -1 }, "The secret of the new webhook"),
    h("p", null, "It is shown this once. Your server checks the header webhook-signature with it, by the Standard Webhooks scheme."),
    h("div", { class: "copy-row" }, h("code", { class: "code wrap", data: { secret: "" } }, hook.secret), copyButton(hook.secret)));
}

function webhook({ api, signal }, hook, again) {
  const sent = h("div", { class: "slot" });
  const place = h("div", { class: "slot" });
  const look = () => fill(sent, loaded("Loading deliveries",
    async () => (await api.get(`webhooks/${hook.id}/deliveries`, { query: { limit: SHOWN }, signal })).data, deliveries, signal));
  const test = button("Send a test", { kind: "small", on: async () => {
    await busy(test, "Sending", place, () => api.post(`webhooks/${hook.id}/test`, {}, { signal }));
    look();
  } });
  look();
  return card(hook.url,
    h("p", { class: "small soft" }, hook.events.map((name) => EVENTS[name] ?? name).join(" · ")), sent, place,
    h("div", { class: "button-row" }, test, button("Look again", { kind: "small", icon: "again", on: look }),
      button("Delete", { kind: "danger small", "aria-label": `Delete the webhook to ${hook.url}`, on: erase })));

  async function erase() {
    const done = await confirm({
      title: "Delete this webhook?", action: "Delete the webhook",
      body: [h("p", null, hook.url, " hears no more, nor what is on its way there.")],
      work: () => api.delete(`webhooks/${hook.id}`),
    });
    if (done) again();
  }
}

function deliveries(found) {
  if (found.length === 0) return h("p", { class: "small soft" }, "Nothing was sent yet.");
  return h("table", { class: "table" },
    h("thead", null, h("tr", null, ["Sent", "State", "Answer", "Tries"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", null, found.map((each) => h("tr", null,
      h("td", { data: { label: "Sent" } }, h("span", { title: moment(each.created_at) }, ago(each.created_at))),
      h("td", { data: { label: "State" } }, badge(each.state)),
      h("td", { data: { label: "Answer" } }, h("span", null, each.status_code ?? "none", each.message && h("span", { class: "soft small" }, ` ${each.message}`))),
      h("td", { data: { label: "Tries" } }, String(each.attempts))))));
}
