// What a job wrote while it worked.

import { fill, h } from "../dom.js";
import { problem } from "./problem.js";

const NAMES = { preprocess: "Preparing the footage", train: "Training", dub: "Dubbing" };

/** Folded away; read when it is opened. */
export function logOf(api, job, signal, words) {
  const place = h("div", null, h("p", { class: "small soft" }, "Loading …"));
  const read = async () => {
    if (!host.open) return;
    try {
      const { lines } = await api.get(`jobs/${job.id}/log`, { signal });
      const text = lines.length ? lines.join("\n") : "Nothing yet.";
      fill(place, h("pre", { class: "code log", tabIndex: 0, "aria-label": `Log: ${NAMES[job.type]}` }, text));
    } catch (error) {
      if (error.name !== "AbortError") fill(place, problem(error, { onRetry: read }));
    }
  };
  const host = h("details", { class: "small", on: { toggle: read } }, h("summary", null, words ?? NAMES[job.type]), place);
  return host;
}
