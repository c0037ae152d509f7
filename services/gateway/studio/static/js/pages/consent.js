// One consent: what was agreed, what shows it, who decided, and taking it back.

import { announce, fill, h, slot } from "../dom.js";
import { pause } from "../api.js";
import { count, moment, size } from "../format.js";
import { upload } from "../upload.js";
import { EVIDENCE, SCOPES } from "../words.js";
import { at, makes, revoke, since } from "../parts/consent.js";
import { badge, button, busy, card, copyButton, facts, link, loaded, note, page } from "../parts/page.js";
import { confirm } from "../parts/dialog.js";
import { check, dropZone, field, textarea } from "../parts/fields.js";
import { progressBar } from "../parts/progress.js";
import { save } from "../parts/save.js";

const LOOK_MS = 1000;

export function consentPage(context) {
  const { api, params, signal } = context;
  const load = () => Promise.all([api.get(`consents/${params.id}`, { signal }), api.all("avatars", { signal })]);
  return h("div", null, loaded("Loading the consent", load, ([consent, avatars]) => show(context, consent, avatars), signal));
}

function show(context, first, all) {
  context.retitle(`Consent of ${first.subject_name}`);
  const { api, signal } = context;
  let avatars = all.filter(({ consent }) => consent === first.id);
  const parts = [
    slot(({ state, erased }) => [state, erased, avatars.length], (consent) => head(context, consent, avatars, onChange)),
    slot(({ state, erased }) => [state, erased], (consent) => consent.state === "revoked" && revoked(context, consent)),
    slot(({ state }) => state === "draft", (consent) => consent.state === "draft" && draft(context, consent, onChange)),
    slot(({ evidence }) => evidence?.sha256, (consent) => consent.evidence && evidence(consent)),
    slot(({ state }) => state === "in_review", (consent) => consent.state === "in_review" && review(context, consent, onChange)),
    slot(({ review: found }) => found, (consent) => consent.review && decision(consent.review)),
    slot(({ state }) => [state, avatars.length], (consent) => agreement(consent, avatars)),
  ];
  const onChange = (consent) => {
    for (const part of parts) part.update(consent);
    if (consent.state === "revoked" && !consent.erased) follow(consent.id);
  };
  let following = false;

  async function follow(id) {
    if (following) return;
    following = true;
    while (!signal.aborted) {
      await pause(LOOK_MS, signal).catch(() => {});
      const now = await api.get(`consents/${id}`, { signal }).catch(() => null);
      if (!now?.erased) continue;
      avatars = [];
      announce("Everything that stood on the consent is erased.");
      onChange(now);
      return;
    }
  }

  onChange(first);
  return h("div", { class: "page" }, parts);
}

function head(context, consent, avatars, onChange) {
  const { me } = context;
  const standing = avatars.length > 0 || (consent.state === "revoked" && !consent.erased);
  const place = h("div", { class: "slot" });
  const actions = [
    consent.state === "active" && consent.scope.includes("avatar") && makes(me)
      && link("Make an avatar", `#/avatars/new?consent=${consent.id}`, { kind: "primary", icon: "plus" }),
    me.role === "admin" && button("Export", { icon: "download", on: ({ currentTarget }) => exported(context, consent, currentTarget, place) }),
    consent.state !== "revoked" && makes(me) && button("Revoke", { kind: "danger", icon: "stop", on: async () => {
      if (await revoke(context, consent, avatars)) onChange(await context.api.get(`consents/${consent.id}`));
    } }),
    !standing && makes(me) && button("Erase", { kind: "danger", icon: "trash", on: () => erase(context, consent) }),
  ];
  return page({
    title: consent.subject_name, back: ["#/consents", "Consents"], actions,
    beside: [badge(consent.state), h("span", { class: "faint small" }, since(consent))],
    about: consent.granted_by === consent.subject_name ? "Consent to an avatar of theirs." : `Consent to an avatar of theirs, given by ${consent.granted_by}.`,
  }, place);
}

