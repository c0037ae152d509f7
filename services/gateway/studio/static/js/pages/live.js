// Talking with an avatar live.

import { announce, fill, h } from "../dom.js";
import { pause } from "../api.js";
import { LiveLink } from "../live/link.js";
import { listen, makeContext, readSound, speak } from "../live/sound.js";
import { snippet } from "../live/snippet.js";
import { icon } from "../parts/icons.js";
import { button, busy, card, copyButton, empty, facts, link as linkTo, loaded, note, page } from "../parts/page.js";
import { dropZone, field, select } from "../parts/fields.js";
import { problem } from "../parts/problem.js";
import { faces } from "./new-dub.js";

const LOOK_MS = 2000;
const KINDS = { webrtc: "WebRTC", websocket: "WebSocket" };
const STAGES = { wait: "Jitter buffer", hear: "Hear what a frame needs", features: "Speech to lips", render: "Render and encode", ready: "Waits for its turn", total: "In all" };

export function livePage(context) {
  const { api, signal, query } = context;
  return page({
    title: "Live", about: "Sound goes in, the avatar says it at once. In a product the sound comes from a voice agent; here it is your microphone or a file.",
  }, loaded("Loading avatars", () => api.all("avatars", { signal, most: 400 }), (avatars) => {
    const ready = avatars.filter(({ state }) => state === "ready");
    if (ready.length > 0) return stage(context, ready, query.get("avatar") ?? ready[0].id);
    return empty({
      icon: "live", title: "Nobody to talk with yet", about: "A live session needs an avatar that is ready.",
      actions: [linkTo("New avatar", "#/avatars/new", { kind: "primary", icon: "plus" })],
    });
  }, signal));
}

function stage(context, avatars, chosen) {
  const { api, signal } = context;
  const video = h("video", { class: "player", playsInline: true, autoplay: true, "aria-label": "The avatar, live" });
  const screen = h("div", { class: "stage" }, video,
    h("div", { class: "off" }, icon("live"), h("p", null, "The avatar appears here when a session runs.")));
  const said = h("p", { class: "live-state", role: "status" }, "No session yet.");
  const place = h("div", { class: "slot" });
  const choice = h("form", { class: "form" }, faces(avatars, chosen));
  const size = select([["0", "As the avatar"], ["256", "256 × 256"], ["512", "512 × 512"]], { name: "size" });
  const way = select([["auto", "WebRTC, else WebSocket"], ["webrtc", "WebRTC only"], ["websocket", "WebSocket only"]], { name: "way" });
  const begin = button("Start the session", { kind: "primary", icon: "play", on: () => busy(begin, "Starting", place, start) });
  const before = h("div", { class: "form" }, choice, h("div", { class: "pair" }, field("Size", size), field("Connection", way)), h("div", null, begin));
  const during = h("div", { class: "form", hidden: true });
  const figures = liveFigures();
  let current = null;

  async function start() {
    const sound = makeContext();
    const body = { avatar: choice.elements.avatar.value, sample_rate_hz: sound.sampleRate, width_px: Number(size.value), height_px: Number(size.value) };
    let session;
    try {
      session = await api.post("sessions", body, { signal });
      current = await running(context, { session, sound, video, kind: way.value, figures, said, place, onEnd: ended });
    } catch (error) {
      sound.close();
      fill(said, "No session.");
      if (session) api.delete(`sessions/${session.id}`).catch(() => {});
      throw error;
    }
    screen.classList.add("on");
    before.hidden = true;
    during.hidden = false;
    fill(during, current.controls);
    current.controls.querySelector("button").focus({ preventScroll: true });
    screen.scrollIntoView({ block: "nearest" });
  }

  function ended(words) {
    current = null;
    screen.classList.remove("on");
    before.hidden = false;
    during.hidden = true;
    fill(during);
    fill(said, words);
    announce(words);
    begin.focus();
  }

  signal.addEventListener("abort", () => current?.stop(), { once: true });
  return h("div", { class: "columns" },
    h("div", null, h("section", { class: "card player-box", "aria-label": "The avatar" }, screen, h("div", { class: "below" }, said, place, before, during))),
    h("div", null, figures.element, embed()));
}

