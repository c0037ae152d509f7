// A new avatar: first the person's consent, then the video.

import { fill, h } from "../dom.js";
import { day, length, size } from "../format.js";
import { PRESETS } from "../words.js";
import { upload } from "../upload.js";
import { icon } from "../parts/icons.js";
import { button, busy, card, loaded, note, page } from "../parts/page.js";
import { choices, dropZone, field, input, select } from "../parts/fields.js";
import { agreed, consentForm } from "../parts/consent.js";
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
    if (consent.state !== "active") return context.go(`/consents/${consent.id}`); // evidence first
    fill(consentStep, heading("The person's consent"), given(consent, () => begin()));
    fill(videoStep, heading("The video"), videoForm(context, consent));
    return videoStep.querySelector("input")?.focus();
  };
  const begin = () => {
    fill(consentStep, heading("The person's consent"), h("div", { class: "earlier" }, loaded("Looking for earlier consents",
      () => context.api.all("consents", { signal: context.signal }),
      (consents) => earlier(consents.filter(({ state }) => state === "active"), onConsent),
      context.signal)), consentForm(context, onConsent));
    fill(videoStep, heading("The video"), h("p", { class: "soft" }, "Comes after the consent."));
  };
  begin();
  const chosen = context.query.get("consent");
  if (chosen) context.api.get(`consents/${chosen}`, { signal: context.signal }).then(onConsent, () => {});
  return page({
    title: "New avatar", back: ["#/avatars", "Avatars"],
    about: "An avatar shows a real person. It is made only with that person's consent, which stays on record and can be revoked at any time.",
  }, steps);
}

const heading = (words) => h("div", { class: "card-head" }, h("h2", null, words));

function given(consent, again) {
  return [agreed(consent), h("div", null, button("Use another consent", { kind: "small", on: again }))];
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
  const reviewed = consent.evidence?.footage; // such a consent is for this footage alone
  const zone = reviewed ? note("good", h("p", null, "Made of the footage that was reviewed with the consent.")) : dropZone({
    label: "a video", accept: "video/*", hint: "MP4, MOV, WebM or MKV, 512 pixels or more",
    preview: (picked) => look(picked, remark),
    onFile: (picked) => { file = picked; if (!picked) fill(remark); },
  });
  const sizePx = select([["256", "256 × 256, quick"], ["512", "512 × 512"], ["768", "768 × 768, slow"]], { name: "size", value: "512" });
  sizePx.value = "512";
  const send = h("button", { type: "submit", class: "button primary" }, icon("upload"), reviewed ? "Make the avatar" : "Upload and make the avatar");

  const submit = async (event) => {
    event.preventDefault();
    if (!file && !reviewed) {
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
      const video = reviewed ?? await upload(api, file, "video", {
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
