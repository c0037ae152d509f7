// One avatar: on its way, or ready.

import { h, slot } from "../dom.js";
import { ended, follow } from "../events.js";
import { ago, day, left, moment, percent, plain } from "../format.js";
import { AVATAR_STEPS, METRICS, PRESETS, avatarStep } from "../words.js";
import { curve, pointsOf } from "../parts/chart.js";
import { badge, button, busy, card, copyButton, empty, facts, link, loaded, note, page } from "../parts/page.js";
import { pair, trained } from "../parts/picture.js";
import { problem } from "../parts/problem.js";
import { progressBar, stepList } from "../parts/progress.js";
import { eraseAvatar } from "../parts/erase.js";
import { logOf } from "../parts/job-log.js";
import { qualityReport } from "../parts/quality.js";
import { dubList } from "./dubs.js";

export function avatarPage(context) {
  const { api, params, signal } = context;
  const host = loaded("Loading the avatar", () => api.get(`avatars/${params.id}`, { signal }), (avatar) => show(context, avatar), signal);
  return h("div", null, host);
}

function show(context, first) {
  const { api, signal, retitle } = context;
  retitle(first.name);
  const parts = [
    slot(({ name, state, error }) => [name, state, error], (avatar) => head(context, avatar, onChange)),
    slot(({ state, jobs }) => [ended({ state }), jobs], (avatar) => (ended(avatar) ? null : underWay(context, avatar, live))),
    slot(({ state, error }) => [state, error], (avatar) => failed(context, avatar, onChange)),
  ];
  const live = new Map(); // what is told of every state, by name
  const body = h("div", { class: "columns" },
    h("div", null,
      slot(({ state, quality }) => [state === "ready", quality], (avatar) => avatar.state === "ready" && spoken(context, avatar)),
      slot(({ quality, quality_picture_url: picture }) => [quality, picture], (avatar) => avatar.quality && qualityReport(avatar))),
    h("div", null,
      slot(({ state, metrics, version, preview_url: url }) => state === "ready" && [metrics, version, url], (avatar) => avatar.state === "ready" && about(avatar)),
      slot(({ jobs }) => jobs.length > 1, (avatar) => avatar.jobs.length > 1 && training(context, avatar, live)),
      slot(({ consent }) => consent, (avatar) => consentCard(context, avatar)),
      slot(({ jobs }) => jobs, (avatar) => avatar.jobs.length > 0 && logs(context, avatar))));
  const all = [...parts, ...body.querySelectorAll(".slot")];
  let following;

  function onChange(avatar) {
    for (const part of all) part.update?.(avatar);
    for (const update of live.values()) update(avatar);
    if (!following && !ended(avatar)) {
      following = follow(api, `avatars/${avatar.id}`, { signal, onData: onChange })
        .catch(() => {})
        .finally(() => { following = undefined; });
    }
  }

  onChange(first);
  return h("div", { class: "page" }, parts, body);
}

function head(context, avatar, onChange) {
  const ready = avatar.state === "ready";
  return page({
    title: avatar.name, back: ["#/avatars", "Avatars"], beside: [badge(avatar.state)],
    about: `${PRESETS[avatar.preset][0]} quality, ${avatar.size_px} × ${avatar.size_px} pixels, made ${ago(avatar.created_at)}.`,
    actions: [
      ready && link("Make a dub", `#/dubs/new?avatar=${avatar.id}`, { kind: "primary", icon: "dubs" }),
      ready && link("Talk live", `#/live?avatar=${avatar.id}`, { icon: "live" }),
      button("Delete", { kind: "danger", icon: "trash", on: () => eraseAvatar(context, avatar, onChange) }),
    ],
  });
}

function underWay({ api, signal }, first, live) {
  const bar = progressBar("Making the avatar");
  const steps = stepList(AVATAR_STEPS.map(([, , words]) => words));
  const place = h("div", { class: "slot" });
  const picture = slot((avatar) => trained(avatar) && avatar.preview_url, (avatar) => h("figure", { class: "live-picture" }, trained(avatar)
    ? [pair(avatar.preview_url), h("figcaption", { class: "small soft" }, "Rendered (left) and filmed (right): a frame that training does not see.")]
    : h("p", { class: "placeholder small" }, "Pictures of the avatar appear here when training has begun. The report on the footage comes before.")));
  const cancel = button("Cancel", { icon: "stop", on: () => busy(cancel, "Cancelling", place,
    () => api.post(`jobs/${now.jobs.at(-1).id}/cancel`, {}, { signal })) });
  let now = first;
  let step = 0;
  live.set("progress", (avatar) => {
    now = avatar;
    const job = avatar.jobs.at(-1)?.type ?? "preprocess";
    const found = avatarStep(job, avatar.stage);
    step = Math.max(step, found, job === "train" ? 4 : 0);
    bar.update(avatar.fraction, avatar.state === "queued" ? "Waiting for a free worker" : left(avatar.eta_s), percent(avatar.fraction));
    steps.update(avatar.state === "queued" ? -1 : step);
    picture.update(avatar);
    cancel.hidden = avatar.jobs.length === 0;
  });
  return card("Under way", { aside: cancel }, bar, place, h("div", { class: "pair" }, picture, steps),
    h("p", { class: "small soft" }, "It goes on when you close this page, and after a restart of the suite."));
}