async function running({ signal }, { session, sound, video, kind, figures, said, place, onEnd }) {
  const gone = new AbortController();
  const state = (words) => { fill(said, words); announce(words); };
  let speaking = new AbortController();
  let stopListening = null;
  let interruptedAt = 0;
  let over = false; // by the server's word
  // The session's own address leads to the process that has it.
  const headers = { authorization: `Bearer ${session.token}` };
  const leave = () => over || fetch(session.url, { method: "DELETE", keepalive: true, headers }).catch(() => {});
  const look = async () => (await fetch(session.url, { headers, signal: gone.signal })).json();

  const live = new LiveLink(session, video, {
    onState: (now, by) => {
      state({ connecting: "Connecting …", open: `Connected by ${KINDS[by]}. It listens.`, reconnecting: "The connection broke. Connecting again …" }[now]);
      figures.set({ kind: KINDS[by] ?? "…" });
    },
    onNews: (news) => {
      if (news.type === "stats") figures.set(news);
      else if (news.type === "segment_end" && !news.interrupted) state("It has said everything. It listens.");
      else if (news.type === "interrupted") {
        const took = interruptedAt ? ` after ${Math.round(performance.now() - interruptedAt)} ms` : "";
        state(`Interrupted${took}. It listens.`);
      } else if (news.type === "error") fill(place, problem(news));
      else if (news.type === "ended") {
        over = true;
        finish(ending(news));
      }
    },
  }, kind);
  await live.open();
  if (signal.aborted) {
    live.close();
    throw new DOMException("left the page", "AbortError");
  }

  const microphone = button("Use the microphone", { icon: "live", on: toggle, "aria-pressed": "false" });
  const level = h("meter", { min: 0, max: 1, value: 0, "aria-label": "Loudness of the microphone" });
  const interrupt = button("Interrupt", { icon: "stop", on: stopSpeech });
  const end = button("End the session", { kind: "danger", on: () => finish("The session is over.") });
  const zone = dropZone({ label: "an audio to be said", accept: "audio/*", hint: "It begins at once.", onFile: (file) => file && say(file) });
  const mute = h("input", { type: "checkbox", checked: true, on: { change: () => { video.muted = !mute.checked; } } });
  const controls = h("div", { class: "form" },
    h("div", { class: "button-row" }, microphone, interrupt, end),
    h("div", { class: "live-level" }, level, h("label", { class: "check small" }, mute, h("span", null, "Hear the avatar"))),
    zone);

  async function toggle() {
    if (stopListening) {
      stopListening();
      stopListening = null;
    } else {
      await busy(microphone, "Asking", place, async () => {
        stopListening = await listen(sound, {
          onSound: (pcm) => live.say(pcm), onPause: () => live.send({ type: "segment_end" }), onLevel: (now) => { level.value = now; },
        });
        mute.checked = false; // or it would hear itself
        video.muted = true;
        state("It says what you say. Use headphones to hear it.");
      });
    }
    microphone.setAttribute("aria-pressed", String(Boolean(stopListening)));
    fill(microphone, icon("live"), stopListening ? "Stop the microphone" : "Use the microphone");
  }

  async function say(file) {
    fill(place);
    stopSpeech({ silent: true });
    try {
      const pcm = await readSound(sound, file);
      video.muted = false;
      mute.checked = true;
      state(`It says ${file.name}.`);
      await speak(pcm, sound.sampleRate, live, speaking.signal);
    } catch (error) {
      if (error.name !== "AbortError") fill(place, problem(error));
    }
  }

  function stopSpeech({ silent = false } = {}) {
    speaking.abort();
    speaking = new AbortController();
    if (silent) return;
    interruptedAt = performance.now();
    live.send({ type: "interrupt" });
    fill(said, "Interrupting …");
  }

  function finish(words) {
    if (gone.signal.aborted) return;
    stop();
    onEnd(words);
  }

  function stop() {
    gone.abort();
    speaking.abort();
    stopListening?.();
    live.close();
    sound.close();
    video.srcObject = null;
    window.removeEventListener("pagehide", leave);
    leave();
  }

  window.addEventListener("pagehide", leave);
  figures.watch(video, gone.signal, look);
  return { controls, stop };
}

