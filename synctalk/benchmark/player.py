"""Script and style of the benchmark page: videos that play in step, without any network.

A theatre holds the videos of one subject and sound. They lie in the page as base64 and become blob
URLs when the theatre comes into view. The first one that is shown keeps time; the others are held
within half a frame of it by their playback rate, and put in place when they are far off.
"""

from __future__ import annotations

STYLE = """
:root { --c4:#8a4fb0; --c5:#b08b00; --good:#1d7244 }
@media (prefers-color-scheme: dark) { :root { --c4:#c08ee6; --c5:#d9b640; --good:#5cc28c } }
body { max-width:1240px }
.c4 { stroke:var(--c4); background:var(--c4) } .c5 { stroke:var(--c5); background:var(--c5) }
.c1.line { stroke-width:2 } .c2.line { stroke-dasharray:6 2 } .c4.line { stroke-dasharray:2 2 }
.c5.line { stroke-dasharray:8 3 2 3 }
.skip { position:absolute; left:-9999px; background:var(--paper) }
.skip:focus { left:16px; top:8px }
nav { display:flex; flex-wrap:wrap; gap:4px 16px; margin:16px 0; font-size:.92rem }
a { color:var(--c1) }
.warn { border-left:4px solid var(--c2); background:var(--box); padding:8px 14px; max-width:90ch }
.tiles { grid-template-columns:repeat(auto-fit,minmax(170px,280px)) }
h3 { font-size:1rem; margin:1.6em 0 .4em }
tbody td:first-child { min-width:150px }
td.best { color:var(--good); font-weight:700 }
td.none { color:var(--soft); font-weight:400 }
tr.paper td { color:var(--soft) } tr.paper.own td { color:var(--ink) }
tr.ours td:first-child { box-shadow:inset 3px 0 var(--c1) }
td.where { text-align:left; white-space:normal; min-width:150px;
  color:var(--soft); font-size:.84rem; font-weight:400 }
th.where { text-align:left; white-space:normal }
tr.paper td.where { white-space:nowrap } tr.ours td.where { font-weight:400 }
tr.ours td.none { font-weight:400 }
.of { color:var(--soft); font-weight:400 }
table td, table th { font-size:.88rem }
.theatre { border:1px solid var(--rule); border-radius:10px; padding:12px; margin:12px 0 }
.theatre .shows { display:grid; gap:10px;
  grid-template-columns:repeat(auto-fit,minmax(140px,1fr)) }
.theatre figure { margin:0 } .theatre figure[hidden] { display:none }
.theatre video { aspect-ratio:1; object-fit:contain }
.theatre figcaption { display:flex; justify-content:space-between; gap:8px; color:var(--ink);
  padding:4px 2px; font-weight:600 }
.theatre figcaption span { color:var(--soft); font-weight:400; font-variant-numeric:tabular-nums }
.bar { display:flex; flex-wrap:wrap; align-items:center; gap:8px; margin:10px 0 4px }
.bar input[type=range] { flex:1 1 200px; min-width:120px; accent-color:var(--c1) }
.bar output { min-width:11ch; text-align:right; font-variant-numeric:tabular-nums;
  color:var(--soft); font-size:.88rem }
button, select { font:inherit; font-size:.88rem; color:var(--ink); background:var(--box);
  border:1px solid var(--rule); border-radius:6px; padding:5px 11px; min-height:32px;
  cursor:pointer }
button:hover, select:hover { border-color:var(--soft) }
button[aria-pressed=true] { background:var(--c1); border-color:var(--c1); color:var(--paper) }
:focus-visible { outline:2px solid var(--c1); outline-offset:2px }
.chips { display:flex; flex-wrap:wrap; gap:6px; margin:0 0 10px }
.worst { display:grid; gap:14px 20px;
  grid-template-columns:repeat(auto-fit,minmax(min(100%,260px),1fr)); margin:8px 0 }
.worst figure { margin:0 } .worst img { image-rendering:auto }
details { margin:8px 0 } summary { cursor:pointer; color:var(--c1); width:fit-content }
.absent dt { font-family:ui-monospace,monospace; font-size:.9rem }
code { font-size:.9em; background:var(--box); padding:1px 5px; border-radius:4px }
@media print { .theatre .bar, .chips, nav { display:none } }
"""

