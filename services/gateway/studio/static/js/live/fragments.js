// Plays fragmented MP4 as it comes, near its live edge.

const BEHIND_S = 0.5;
const MARGIN_S = 0.1;
const KEPT_S = 10;

export class FragmentPlayer {
  constructor(video) {
    this.video = video;
    this.queue = [];
    this.media = new MediaSource();
    this.url = URL.createObjectURL(this.media);
    video.srcObject = null;
    video.src = this.url;
    this.timer = setInterval(() => this.#stayLive(), 500);
  }

  /** An init segment of this type follows. */
  begin(mime) {
    const start = () => {
      if (!this.buffer) {
        this.buffer = this.media.addSourceBuffer(mime);
        this.buffer.onupdateend = () => this.#pump();
      } else if (mime !== this.mime) this.queue.push({ mime });
      this.mime = mime;
      this.#pump();
    };
    if (this.media.readyState === "open") start();
    else this.media.addEventListener("sourceopen", start, { once: true });
  }

  push(data) {
    this.queue.push(data);
    this.#pump();
  }

  close() {
    clearInterval(this.timer);
    URL.revokeObjectURL(this.url);
    this.video.removeAttribute("src");
    this.video.load();
  }

  #pump() {
    if (!this.buffer || this.buffer.updating || this.queue.length === 0) return;
    const next = this.queue.shift();
    if (next.mime) {
      this.buffer.changeType(next.mime);
      this.#pump();
    } else if (this.media.readyState === "open") this.buffer.appendBuffer(next);
  }

  #stayLive() {
    const ranges = this.buffer?.buffered;
    if (!ranges?.length) return;
    const { video } = this;
    const end = ranges.end(ranges.length - 1);
    const start = ranges.start(ranges.length - 1);
    if (video.currentTime < start || end - video.currentTime > BEHIND_S) video.currentTime = Math.max(start, end - MARGIN_S);
    if (!this.buffer.updating && video.currentTime - ranges.start(0) > 2 * KEPT_S) this.buffer.remove(0, video.currentTime - KEPT_S);
  }
}