function ending({ code, message }) {
  const known = {
    IDLE: "The session ended because nothing was said for long.", MAX_DURATION: "The session reached its longest duration.",
    AVATAR_ERASED: "The avatar was erased.", DELETED: "The session is over.",
  };
  return known[code] ?? `The session ended: ${message} (${code}).`;
}

function liveFigures() {
  const now = {};
  const host = h("div", { "aria-live": "off" });
  const table = h("div", { class: "slot" });
  const shown = (value, unit, digits = 0) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)} ${unit}`);
  const draw = () => fill(host, facts([
    ["Connection", now.kind ?? "–", { big: true }],
    ["Latency, sound to frame", shown(now.latency_ms, "ms"), { big: true }],
    ["Frames a second, sent", shown(now.fps, "fps", 1), { big: true }],
    ["Frames a second, shown", shown(now.shown, "fps", 1), { big: true }],
    ["Late frames", shown(now.held_frames, ""), { big: true, about: "Not there at their time: the one before stood longer." }],
  ]));
  draw();

  async function watch(video, signal, look) {
    count(video, signal, (fps) => { now.shown = fps; });
    while (!signal.aborted) {
      await pause(LOOK_MS, signal).catch(() => {});
      if (signal.aborted) return;
      const session = await look().catch(() => null);
      if (session?.trace) fill(table, traceTable(session.trace));
      draw();
    }
  }

  return {
    element: card("Figures", host, h("details", { class: "small" }, h("summary", null, "Where the milliseconds go"), h("p", { class: "soft" }, "Milliseconds of each stage over the last minute."), table)),
    set: (more) => { Object.assign(now, more); draw(); },
    watch,
  };
}

function traceTable(trace) {
  const rows = Array.isArray(trace) ? trace.map((one) => [one.stage, one]) : Object.entries(trace);
  const ms = (value) => (value === null || value === undefined ? "–" : Math.round(value));
  return h("table", { class: "table" },
    h("thead", null, h("tr", null, ["Stage", "p50", "p95", "p99"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", null, rows.map(([name, one]) => h("tr", null,
      h("td", { data: { label: "Stage" } }, STAGES[name] ?? name), h("td", { data: { label: "p50" } }, ms(one.p50_ms)),
      h("td", { data: { label: "p95" } }, ms(one.p95_ms)), h("td", { data: { label: "p99" } }, ms(one.p99_ms))))));
}

// Frames that this browser really put on the screen.
function count(video, signal, told) {
  if (!video.requestVideoFrameCallback) return;
  let frames = 0;
  let since = performance.now();
  const each = () => {
    frames += 1;
    const spent = performance.now() - since;
    if (spent > 1000) {
      told((frames * 1000) / spent);
      frames = 0;
      since = performance.now();
    }
    if (!signal.aborted) video.requestVideoFrameCallback(each);
  };
  video.requestVideoFrameCallback(each);
}

function embed() {
  return card("In your own page", { aside: copyButton(snippet) },
    h("p", { class: "small soft" }, "Your server opens a session with its API key and hands the answer to the browser. The session's token may do nothing but that session."),
    h("pre", { class: "code snippet", tabIndex: 0, "aria-label": "Code to embed" }, snippet),
    note("info", h("p", { class: "small" }, "The key never leaves your server.")));
}
