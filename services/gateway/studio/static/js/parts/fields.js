// Labelled controls whose hints and errors are read with them.

import { h, fill, freshId } from "../dom.js";
import { size } from "../format.js";
import { icon } from "./icons.js";
import { button } from "./page.js";

/** A label, a control, a hint, and a place for an error: `field.fail(message)`. */
export function field(label, control, hint) {
  control.id ||= freshId("field");
  const hinted = hint && h("p", { class: "hint", id: `${control.id}-hint` }, hint);
  const wrong = h("p", { class: "field-error", id: `${control.id}-error`, hidden: true });
  control.setAttribute("aria-describedby", [hinted?.id, wrong.id].filter(Boolean).join(" "));
  const host = h("div", { class: "field" }, h("label", { htmlFor: control.id }, label), control, hinted, wrong);
  host.fail = (message) => {
    fill(wrong, message);
    wrong.hidden = !message;
    control.setAttribute("aria-invalid", message ? "true" : "false");
    if (message) control.focus();
  };
  control.addEventListener("input", () => host.fail(""));
  return host;
}

export const input = (props) => h("input", { class: "input", autocomplete: "off", ...props });
export const textarea = (props) => h("textarea", { class: "input", ...props });

export function select(options, props) {
  return h("select", { class: "input", ...props }, options.map(([value, words]) => h("option", { value }, words)));
}

/** One of a few, each explained. `options` are `[value, name, explanation]`. */
export function choices(legend, name, options, { chosen, on } = {}) {
  return h("fieldset", { class: "field" }, h("legend", { class: "legend" }, legend),
    h("div", { class: options.length % 4 ? "choices" : "choices fours" }, options.map(([value, words, about]) =>
      h("label", { class: "choice" },
        h("input", { type: "radio", name, value, checked: value === chosen, on: on && { change: () => on(value) } }),
        h("b", null, words), about && h("span", { class: "hint" }, about)))));
}

export function check(words, props) {
  return h("label", { class: "check" }, h("input", { type: "checkbox", ...props }), h("span", null, words));
}

/**
 * A place to drop one file, or to choose it.
 * @param {object} options
 * @param {string} options.label what is wanted, e.g. "a video"
 * @param {string} options.accept e.g. `video/*`
 * @param {string} options.hint
 * @param {function(File|null): void} options.onFile told of the file, and of its removal
 * @param {function(File): Node|null} [options.preview]
 */
export function dropZone({ label, accept, hint, onFile, preview = () => null }) {
  const host = h("div", { class: "slot" });
  const families = accept.split(",").map((type) => type.split("/")[0]);

  function take(file) {
    if (!file) return;
    const shown = preview(file);
    const change = button("Choose another", { kind: "small", on: () => { release(shown); wait(); onFile(null); } });
    fill(host, h("div", { class: "picked" },
      shown,
      h("div", { class: "picked-line" },
        h("span", null, h("strong", null, file.name), " ", h("span", { class: "soft" }, size(file.size))), change)));
    change.focus({ preventScroll: true });
    onFile(file);
  }

  function wait(wrong = "") {
    const control = h("input", { type: "file", accept, "aria-label": `Choose ${label}`, on: { change: () => take(control.files[0]) } });
    const zone = h("div", { class: "drop", on: {
      dragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
      dragleave: () => zone.classList.remove("over"),
      drop: (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        const file = event.dataTransfer.files[0];
        if (file && fits(file)) take(file);
        else wait(file ? `${file.name} is not ${label}.` : "That was no file.");
      },
    } },
      icon("upload"), h("p", null, "Drop ", label, " here, or ", h("u", null, "choose a file")),
      h("p", { class: "hint" }, hint),
      wrong && h("p", { class: "field-error", role: "alert" }, wrong), control);
    fill(host, zone);
  }

  // Browsers give no type for some files; the server looks into them anyway.
  const fits = (file) => !file.type || families.includes(file.type.split("/")[0]) || (families[0] === "audio" && file.type.startsWith("video/"));
  wait();
  host.reset = () => wait();
  return host;
}

function release(shown) {
  if (shown?.src) URL.revokeObjectURL(shown.src);
}
