// A new avatar: first the person's consent, then the video.

import { fill, h } from "../dom.js";
import { day, length, size } from "../format.js";
import { PRESETS } from "../words.js";
import { upload } from "../upload.js";
import { icon } from "../parts/icons.js";
import { button, busy, card, loaded, note, page } from "../parts/page.js";
import { check, choices, dropZone, field, input, select, textarea } from "../parts/fields.js";
import { progressBar } from "../parts/progress.js";

const MIN_S = 10;
const TIPS = [
  "One person alone, facing a camera that stands still",
  "Two to five minutes of speech; ten seconds at the least",
  "Even light from the front, nothing before the face",
  "A quiet room, the microphone close",
];

export function newAvatarPage(context) {
  const videoStep = card("The video");
  const consentStep = card("The person's consent");
  const steps = h("div", { class: "numbered" }, consentStep, videoStep);

  const onConsent = (consent) => {
    fill(consentStep, heading("The person's consent"), given(consent, () => begin()));
    fill(videoStep, heading("The video"), videoForm(context, consent));
    videoStep.querySelector("input[type=file]")?.focus();
  };
  const begin = () => {
    fill(consentStep, heading("The person's consent"), h("div", { class: "earlier" }, loaded("Looking for earlier consents",
      () => context.api.all("consents", { signal: context.signal }),
      (consents) => earlier(consents.filter(({ state }) => state === "active"), onConsent),
      context.signal)), consentForm(context, onConsent));
    fill(videoStep, heading("The video"), h("p", { class: "soft" }, "Comes after the consent."));
  };
  begin();
  return page({
    title: "New avatar", back: ["#/avatars", "Avatars"],
    about: "An avatar shows a real person. It is made only with that person's consent, which stays on record and can be revoked at any time.",
  }, steps);
}

const heading = (words) => h("div", { class: "card-head" }, h("h2", null, words));

function given(consent, again) {
  return [
    note("good", h("p", null, h("strong", null, consent.subject_name), " agreed; told by ", h("strong", null, consent.granted_by),
      ` on ${day(consent.created_at)}${consent.expires_at ? `, until ${day(consent.expires_at)}` : ""}.`),
    consent.statement && h("p", { class: "statement small" }, consent.statement)),
    h("div", null, button("Use another consent", { kind: "small", on: again })),
  ];
}

function consentForm({ api, signal }, onConsent) {
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

  const submit = async (event) => {
    event.preventDefault();
    if (!who.value.trim()) return fields.who.fail("Name the person.");
    if (!by.value.trim()) return fields.by.fail("Say who gave it.");
    if (!text.value.trim()) return fields.text.fail("Write down what was agreed.");
    const box = sure.querySelector("input");
    if (!box.checked) {
      fill(place, note("warn", h("p", null, "Tick that the person has agreed. Without consent no avatar is made.")));
      box.focus();
      return undefined;
    }
    const body = {
      subject_name: who.value.trim(), granted_by: by.value.trim(), statement: text.value.trim(),
      ...(until.value && { expires_at: new Date(`${until.value}T23:59:59`).toISOString() }),
    };
    const consent = await busy(next, "Recording", place, () => api.post("consents", body, { signal }));
    return consent && onConsent(consent);
  };

  return h("form", { class: "form", noValidate: true, on: { submit } },
    h("div", { class: "pair" }, fields.who, fields.by), fields.text, fields.until, sure, place, h("div", null, next));
}

function statement(name) {
  return `${name || "I"} agree${name ? "s" : ""} that a talking avatar is made of ${name ? "their" : "my"} face and voice from the video handed in, and that it may speak texts and recordings given to it. The consent can be revoked at any time; the avatar and everything made with it are then erased.`;
}

