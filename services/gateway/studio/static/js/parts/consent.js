// What several pages say and do about consents.

import { fill, h } from "../dom.js";
import { day, moment } from "../format.js";
import { EVIDENCE, SCOPES } from "../words.js";
import { busy, note } from "./page.js";
import { confirm } from "./dialog.js";
import { check, choices, field, input, textarea } from "./fields.js";

/** Whether somebody may record, revoke and erase. */
export const makes = (me) => me.role === "admin" || me.role === "member";

/** Since when, or until when, it is as it is. */
export function since({ state, revoked_at: revoked, expires_at: expires }) {
  if (state === "revoked") return ` ${day(revoked)}`;
  if (!expires) return "";
  return state === "expired" ? ` ${day(expires)}` : ` until ${day(expires)}`;
}

/** Ask, then revoke; whether it was done. */
export function revoke({ api }, consent, avatars) {
  const names = avatars.map(({ name }) => name).join(", ");
  return confirm({
    title: `Revoke the consent of ${consent.subject_name}?`, action: "Revoke the consent",
    body: [h("p", null, "At once nothing is made or shown under it any more: live sessions end, jobs are cancelled. This cannot be undone; a new consent may be recorded."),
      avatars.length > 0 && note("warn", h("p", null, `Erased for good, with footage and dubs: ${names}.`))],
    work: () => api.post(`consents/${consent.id}/revoke`),
  });
}

/**
 * What is to be recorded; `onConsent` gets the consent.
 * @param {boolean} [all] also ask what it covers and what it is to rest on
 */
export function consentForm({ api, signal }, onConsent, { all = false } = {}) {
  const who = input({ name: "subject", required: true, placeholder: "Ann Example" });
  const by = input({ name: "by", required: true, placeholder: "Ann Example" });
  const until = input({ name: "until", type: "date", min: new Date(Date.now() + 86_400_000).toISOString().slice(0, 10) });
  const text = textarea({ name: "statement", required: true, rows: 4 });
  const sure = check("This person has agreed to the statement above, and I can show it.", { name: "sure", required: true });
  const fields = {
    who: field("Who is in the video", who, "The person's name, for the record."),
    by: field("Who gave the consent", by, "The person, or whoever may speak for them."),
    text: field("What they agreed to", text, "Change it to what was really agreed."),
    until: field("Valid until (optional)", until, "No new work after that day."),
  };
  const place = h("div", { class: "slot" });
  const next = h("button", { type: "submit", class: "button primary" }, "Record consent and continue");
  let written = false;
  text.addEventListener("input", () => { written = true; });
  const suggest = () => {
    if (!written) text.value = statement(who.value.trim());
    if (!by.dataset.written) by.value = who.value;
  };
  by.addEventListener("input", () => { by.dataset.written = "yes"; });
  who.addEventListener("input", suggest);
  suggest();

  const declared = () => !all || form.elements.level.value === "declared";
  const submit = async (event) => {
    event.preventDefault();
    if (!who.value.trim()) return fields.who.fail("Name the person.");
    if (!by.value.trim()) return fields.by.fail("Say who gave it.");
    if (!text.value.trim()) return fields.text.fail("Write down what was agreed.");
    const scope = all ? Object.keys(SCOPES).filter((name) => form.elements[`scope-${name}`].checked) : Object.keys(SCOPES);
    if (scope.length === 0) {
      fill(place, note("warn", h("p", null, "Tick what the consent covers.")));
      return form.elements["scope-avatar"].focus();
    }
    const box = sure.querySelector("input");
    if (declared() && !box.checked) {
      fill(place, note("warn", h("p", null, "Tick that the person has agreed. Without consent no avatar is made.")));
      box.focus();
      return undefined;
    }
    const body = {
      subject_name: who.value.trim(), granted_by: by.value.trim(), statement: text.value.trim(), scope,
      ...(all && { level: form.elements.level.value }),
      ...(until.value && { expires_at: new Date(`${until.value}T23:59:59`).toISOString() }),
    };
    const consent = await busy(next, "Recording", place, () => api.post("consents", body, { signal }));
    return consent && onConsent(consent);
  };

  const form = h("form", { class: "form", noValidate: true, on: { submit } },
    h("div", { class: "pair" }, fields.who, fields.by), fields.text,
    all && h("fieldset", { class: "field" }, h("legend", { class: "legend" }, "It covers"),
      h("div", { class: "button-row" }, Object.entries(SCOPES).map(([name, words]) => check(words, { name: `scope-${name}`, checked: true })))),
    fields.until,
    all && choices("It rests on", "level", Object.entries(EVIDENCE).map(([name, [words, about]]) => [name, words, about]),
      { chosen: "reviewed", on: () => { sure.hidden = !declared(); } }),
    sure, place, h("div", null, next));
  sure.hidden = !declared();
  return form;
}

function statement(name) {
  return `${name || "I"} agree${name ? "s" : ""} that a talking avatar is made of ${name ? "their" : "my"} face and voice from the video handed in, and that it may speak texts and recordings given to it. The consent can be revoked at any time; the avatar and everything made with it are then erased.`;
}

/** That a consent stands, in one sentence. */
export function agreed(consent) {
  return note("good", h("p", null, h("strong", null, consent.subject_name), " agreed; told by ", h("strong", null, consent.granted_by),
    ` on ${day(consent.created_at)}${consent.expires_at ? `, until ${day(consent.expires_at)}` : ""}.`),
  consent.statement && h("p", { class: "statement small" }, consent.statement));
}

/** A moment with its words for who looks closer. */
export const at = (iso) => h("span", { title: moment(iso) }, day(iso));
