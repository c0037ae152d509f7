// One live session's connection: WebRTC, or fragmented MP4 over a WebSocket where UDP is closed.
// docs/live.md is the protocol.

import { ApiError } from "../api.js";
import { FragmentPlayer } from "./fragments.js";

const WEBRTC_MS = 6000; // by then it has connected, or something between is closed
const GATHER_MS = 2000;
const RECONNECT_MS = 25_000; // the gateway waits 30 s
const BASE64_BYTES = 12_000; // of one message on a data channel

/**
 * Holds a session: connects, connects again when the connection breaks, tells what comes.
 * @param {object} session as POST /v1/sessions answers
 * @param {HTMLVideoElement} video
 * @param {object} told
 * @param {function(object): void} told.onNews the server's messages
 * @param {function(string, string): void} told.onState `connecting`, `open` or `reconnecting`, and the kind
 */
export class LiveLink {
  constructor(session, video, { onNews, onState }, kind = "auto") {
    Object.assign(this, { session, video, onNews, onState, kind });
    this.over = false;
  }

  /** Connect. Raises ApiError when neither way works. */
  async open() {
    this.onState("connecting", "");
    if (this.kind !== "websocket") {
      try {
        return await this.#use(await openWebRtc(this));
      } catch (error) {
        if (this.kind === "webrtc" || error.status || this.over) throw error;
      }
    }
    return this.#use(await openWebSocket(this));
  }

  /** Have the avatar say some sound. `pcm` is an Int16Array at the session's rate. */
  say(pcm) { this.wire?.sendAudio(pcm); }

  send(message) { this.wire?.sendText(JSON.stringify(message)); }

  /** Bytes that wait to be sent. */
  get waiting() { return this.wire?.waiting() ?? 0; }

  close() {
    this.over = true;
    this.wire?.close();
    this.wire = null;
  }

  #use(wire) {
    if (this.over) {
      wire.close();
      return;
    }
    this.wire = wire;
    wire.onLost = () => this.#again(wire);
    this.onState("open", wire.kind);
    this.video.play().catch(() => {}); // the page's play button is there for that
  }

  async #again(lost) {
    if (this.over || this.wire !== lost) return;
    lost.close();
    this.wire = null;
    const until = Date.now() + RECONNECT_MS;
    while (!this.over && Date.now() < until) {
      this.onState("reconnecting", "");
      try {
        await this.open();
        return;
      } catch (error) {
        if (error.status === 404 || error.status === 401) break;
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
    if (!this.over) this.onNews({ type: "ended", code: "CONNECTION_LOST", message: "the connection to the session is lost" });
  }

  heard(text) {
    const news = JSON.parse(text);
    if (news.type === "ended") this.over = true;
    this.onNews(news);
  }
}

async function openWebRtc(link) {
  const { session, video } = link;
  const peer = new RTCPeerConnection({ iceServers: session.ice_servers ?? [] });
  try {
    const stream = new MediaStream();
    const picture = peer.addTransceiver("video", { direction: "recvonly" });
    const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
    picture.setCodecPreferences?.(codecs.filter(({ mimeType }) => /h264|rtx/i.test(mimeType))); // what renderers make
    peer.addTransceiver("audio", { direction: "recvonly" });
    const control = peer.createDataChannel("control");
    control.onmessage = ({ data }) => link.heard(data);
    peer.ontrack = ({ track }) => stream.addTrack(track);
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const answer = await fetch(session.webrtc_url, {
      method: "POST",
      headers: { authorization: `Bearer ${session.token}`, "content-type": "application/json" },
      body: JSON.stringify({ type: "offer", sdp: peer.localDescription.sdp }),
    });
    if (!answer.ok) throw await refusal(answer);
    await peer.setRemoteDescription(await answer.json());
    await within(WEBRTC_MS, opened(control, peer));
    video.srcObject = stream;
    return rtcWire(peer, control);
  } catch (error) {
    peer.close();
    throw error;
  }
}

function rtcWire(peer, control) {
  const wire = {
    kind: "webrtc",
    onLost: () => {},
    sendText: (text) => { if (control.readyState === "open") control.send(text); },
    sendAudio: (pcm) => {
      const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
      for (let at = 0; at < bytes.length; at += BASE64_BYTES) {
        const data = btoa(String.fromCharCode(...bytes.subarray(at, at + BASE64_BYTES)));
        wire.sendText(JSON.stringify({ type: "audio", data }));
      }
    },
    waiting: () => control.bufferedAmount,
    close: () => { wire.onLost = () => {}; peer.close(); },
  };
  peer.onconnectionstatechange = () => {
    if (peer.connectionState === "failed" || peer.connectionState === "closed") wire.onLost();
  };
  control.onclose = () => wire.onLost();
  return wire;
}

async function openWebSocket(link) {
  const { session, video } = link;
  const player = new FragmentPlayer(video);
  const socket = new WebSocket(`${session.websocket_url}?token=${encodeURIComponent(session.token)}`);
  socket.binaryType = "arraybuffer";
  const wire = {
    kind: "websocket",
    onLost: () => {},
    sendText: (text) => { if (socket.readyState === WebSocket.OPEN) socket.send(text); },
    sendAudio: (pcm) => { if (socket.readyState === WebSocket.OPEN) socket.send(pcm); },
    waiting: () => socket.bufferedAmount,
    close: () => { wire.onLost = () => {}; socket.close(); player.close(); },
  };
  await new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) {
        player.push(data);
        return;
      }
      const news = JSON.parse(data);
      if (news.type === "ready") {
        player.begin(news.mime);
        resolve();
      }
      link.heard(data);
    };
    socket.onclose = ({ code, reason }) => {
      reject(new ApiError({
        status: code >= 4400 && code < 4500 ? code - 4000 : 0, // the gateway's own codes
        code: "LIVE_UNREACHABLE", message: `The session cannot be connected to (${code}${reason ? `: ${reason}` : ""}).`,
        remedy: "Try again; if it never works, something between here and the gateway closes WebSockets.",
      }));
      wire.onLost();
    };
  });
  return wire;
}

async function gathered(peer) {
  if (peer.iceGatheringState === "complete") return;
  await Promise.race([
    new Promise((resolve) => {
      peer.onicegatheringstatechange = () => { if (peer.iceGatheringState === "complete") resolve(); };
    }),
    new Promise((resolve) => setTimeout(resolve, GATHER_MS)),
  ]);
}

function opened(control, peer) {
  return new Promise((resolve, reject) => {
    control.onopen = resolve;
    peer.addEventListener("connectionstatechange", () => {
      if (peer.connectionState === "failed") reject(new Error("no way through"));
    });
  });
}

function within(ms, promise) {
  return Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error("too slow")), ms))]);
}

async function refusal(answer) {
  const said = (await answer.json().catch(() => ({}))).error ?? {};
  return new ApiError({
    status: answer.status, code: said.code ?? `HTTP_${answer.status}`, message: said.message ?? `The gateway answered ${answer.status}.`,
    remedy: said.remedy ?? "Try again.", requestId: said.request_id,
  });
}