function earlier(known, onConsent) {
  if (known.length === 0) return h("p", { class: "small soft" }, "No consent is on record yet: this is the first.");
  const chosen = select(known.map(({ id, subject_name: name, created_at: at }) => [id, `${name}, ${day(at)}`]), { name: "earlier" });
  const use = button("Use it", { on: () => onConsent(known.find(({ id }) => id === chosen.value)) });
  return h("details", null, h("summary", null, "Use a consent that is on record"),
    h("div", { class: "form" }, field("Consent of", chosen), h("div", null, use)));
}

function videoForm({ api, signal, go }, consent) {
  let file = null;
  const name = input({ name: "name", required: true, maxLength: 200, value: consent.subject_name });
  const named = field("Name of the avatar", name);
  const remark = h("div", { class: "slot" });
  const place = h("div", { class: "slot" });
  const zone = dropZone({
    label: "a video", accept: "video/*", hint: "MP4, MOV, WebM or MKV, 512 pixels or more",
    preview: (picked) => look(picked, remark),
    onFile: (picked) => { file = picked; if (!picked) fill(remark); },
  });
  const sizePx = select([["256", "256 × 256, quick"], ["512", "512 × 512"], ["768", "768 × 768, slow"]], { name: "size", value: "512" });
  sizePx.value = "512";
  const send = h("button", { type: "submit", class: "button primary" }, icon("upload"), "Upload and make the avatar");

  const submit = async (event) => {
    event.preventDefault();
    if (!file) {
      fill(place, note("warn", h("p", null, "Choose a video first.")));
      return undefined;
    }
    if (!name.value.trim()) return named.fail("Give it a name.");
    const stopping = new AbortController();
    signal.addEventListener("abort", () => stopping.abort(), { once: true });
    const bar = progressBar("Upload");
    const sending = h("div", { class: "card" }, bar, h("div", null, button("Cancel the upload", { kind: "small", icon: "stop", on: () => stopping.abort() })));
    form.after(sending);
    form.hidden = true;
    bar.update(0, "Starting");
    const body = await busy(send, "Uploading", place, async () => {
      const video = await upload(api, file, "video", {
        signal: stopping.signal,
        onProgress: (done, all) => bar.update(done / all, `Uploading, ${size(done)} of ${size(all)}`),
      });
      const preset = form.elements.preset.value;
      return api.post("avatars", { name: name.value.trim(), video, consent: consent.id, preset, size_px: Number(sizePx.value) }, { signal: stopping.signal });
    });
    sending.remove();
    form.hidden = false;
    if (body) return go(`/avatars/${body.id}`);
    send.focus();
    if (stopping.signal.aborted) fill(place, note("info", h("p", null, "Cancelled. The file is still chosen; upload it when you like.")));
    return undefined;
  };

  const form = h("form", { class: "form", noValidate: true, on: { submit } },
    h("ul", { class: "tips small soft" }, TIPS.map((tip) => h("li", null, icon("good"), tip))),
    zone, remark, h("div", { class: "pair" }, named, field("Size", sizePx, "Of the head's picture. More pixels take longer.")),
    choices("How well", "preset", Object.entries(PRESETS).map(([value, [words, about]]) => [value, words, about]), { chosen: "standard" }),
    place, h("div", null, send));
  return form;
}

// The browser looks at what it can read at once; the quality report says the rest.
function look(file, remark) {
  const video = h("video", { controls: true, muted: true, preload: "metadata", src: URL.createObjectURL(file), "aria-label": "The chosen video" });
  video.addEventListener("loadedmetadata", () => {
    const told = `${length(video.duration)}, ${video.videoWidth} × ${video.videoHeight}.`;
    if (video.duration < MIN_S) {
      fill(remark, note("warn", h("p", null, `${told} That is too short: at least ${MIN_S} seconds of speech are needed.`)));
    } else if (video.duration < 120) {
      fill(remark, note("info", h("p", null, `${told} It will do; with two to five minutes rare mouth shapes are learnt too.`)));
    } else fill(remark, note("good", h("p", null, told)));
  });
  video.addEventListener("error", () => fill(remark, note("info", h("p", null, "This browser cannot show the file. The suite may still be able to read it."))));
  return video;
}
