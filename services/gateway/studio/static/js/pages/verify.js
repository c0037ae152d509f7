// Where a file comes from: signed, marked, or unknown.

import { fill, h } from "../dom.js";
import { moment, size } from "../format.js";
import { upload } from "../upload.js";
import { icon } from "../parts/icons.js";
import { busy, card, facts, note, page } from "../parts/page.js";
import { dropZone } from "../parts/fields.js";
import { progressBar } from "../parts/progress.js";

const HEADINGS = { signed: ["good", "Signed"], watermarked: ["good", "Watermarked"], unknown: ["warn", "Unknown"] };
const SIGNATURES = {
  trusted: "Valid, by a signer that this installation trusts", "unknown signer": "Valid, by a signer that nobody here knows",
  broken: "Broken: the file was changed after it was signed", none: "None",
};

export function verifyPage({ api, signal }) {
  let file = null;
  const place = h("div", { class: "slot" });
  const answer = h("div", { class: "slot", "aria-live": "polite" });
  const zone = dropZone({
    label: "a video or a picture", accept: "video/*,image/png,image/jpeg,image/webp",
    hint: "MP4, WebM or MOV, or a screenshot as PNG, JPEG or WebP",
    onFile: (chosen) => { file = chosen; fill(answer); },
  });
  const send = h("button", { type: "submit", class: "button primary" }, icon("upload"), "Upload and look");
  const submit = async (event) => {
    event.preventDefault();
    if (!file) return fill(place, note("warn", h("p", null, "Choose a file first.")));
    const bar = progressBar("Upload");
    fill(answer, bar);
    const kind = file.type.startsWith("image/") ? "image" : "video";
    const onProgress = (done, all) => bar.update(done / all, done < all ? `Uploading, ${size(done)} of ${size(all)}` : "Looking");
    const found = await busy(send, "Looking", place, async () =>
      api.post("verify", { upload: await upload(api, file, kind, { signal, onProgress }) }, { signal }));
    fill(answer, found && verdict(found));
    answer.querySelector("h3")?.focus();
    return undefined;
  };
  const about = "Every video that is made here is signed, and every frame of it carries an invisible mark that survives copies, crops and screenshots.";
  return page({ title: "Verify", about },
    h("form", { class: "form", noValidate: true, on: { submit } }, zone, place, h("div", null, send)), answer);
}

function verdict(found) {
  const [kind, words] = HEADINGS[found.verdict];
  const { mark, manifest } = found;
  return [
    note(kind, h("h3", { tabIndex: -1, data: { verdict: found.verdict } }, words), h("p", null, found.words),
      found.development && h("p", null, "Only a development certificate or key stands behind this: it proves nothing to others.")),
    card("What was found", facts([
      ["Signature", SIGNATURES[found.signature]],
      found.signer && ["Signer", found.signer],
      ["Watermark", mark ? h("code", null, mark.id) : "None of this installation's"],
      mark?.made_for && ["Made for", mark.made_for],
      mark?.avatar && ["Avatar", h("a", { href: `#/avatars/${mark.avatar}` }, mark.avatar)],
      mark?.made_at && ["Made", moment(mark.made_at)],
      mark && !mark.made_for && ["Made for", mark.known ? "Another tenant of this installation" : "Not on record here"],
      found.signed_mark && ["Watermark in the manifest", h("code", null, found.signed_mark)],
    ])),
    manifest && h("details", { class: "card" }, h("summary", null, "The manifest, as it was read"),
      h("pre", { class: "code", tabIndex: 0 }, JSON.stringify(manifest, null, 2))),
  ];
}