async function exported({ api }, consent, control, place) {
  const found = await busy(control, "Collecting", place, () => api.get(`consents/${consent.id}/export`));
  if (!found) return;
  save(found, `export-${consent.id}.json`);
  fill(place, note("good", h("p", null, `Saved: ${count(found.avatars.length, "avatar")}, ${count(found.dubs.length, "dub")}, ${count(found.objects.length, "file")} and ${count(found.audit.length, "entry", "entries")} of the audit log. The addresses of files in it expire; fetch them soon.`)));
}

async function erase({ api, go }, consent) {
  const done = await confirm({
    title: `Erase the consent of ${consent.subject_name}?`, action: "Erase for good",
    body: [h("p", null, "The record and its evidence are erased, also as proof that there was a consent. This cannot be undone.")],
    work: async () => {
      let said;
      do said = await api.delete(`consents/${consent.id}`); while (said.state === "erasing");
    },
  });
  if (done) go(`/receipts/${consent.id}`);
}

function revoked({ api, signal }, consent) {
  if (!consent.erased) {
    return note("warn", h("h3", null, "Being erased"), h("p", null, "Nothing is made or shown under it any more. What stood on it is being erased."));
  }
  const mine = ({ why }) => why.startsWith(`consents/${consent.id}`);
  return note("good", h("h3", { data: { erased: "" } }, "All that stood on it is erased"),
    h("p", null, `Revoked ${moment(consent.revoked_at)}.${consent.evidence ? " Its evidence stays, as proof that there was a consent, until you erase that too." : ""}`),
    loaded("Loading receipts", () => api.all("receipts", { signal }), (receipts) => {
      const found = receipts.filter(mine);
      return found.length > 0 && h("ul", null, found.map(({ id, collection, erased }) => h("li", null,
        h("a", { href: `#/receipts/${id}` }, `Receipt: ${collection.slice(0, -1)} ${id}`), h("span", { class: "soft small" }, ` ${count(erased.objects, "file")}, ${size(erased.bytes)}`))));
    }, signal));
}

function draft(context, consent, onChange) {
  if (!makes(context.me)) return note("info", h("p", null, "Its evidence is still to come."));
  return h("div", { class: "numbered" },
    card("The person reads this, facing the camera",
      h("p", { class: "soft" }, "The last words were drawn for this consent alone: no older recording has them. Or have it signed, and take the document."),
      h("blockquote", { class: "read-aloud", data: { words: "" } }, consent.to_read),
      h("div", null, copyButton(consent.to_read))),
    card("The evidence, and the footage it is for", evidenceForm(context, consent, onChange)));
}

function evidenceForm({ api, signal }, consent, onChange) {
  const files = { clip: null, footage: null };
  const preview = (file) => (file.type.startsWith("video/") ? h("video", { controls: true, muted: true, preload: "metadata", src: URL.createObjectURL(file), "aria-label": "The chosen video" }) : null);
  const clip = dropZone({
    label: "the clip or document", accept: "video/*,application/pdf,image/png,image/jpeg,image/webp",
    hint: "A video of the reading with sound, or the signed statement as PDF or picture",
    preview, onFile: (file) => { files.clip = file; },
  });
  const footage = dropZone({
    label: "the footage", accept: "video/*", hint: "The video that the avatar is to be made of; the consent is for this one alone",
    preview, onFile: (file) => { files.footage = file; },
  });
  const place = h("div", { class: "slot" });
  const send = h("button", { type: "submit", class: "button primary" }, "Upload and hand in for review");
  const submit = async (event) => {
    event.preventDefault();
    if (!files.clip || !files.footage) {
      return fill(place, note("warn", h("p", null, files.clip ? "Choose the footage, too." : "Choose the clip or the document first.")));
    }
    const bar = progressBar("Upload");
    place.after(bar);
    const all = files.clip.size + files.footage.size;
    const onProgress = (before) => (done) => bar.update((before + done) / all, `Uploading, ${size(before + done)} of ${size(all)}`);
    const found = await busy(send, "Uploading", place, async () => {
      const kind = files.clip.type.startsWith("video/") || !files.clip.type ? "video" : "document";
      const shown = await upload(api, files.clip, kind, { signal, onProgress: onProgress(0) });
      const made = await upload(api, files.footage, "video", { signal, onProgress: onProgress(files.clip.size) });
      return api.post(`consents/${consent.id}/evidence`, { upload: shown, footage: made }, { signal });
    });
    bar.remove();
    return found && onChange(found);
  };
  return h("form", { class: "form", noValidate: true, on: { submit } },
    h("div", { class: "pair" }, h("div", { class: "field" }, h("h3", null, "Evidence"), clip), h("div", { class: "field" }, h("h3", null, "Footage"), footage)),
    place, h("div", null, send));
}