SCRIPT = """
"use strict";
const FPS = 25, NEAR = 0.5 / FPS, FAR = 0.25;
function blobOf(name) {
  const text = document.getElementById(name).textContent;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
}
class Theatre {
  constructor(root) {
    this.root = root;
    this.figures = [...root.querySelectorAll("figure")];
    this.videos = this.figures.map((figure) => figure.querySelector("video"));
    this.play = root.querySelector("[data-play]");
    this.seek = root.querySelector("input[type=range]");
    this.clock = root.querySelector("output");
    this.rate = root.querySelector("[data-rate]");
    this.sound = root.querySelector("[data-sound]");
    this.first = Number(root.dataset.first);
    this.playing = false;
    this.play.onclick = () => (this.playing ? this.pause() : this.start());
    root.querySelector("[data-back]").onclick = () => this.step(-1);
    root.querySelector("[data-on]").onclick = () => this.step(1);
    this.seek.oninput = () => this.go(Number(this.seek.value));
    this.rate.onchange = () => { if (this.playing) this.hold(); };
    this.sound.onchange = () => this.listen();
    root.querySelectorAll("[data-chip]").forEach((chip) => {
      chip.onclick = () => this.toggle(chip);
    });
    new IntersectionObserver((entries, watcher) => {
      if (entries.some((entry) => entry.isIntersecting)) { watcher.disconnect(); this.load(); }
    }, { rootMargin: "400px" }).observe(root);
  }
  get seen() { return this.videos.filter((video) => !video.closest("figure").hidden); }
  get lead() { return this.seen[0]; }
  load() {
    if (this.loaded) return;
    this.loaded = true;
    this.videos.forEach((video) => { video.src = blobOf(video.dataset.video); video.load(); });
    const lead = this.videos[0];
    lead.addEventListener("loadedmetadata", () => this.show(0), { once: true });
    this.listen();
  }
  listen() { this.videos.forEach((video, i) => { video.muted = String(i) !== this.sound.value; }); }
  toggle(chip) {
    const figure = this.figures[Number(chip.dataset.chip)];
    const others = this.figures.filter((each) => each !== figure && !each.hidden);
    if (!figure.hidden && !others.length) return;
    figure.hidden = !figure.hidden;
    chip.setAttribute("aria-pressed", String(!figure.hidden));
    const wasPlaying = this.playing;
    this.pause();
    this.show(Number(this.seek.value));
    if (wasPlaying) this.start();
  }
  frame() {
    const now = Math.floor(this.lead.currentTime * FPS + 0.01);
    return Math.min(Number(this.seek.max), now);
  }
  show(frame) {
    const last = Number(this.seek.max);
    const at = Math.max(0, Math.min(last, frame));
    this.videos.forEach((video) => { video.currentTime = (at + 0.5) / FPS; });
    this.tell(at);
  }
  go(frame) { this.pause(); this.show(frame); }
  step(by) { this.go(Number(this.seek.value) + by); }
  tell(frame) {
    this.seek.value = frame;
    const words = `${(frame / FPS).toFixed(2)} s · frame ${this.first + frame}`;
    this.clock.value = words;
    this.seek.setAttribute("aria-valuetext", words);
  }
  async start() {
    this.load();
    if (this.frame() >= Number(this.seek.max)) this.show(0);
    this.playing = true;
    this.play.textContent = "Pause";
    this.play.setAttribute("aria-pressed", "true");
    try {
      await Promise.all(this.seen.map((video) => video.play()));
    } catch {
      this.pause();
      return;
    }
    this.hold();
    this.follow();
  }
  pause() {
    this.playing = false;
    this.play.textContent = "Play";
    this.play.setAttribute("aria-pressed", "false");
    this.videos.forEach((video) => video.pause());
    if (this.loaded && this.lead.readyState) this.tell(this.frame());
  }
  hold() {
    const rate = Number(this.rate.value), lead = this.lead;
    lead.playbackRate = rate;
    this.seen.slice(1).forEach((video) => {
      const ahead = video.currentTime - lead.currentTime;
      if (Math.abs(ahead) > FAR) video.currentTime = lead.currentTime;
      video.playbackRate = Math.abs(ahead) > NEAR ? rate * (ahead > 0 ? 0.93 : 1.07) : rate;
      if (video.paused && !video.ended && this.playing) video.play().catch(() => {});
    });
  }
  follow() {
    if (!this.playing) return;
    if (this.lead.ended) {
      if (this.root.querySelector("[data-loop]").getAttribute("aria-pressed") === "true") {
        this.show(0);
        this.start();
      } else this.pause();
      return;
    }
    this.hold();
    this.tell(this.frame());
    requestAnimationFrame(() => this.follow());
  }
}
const theatres = new Map(
  [...document.querySelectorAll(".theatre")].map((root) => [root.id, new Theatre(root)]));
document.querySelectorAll("[data-loop]").forEach((button) => {
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
  };
});
document.querySelectorAll("[data-goto]").forEach((button) => {
  button.onclick = () => {
    const [name, frame] = button.dataset.goto.split("@");
    const theatre = theatres.get(name);
    theatre.load();
    theatre.pause();
    const go = () => theatre.show(Number(frame) - theatre.first);
    if (theatre.lead.readyState) go();
    else theatre.lead.addEventListener("loadeddata", go, { once: true });
    theatre.root.scrollIntoView({ block: "center" });
    theatre.seek.focus({ preventScroll: true });
  };
});
"""
