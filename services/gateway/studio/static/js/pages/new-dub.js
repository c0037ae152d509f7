// A new dub: who speaks, what they say, and how it looks.

import { fill, h } from "../dom.js";
import { size } from "../format.js";
import { upload } from "../upload.js";
import { BACKGROUNDS, EXPRESSIONS } from "../words.js";
import { face } from "../parts/picture.js";
import { icon } from "../parts/icons.js";
import { button, busy, card, empty, link, loaded, note, page } from "../parts/page.js";
import { choices, dropZone, field, input, select, textarea } from "../parts/fields.js";
import { progressBar } from "../parts/progress.js";

const SIZES = [["0x0", "As the avatar"], ["1080x1080", "1080 × 1080, square"], ["1080x1920", "1080 × 1920, upright"], ["1920x1080", "1920 × 1080, wide"]];

export function newDubPage(context) {
  const { api, signal, query } = context;
  return page({
    title: "New dub", back: ["#/dubs", "Dubs"], about: "Any language, any voice: lips follow what is heard.",
  }, loaded("Loading avatars", () => api.all("avatars", { signal, most: 400 }), (avatars) => {
    const ready = avatars.filter(({ state }) => state === "ready");
    if (ready.length > 0) return form(context, ready, query.get("avatar") ?? ready[0].id);
    const making = avatars.some(({ state }) => state !== "failed" && state !== "cancelled");
    return empty({
      icon: "avatars", title: making ? "No avatar is ready yet" : "A dub needs an avatar",
      about: making ? "One is being made. Come back when it is ready." : "Make one of a few minutes of video first.",
      actions: [making ? link("See how far it is", "#/avatars", { kind: "primary" }) : link("New avatar", "#/avatars/new", { kind: "primary", icon: "plus" })],
    });
  }, signal));
}

function form({ api, signal, go }, avatars, chosen) {
  let audio = null;
  let picture = null;
  const place = h("div", { class: "slot" });
  const audioZone = dropZone({
    label: "an audio", accept: "audio/*", hint: "WAV, MP3, M4A, Ogg or FLAC; a video's sound will do too",
    preview: (file) => h("audio", { controls: true, src: URL.createObjectURL(file), "aria-label": "The chosen audio" }),
    onFile: (file) => { audio = file; },
  });
  const imageZone = dropZone({
    label: "an image", accept: "image/png,image/jpeg,image/webp", hint: "PNG, JPEG or WebP; it fills the frame",
    onFile: (file) => { picture = file; },
  });
  const colour = input({ type: "color", name: "colour", value: "#e8e4dc" });
  const format = select([["webm", "WebM with alpha, for browsers"], ["mov", "ProRes 4444, for editing"]], { name: "format" });
  const blinks = input({ type: "number", name: "blinks", min: 0, max: 60, step: 1, placeholder: "17" });
  const blinksField = field("Blinks a minute", blinks, "Empty: as people do who speak.");
  const shape = select(SIZES, { name: "shape" });
  const text = textarea({ name: "text", rows: 3, placeholder: "What is said, word for word" });
  const behind = h("div", { class: "slot" });
  const showBehind = (kind) => fill(behind, {
    colour: () => field("Colour", colour), image: () => imageZone, transparent: () => field("Format", format, "MP4 knows no transparency."),
  }[kind]?.());
  const send = h("button", { type: "submit", class: "button primary" }, icon("upload"), "Upload and make the dub");

  const submit = async (event) => {
    event.preventDefault();
    const given = element.elements;
    if (!audio) return warn(place, "Choose an audio first.");
    if (given.background.value === "image" && !picture) return warn(place, "Choose an image for the background, or another background.");
    if (!blinks.checkValidity()) return blinksField.fail("A number from 0 to 60.");
    const stopping = new AbortController();
    signal.addEventListener("abort", () => stopping.abort(), { once: true });
    const bar = progressBar("Upload");
    const sending = h("div", { class: "card" }, bar, h("div", null, button("Cancel the upload", { kind: "small", icon: "stop", on: () => stopping.abort() })));
    element.after(sending);
    element.hidden = true;
    bar.update(0, "Starting");
    const dub = await busy(send, "Uploading", place, () => create(given, stopping.signal, bar));
    sending.remove();
    element.hidden = false;
    if (dub) return go(`/dubs/${dub.id}`);
    send.focus();
    if (stopping.signal.aborted) fill(place, note("info", h("p", null, "Cancelled. The file is still chosen.")));
    return undefined;
  };

  async function create(given, stop, bar) {
    const onProgress = (done, all) => bar.update(done / all, `Uploading, ${size(done)} of ${size(all)}`);
    const kind = given.background.value;
    const background = { kind, ...(kind === "colour" && { colour: colour.value }) };
    if (kind === "image") background.image = await upload(api, picture, "image", { signal: stop });
    const [width, height] = shape.value.split("x").map(Number);
    const body = {
      avatar: given.avatar.value, audio: await upload(api, audio, "audio", { signal: stop, onProgress }),
      background, format: kind === "transparent" ? format.value : "mp4", width_px: width, height_px: height,
      text: text.value.trim(), expression: given.expression.value,
      ...(blinks.value && { blinks_per_minute: Number(blinks.value) }),
    };
    return api.post("dubs", body, { signal: stop });
  }

  const element = h("form", { class: "form", noValidate: true, on: { submit } },
    card("Who speaks", faces(avatars, chosen)),
    card("What is said", audioZone, field("Captions (optional)", text, "With the text you get captions as WebVTT and SRT.")),
    card("How it looks",
      choices("Expression", "expression", Object.entries(EXPRESSIONS).map(([value, words]) => [value, ...words]), { chosen: "auto" }),
      choices("Background", "background", Object.entries(BACKGROUNDS).map(([value, words]) => [value, ...words]), { chosen: "source", on: showBehind }),
      behind, h("div", { class: "pair" }, field("Size", shape), blinksField)),
    place, h("div", null, send));
  return element;
}

function warn(place, words) {
  fill(place, note("warn", h("p", { role: "alert" }, words)));
}

/** Avatars to choose from, by their faces. */
export function faces(avatars, chosen) {
  const known = avatars.some(({ id }) => id === chosen) ? chosen : avatars[0].id;
  return h("fieldset", null, h("legend", { class: "visually-hidden" }, "Avatar"), h("div", { class: "faces" }, avatars.map((avatar) =>
    h("label", { class: "choice face", title: avatar.name },
      h("input", { type: "radio", name: "avatar", value: avatar.id, checked: avatar.id === known }),
      h("span", { class: "thumb" }, face(avatar)),
      h("b", null, avatar.name)))));
}
