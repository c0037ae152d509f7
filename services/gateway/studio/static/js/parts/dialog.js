// Questions that must be answered before anything else.

import { h, fill } from "../dom.js";
import { problem } from "./problem.js";

/**
 * Ask before doing something that cannot be undone.
 * @param {object} options
 * @param {string} options.title
 * @param {Array} options.body
 * @param {string} options.action words of the button that does it
 * @param {function(FormData): Promise<void>} options.work what it does; a problem is shown and the
 *   question stays
 * @returns {Promise<boolean>} whether it was done
 */
export function confirm({ title, body, action, work }) {
  return new Promise((resolve) => {
    const place = h("div", null);
    const no = h("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Keep it");
    const yes = h("button", { type: "submit", class: "button danger solid" }, action);
    const form = h("form", { class: "dialog", method: "dialog", on: { submit } },
      h("h2", { id: "dialog-title" }, title), body, place, h("div", { class: "button-row" }, no, yes));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", on: { close } }, form);
    let done = false;

    async function submit(event) {
      event.preventDefault();
      yes.disabled = no.disabled = true;
      fill(yes, "Working …");
      try {
        await work(new FormData(form));
        done = true;
        dialog.close();
      } catch (error) {
        fill(place, problem(error));
        yes.disabled = no.disabled = false;
        fill(yes, action);
      }
    }

    function close() {
      dialog.remove();
      resolve(done);
    }

    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}
