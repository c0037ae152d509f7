// How the suite is doing: what it can reach, what is queued, what the tenant uses.

import { fill, h } from "../dom.js";
import { pause } from "../api.js";
import { ago, count, left, percent, size, span } from "../format.js";
import { QUEUES } from "../words.js";
import { badge, button, busy, card, empty, loaded, note, page } from "../parts/page.js";
import { field, select } from "../parts/fields.js";
import { logOf } from "../parts/job-log.js";

const LOOK_MS = 5000;
const KEPT = { upload: "Uploads", avatar: "Avatars", dub: "Dubs", delivery: "Webhook deliveries" };
const REQUEUEABLE = new Set(["failed", "dead", "cancelled"]);

export function systemPage(context) {
  const operator = context.me.role === "operator";
  return page({
    title: "System", about: operator ? "The whole installation, over all tenants." : "What your tenant uses, and the work behind its avatars and dubs.",
  }, health(context.signal), operator ? installation(context) : [use(context), jobs(context)]);
}

function health(signal) {
  const names = [["redis", "Database"], ["object store", "Object store"], ["stopping", "Gateway"]];
  const place = h("div", { class: "slot" }, h("div", { class: "parts" }, names.map(([, words]) =>
    h("div", { class: "part-state" }, words, h("span", { class: "badge" }, "Asking")))));
  const look = async () => {
    let away;
    try {
      const answer = await fetch("/readyz", { signal });
      ({ away } = await answer.json());
    } catch (error) {
      if (error.name === "AbortError") return;
      away = names.map(([name]) => name);
    }
    fill(place, h("div", { class: "parts" }, names.map(([name, words]) => state(words, !away.includes(name)))),
      away.length > 0 && note("bad", h("h3", null, "A part is away"), h("p", null, "Work goes on when it is back; nothing is lost. ", h("code", null, "avatar doctor"), " says more.")));
  };
  every(LOOK_MS, look, signal);
  return card("Health", place);
}

const state = (words, well, detail = "") => h("div", { class: "part-state" }, h("span", null, words, detail && h("span", { class: "soft small" }, ` ${detail}`)),
  h("span", { class: `badge ${well ? "good" : "bad"}` }, well ? "Well" : "Away"));

function use({ api, signal }) {
  return card("Use", loaded("Reading quotas", () => api.get("me", { signal }), ({ use: used, quotas }) => [
    h("div", { class: "pair" },
      meter("Avatars", used.avatars, quotas.avatars),
      meter("Unfinished dubs", used.open_dubs, quotas.open_dubs),
      meter("Uploaded today", used.upload_bytes_today, quotas.upload_bytes_per_day, size)),
    h("p", { class: "small soft" }, `At most ${count(quotas.running_jobs_per_queue, "job")} of a kind run at once, and ${quotas.requests_per_s} requests a second are answered. The installation's operator sets this.`),
  ], signal));
}

function meter(label, used, most, shown = String) {
  return h("div", { class: "meter" },
    h("div", { class: "meter-line" }, h("span", null, label), h("span", { class: "soft" }, `${shown(used)} of ${shown(most)}`)),
    h("progress", { max: most, value: used, class: used >= 0.9 * most ? "full" : "", "aria-label": label }));
}

