// Server-sent events with the key in a header, which EventSource cannot send.

import { pause } from "./api.js";

const SILENCE_MS = 45_000; // three heartbeats
const ENDED = new Set(["ready", "succeeded", "failed", "cancelled", "dead"]);

/** Whether nothing more will happen to an avatar, dub or job by itself. */
export const ended = (resource) => ENDED.has(resource.state);

/**
 * Follow a resource until its final state, whatever breaks in between.
 * @param {Api} api
 * @param {string} path e.g. `avatars/av_1`
 * @param {object} options
 * @param {AbortSignal} options.signal ends it
 * @param {function(object): void} options.onData told of every state
 * @param {function(boolean): void} [options.onLink] told whether the connection stands
 */
export async function follow(api, path, { signal, onData, onLink = () => {} }) {
  let last = "";
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 8000)) {
    try {
      const headers = last ? { "last-event-id": last } : {};
      const answer = await api.fetch("GET", `${path}/events`, { signal, headers });
      if (answer.status === 204) return;
      onLink(true);
      for await (const event of parse(answer.body, signal)) {
        last = event.id || last;
        wait = 500;
        onData(event.data);
        if (ended(event.data)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      onLink(false);
    }
    await pause(wait, signal).catch(() => {});
  }
}

async function* parse(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const stop = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", stop, { once: true });
  try {
    let rest = "";
    let event = { id: "", lines: [] };
    for (;;) {
      const { done, value } = await within(reader.read());
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) event.lines.push(line.slice(5).trimStart());
        else if (line.startsWith("id:")) event.id = line.slice(3).trim();
        else if (line.trim() === "" && event.lines.length) {
          yield { id: event.id, data: JSON.parse(event.lines.join("\n")) };
          event = { id: "", lines: [] };
        }
      }
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

async function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("silence")), SILENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