function evidence({ evidence: given }) {
  const video = (url, words) => h("video", { class: "evidence", controls: true, preload: "metadata", src: url, "aria-label": words });
  return card("Evidence", h("div", { class: "pair" },
    h("div", { class: "field" }, h("h3", null, given.kind === "video" ? "The reading" : "The signed document"),
      given.kind === "video" ? video(given.url, "The person reads the statement") : h("div", null, link("Open the document", given.url, { icon: "download", target: "_blank", rel: "noopener" })),
      hash(given.sha256)),
    h("div", { class: "field" }, h("h3", null, "The footage"), video(given.footage_url, "The footage"), hash(given.footage_sha256))),
  h("p", { class: "small soft" }, `Handed in ${moment(given.given_at)}. Both are known by content: what was reviewed is what is trained on.`));
}

const hash = (sha256) => h("p", { class: "hint" }, "SHA-256 ", h("code", null, sha256));

function review({ api, me, signal }, consent, onChange) {
  if (me.role !== "reviewer" && me.role !== "admin") {
    return note("info", h("h3", null, "A reviewer decides"), h("p", null, "Somebody with the role reviewer or admin looks at the evidence. It is never who recorded the consent."));
  }
  const isVideo = consent.evidence.kind === "video";
  const heard = check("The voice in the clip says the words of the statement, the last five among them", { name: "heard" });
  const same = check(isVideo ? "Clip and footage show the same person" : "The document names and binds the person in the footage", { name: "same" });
  const over = check("Approve though not all of this is so. The reason says why, and is logged", { name: "override" });
  const reason = textarea({ name: "reason", rows: 3, required: true, maxLength: 2000 });
  const why = field("Reason", reason, "What you saw and heard; it stays on record.");
  const place = h("div", { class: "slot" });

  const decide = async (control, verdict) => {
    if (reason.value.trim().length < 3) return why.fail("Say why.");
    const body = {
      decision: verdict, reason: reason.value.trim(), passphrase_heard: heard.querySelector("input").checked,
      same_person: same.querySelector("input").checked, override: verdict === "approve" && over.querySelector("input").checked,
    };
    const found = await busy(control, "Recording", place, () => api.post(`consents/${consent.id}/review`, body, { signal }));
    return found && onChange(found);
  };
  const approve = button("Approve", { kind: "primary", on: () => decide(approve, "approve") });
  const refuse = button("Refuse", { kind: "danger", on: () => decide(refuse, "refuse") });
  return card("Your decision",
    h("blockquote", { class: "read-aloud" }, consent.to_read),
    h("div", { class: "form" }, h("div", { class: "checks" }, isVideo && heard, same, over), why, place, h("div", { class: "button-row" }, approve, refuse)));
}

function decision(found) {
  const yes = (is) => (is ? "Confirmed" : "Not confirmed");
  return card("Decision", { aside: badge(found.decision === "approve" ? "approved" : "refused") }, facts([
    ["By", h("code", null, found.by)],
    ["When", moment(found.at)],
    ["Words heard", yes(found.passphrase_heard)],
    ["Same person", yes(found.same_person)],
    found.override && ["Override", "Approved all the same"],
  ]), h("p", { class: "statement" }, found.reason));
}

function agreement(consent, avatars) {
  return card("What was agreed", facts([
    ["For", consent.scope.map((name) => SCOPES[name]).join(", ")],
    ["Rests on", EVIDENCE[consent.level][0]],
    ["Recorded", at(consent.created_at)],
    consent.expires_at && ["Ends", at(consent.expires_at)],
    ["Avatars on it", avatars.length === 0 ? "None" : h("ul", null, avatars.map(({ id, name }) => h("li", null, h("a", { href: `#/avatars/${id}` }, name))))],
  ]), consent.statement ? h("p", { class: "statement" }, consent.statement) : h("p", { class: "soft" }, "No statement was written down."));
}