function jobs({ api, signal }) {
  const kind = select([["", "All kinds"], ...Object.entries(QUEUES)], { name: "kind" });
  const which = select([["", "All states"], ["queued", "Queued"], ["running", "Running"], ["succeeded", "Done"], ["failed", "Failed"], ["dead", "Given up"], ["cancelled", "Cancelled"]], { name: "state" });
  const place = h("div", { class: "slot" });
  const problems = h("div", { class: "slot" });
  const read = () => fill(place, loaded("Loading jobs",
    () => api.get("jobs", { query: { type: kind.value, state: which.value, limit: 30 }, signal }), table, signal));
  kind.addEventListener("change", read);
  which.addEventListener("change", read);
  read();
  return card("Jobs", { aside: button("Refresh", { kind: "small", icon: "again", on: read }) },
    h("div", { class: "pair" }, field("Kind", kind), field("State", which)), problems, place);

  function table({ data }) {
    if (data.length === 0) return empty({ icon: "system", title: "No such job", about: "Jobs appear here with the first avatar or dub." });
    return h("table", { class: "table" },
      h("thead", null, h("tr", null, ["Work", "State", "Progress", "Begun", ""].map((words) => h("th", { scope: "col" }, words || h("span", { class: "visually-hidden" }, "Actions"))))),
      h("tbody", null, data.map(row)));
  }

  function row(job) {
    const running = job.state === "running" || job.state === "queued" || job.state === "waiting";
    const stop = button("Cancel", { kind: "small", on: () => act(stop, "Cancelling", job, "cancel") });
    const again = button("Try again", { kind: "small", on: () => act(again, "Starting", job, "requeue") });
    return h("tr", null,
      h("td", { data: { label: "Work" } }, h("div", null, h("a", { href: `#/${job.resource}` }, QUEUES[job.type]),
        job.attempt > 1 && h("span", { class: "soft small" }, `, attempt ${job.attempt} of ${job.max_attempts}`),
        (job.error || job.message) && h("p", { class: "small soft" }, job.error?.message ?? job.message), logOf(api, job, signal, "Log"))),
      h("td", { data: { label: "State" } }, h("span", null, badge(job.state))),
      h("td", { data: { label: "Progress" } }, running ? `${percent(job.fraction)}, ${left(job.eta_s).toLowerCase()}` : job.state === "succeeded" ? "Complete" : percent(job.fraction)),
      h("td", { data: { label: "Begun" } }, job.started_at ? ago(job.started_at) : "Not yet"),
      h("td", { class: "end" }, h("span", null, running && stop, REQUEUEABLE.has(job.state) && again)));
  }

  async function act(control, words, job, what) {
    const done = await busy(control, words, problems, () => api.post(`jobs/${job.id}/${what}`, {}, { signal }));
    if (done) read();
  }
}

function installation({ api, signal }) {
  const host = h("div", { class: "page" });
  const look = async () => fill(host, whole(await api.get("system", { signal })));
  fill(host, loaded("Asking all parts", () => api.get("system", { signal }), (found) => {
    every(LOOK_MS, look, signal, { atOnce: false });
    return whole(found);
  }, signal));
  return host;
}

function whole({ version, services, queues, records }) {
  return [
    card("Services", h("div", { class: "parts" }, services.map(({ name, state: said }) => state(name.charAt(0).toUpperCase() + name.slice(1), said === "SERVING", said === "SERVING" ? "" : said))),
      h("p", { class: "small soft" }, `Version ${version}.`)),
    card("Queues", h("table", { class: "table" },
      h("thead", null, h("tr", null, ["Queue", "Queued", "Running", "Retrying", "Done", "Failed", "Oldest waits"].map((words) => h("th", { scope: "col" }, words)))),
      h("tbody", null, queues.map(({ name, jobs: by, oldest_queued_s: oldest }) => h("tr", null,
        h("td", { data: { label: "Queue" } }, h("strong", null, QUEUES[name] ?? name)),
        h("td", { data: { label: "Queued" } }, by.queued), h("td", { data: { label: "Running" } }, by.running),
        h("td", { data: { label: "Retrying" } }, by.waiting), h("td", { data: { label: "Done" } }, by.succeeded),
        h("td", { data: { label: "Failed" } }, by.failed + by.dead),
        h("td", { data: { label: "Oldest waits" } }, by.queued ? span(oldest) : "None")))))),
    card("Kept", h("dl", { class: "facts" }, Object.entries(records).map(([kind, states]) => h("div", null,
      h("dt", null, KEPT[kind] ?? kind),
      h("dd", null, Object.entries(states).filter(([, number]) => number > 0).map(([name, number]) => `${number} ${name}`).join(", ") || "None"))))),
  ];
}

async function every(ms, look, signal, { atOnce = true } = {}) {
  if (atOnce) await look();
  while (!signal.aborted) {
    await pause(ms, signal).catch(() => {});
    if (!signal.aborted) await look().catch(() => {});
  }
}
