// One dub: under way, or to be watched and downloaded.

import { fill, h, slot } from "../dom.js";
import { ended, follow } from "../events.js";
import { ago, left, length, percent } from "../format.js";
import { BACKGROUNDS, DUB_STEPS, EXPRESSIONS } from "../words.js";
import { badge, button, busy, card, copyButton, facts, link, loaded, note, page } from "../parts/page.js";
import { problem } from "../parts/problem.js";
import { progressBar, stepList } from "../parts/progress.js";
import { eraseDub } from "../parts/erase.js";
import { logOf } from "../parts/job-log.js";

export function dubPage(context) {
  const { api, params, signal } = context;
  const load = async () => {
    const dub = await api.get(`dubs/${params.id}`, { signal });
    const avatar = await api.get(`avatars/${dub.avatar}`, { signal }).catch(() => null);
    return { dub, avatar };
  };
  return h("div", null, loaded("Loading the dub", load, (found) => show(context, found), signal));
}

function show(context, { dub: first, avatar }) {
  const { api, signal, retitle } = context;
  const name = avatar?.name ?? "An erased avatar";
  retitle(`${name} speaks`);
  const parts = [
    slot(({ state }) => state, (dub) => head(context, dub, name)),
    slot(({ state }) => ended({ state }), (dub) => (ended(dub) ? null : underWay(context, live))),
    slot(({ state, error }) => [state, error], (dub) => failed(context, dub, onChange)),
    slot(({ state }) => state === "succeeded", (dub) => dub.state === "succeeded" && result(context, dub, name)),
    slot(({ state }) => ended({ state }), (dub) => details(api, dub, avatar, signal)),
  ];
  const live = new Map(); // what is told of every state, by name
  let following;

  function onChange(dub) {
    for (const part of parts) part.update(dub);
    for (const update of live.values()) update(dub);
    if (!following && !ended(dub)) {
      following = follow(api, `dubs/${dub.id}`, { signal, onData: onChange })
        .catch(() => {})
        .finally(() => { following = undefined; });
    }
  }

  onChange(first);
  return h("div", { class: "page" }, parts);
}

function head(context, dub, name) {
  return page({
    title: `${name} speaks`, back: ["#/dubs", "Dubs"], beside: [badge(dub.state)], about: `Asked for ${ago(dub.created_at)}.`,
    actions: [
      dub.video_url && link("Download", dub.video_url, { kind: "primary", icon: "download", download: "" }),
      button("Delete", { kind: "danger", icon: "trash", on: () => eraseDub(context, dub) }),
    ],
  });
}

function underWay({ api, params, signal }, live) {
  const bar = progressBar("Making the dub");
  const steps = stepList(DUB_STEPS.map(([, words]) => words));
  const place = h("div", { class: "slot" });
  const cancel = button("Cancel", { icon: "stop", on: () => busy(cancel, "Cancelling", place, () => api.post(`jobs/${params.id}/cancel`, {}, { signal })) });
  const picture = slot(({ preview_url: url }) => url, ({ preview_url: url }) => url && h("img", { class: "zoom", src: url, alt: "Its first frame", width: 320, height: 320 }));
  live.set("progress", (dub) => {
    bar.update(dub.fraction, dub.state === "queued" ? "Waiting for a free worker" : left(dub.eta_s), percent(dub.fraction));
    steps.update(dub.state === "queued" ? -1 : Math.max(0, DUB_STEPS.findIndex(([stages]) => stages.includes(dub.stage))));
    picture.update(dub);
  });
  return card("Under way", { aside: cancel }, bar, place, h("div", { class: "pair" }, steps, picture),
    h("p", { class: "small soft" }, "It goes on when you close this page."));
}

function failed({ api, signal }, dub, onChange) {
  if (dub.state !== "failed" && dub.state !== "cancelled") return null;
  const place = h("div", { class: "slot" });
  const again = button("Try again", { kind: "small", icon: "again", on: () => busy(again, "Starting", place, async () => {
    await api.post(`jobs/${dub.id}/requeue`, {}, { signal });
    onChange(await api.get(`dubs/${dub.id}`, { signal }));
  }) });
  if (dub.state === "cancelled") return [note("warn", h("h3", null, "Cancelled"), h("div", { class: "button-row" }, again)), place];
  return [problem(dub.error ?? { message: "It failed for an unknown reason." }, { title: "The dub could not be made", actions: [again] }), place];
}

function result({ api, signal }, dub, name) {
  const video = h("video", { class: "player", controls: true, playsInline: true, preload: "metadata", poster: dub.preview_url ?? "", src: dub.video_url, "aria-label": `${name} speaks` });
  const place = h("div", { class: "slot" });
  video.addEventListener("loadedmetadata", () => { video.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`; });
  video.addEventListener("error", () => fill(place, note("warn", h("h3", null, "This browser cannot play it"),
    h("p", null, dub.format === "mov" ? "ProRes is for editing programs. Download it." : "Its address may have expired: reload the page. Or download it."))));
  if (dub.captions_vtt_url) captions(video, dub.captions_vtt_url, signal);
  return h("section", { class: `card player-box${dub.background === "transparent" ? " see-through" : ""}`, "aria-label": "The video" },
    video,
    h("div", { class: "below" }, place,
      h("div", { class: "button-row" },
        dub.captions_vtt_url && link("Captions (WebVTT)", dub.captions_vtt_url, { kind: "small", icon: "download" }),
        dub.captions_srt_url && link("Captions (SRT)", dub.captions_srt_url, { kind: "small", icon: "download" }),
        dub.manifest_url && link("Signature (C2PA)", dub.manifest_url, { kind: "small", icon: "download" }))));
}

// A track must come from this origin: the page reads it and hands it on.
async function captions(video, url, signal) {
  try {
    const answer = await fetch(url, { signal });
    if (!answer.ok) return;
    const own = URL.createObjectURL(new Blob([await answer.text()], { type: "text/vtt" }));
    signal.addEventListener("abort", () => URL.revokeObjectURL(own), { once: true });
    video.append(h("track", { kind: "captions", label: "Captions", src: own, default: true }));
  } catch {
    // the download beside it still works
  }
}

function details(api, dub, avatar, signal) {
  return card("Details",
    facts([
      ["Avatar", avatar ? h("a", { href: `#/avatars/${avatar.id}` }, `${avatar.name}, version ${dub.avatar_version}`) : "Erased"],
      dub.duration_s && ["Length", length(dub.duration_s)],
      ["Format", dub.format.toUpperCase()],
      ["Background", BACKGROUNDS[dub.background][0]],
      ["Expression", EXPRESSIONS[dub.expression][0]],
    ]),
    h("div", { class: "copy-row small" }, h("code", null, dub.id), copyButton(dub.id, "Copy id")),
    logOf(api, { id: dub.job, type: "dub" }, signal, "Log"));
}