function failed({ api, signal }, avatar, onChange) {
  if (avatar.state !== "failed" && avatar.state !== "cancelled") return null;
  const place = h("div", { class: "slot" });
  const refused = avatar.quality?.level === "refuse";
  const again = button(avatar.state === "cancelled" ? "Go on" : "Try again", { kind: "small", icon: "again", on: async () => {
    const now = await busy(again, "Starting", place, () => api.post(`avatars/${avatar.id}/retry`, {}, { signal }));
    if (now) onChange(now);
  } });
  const actions = refused ? [link("Upload another video", "#/avatars/new", { kind: "small", icon: "upload" })] : [again];
  if (avatar.state === "cancelled") {
    return [note("warn", h("h3", null, "Cancelled"), h("p", null, "It can go on from where it was, without beginning anew."), h("div", { class: "button-row" }, actions)), place];
  }
  return [problem(avatar.error ?? { message: "It failed for an unknown reason." }, { title: refused ? "This footage cannot become an avatar" : "The avatar could not be made", actions }), place];
}

function about(avatar) {
  const shown = Object.entries(avatar.metrics).filter(([name]) => METRICS[name]);
  const others = Object.entries(avatar.metrics).filter(([name]) => !METRICS[name]);
  return card("The avatar",
    trained(avatar) && pair(avatar.preview_url),
    facts([["Version", String(avatar.version), { big: true }],
      ...shown.map(([name, value]) => [METRICS[name][0], `${value.toFixed(METRICS[name][2])} ${METRICS[name][1]}`, { big: true, about: METRICS[name][3] }])]),
    shown.map(([name]) => METRICS[name][3]).slice(0, 1).map((text) => h("p", { class: "small soft" }, text)),
    others.length > 0 && h("details", { class: "small" }, h("summary", null, "All figures"),
      facts(others.map(([name, value]) => [plain(name), String(Number(value.toPrecision(4)))]))),
    h("div", { class: "copy-row small" }, h("code", null, avatar.id), copyButton(avatar.id, "Copy id")));
}

function training({ api, signal }, avatar, live) {
  const job = avatar.jobs.find(({ type }) => type === "train");
  const points = new Map();
  const drawn = slot((list) => list, (list) => curve(list, "dB"));
  const draw = () => drawn.update([...points].sort(([a], [b]) => a - b).map(([step, value]) => ({ step, value })));
  const read = async () => {
    const log = await api.get(`jobs/${job.id}/log`, { signal }).catch(() => null);
    for (const { step, value } of pointsOf(log?.lines ?? [])) points.set(step, value);
    draw();
  };
  let seen;
  live.set("curve", (now) => { // each check leaves a new picture and a line in the log
    if (now.preview_url !== seen) read();
    seen = now.preview_url;
  });
  draw();
  return card("Likeness while training", drawn,
    h("p", { class: "small soft" }, "PSNR on frames that training does not see: higher is closer to the film."));
}

function spoken(context, avatar) {
  const { api, signal } = context;
  const dubs = loaded("Loading its dubs", () => api.all("dubs", { signal, most: 200 }), (all) => {
    const own = all.filter((dub) => dub.avatar === avatar.id);
    if (own.length > 0) return dubList(own, (dub) => moment(dub.created_at));
    return empty({
      icon: "dubs", title: "It has said nothing yet", about: "Drop any speech: a recording of yours, a voice-over, another language. The avatar says it in sync.",
      actions: [link("Make a dub", `#/dubs/new?avatar=${avatar.id}`, { kind: "primary", icon: "dubs" })],
    });
  }, signal);
  return card("Dubs", dubs);
}

function consentCard({ api, signal }, avatar) {
  return card("Consent", loaded("Loading the consent", () => api.get(`consents/${avatar.consent}`, { signal }), (consent) => [
    h("div", null, badge(consent.state)),
    h("p", null, h("a", { href: `#/consents/${consent.id}` }, consent.subject_name), ", told by ", consent.granted_by, ` on ${day(consent.created_at)}.`),
    consent.statement && h("p", { class: "statement small soft" }, consent.statement),
    consent.expires_at && h("p", { class: "small soft" }, `Valid until ${day(consent.expires_at)}.`),
    consent.revoked_at && h("p", { class: "small" }, `Revoked ${moment(consent.revoked_at)}: nothing new is made with this avatar. Delete erases what there is.`),
    consent.state === "active" && h("p", { class: "small soft" }, "Deleting the avatar can revoke it too."),
  ], signal));
}

function logs({ api, signal }, avatar) {
  return card("Work log", avatar.jobs.map((job) => logOf(api, job, signal)));
}
