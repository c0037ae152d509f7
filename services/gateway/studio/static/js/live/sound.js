// Sound on its way to a session: from the microphone, or from a file.

import { ApiError, pause } from "../api.js";

const OPEN_RMS = 0.012; // of full scale: about -38 dBFS
const HANG_BLOCKS = 25; // half a second of silence ends a sentence
const BEFORE_BLOCKS = 8; // sent from before the voice was noticed
const AHEAD_S = 8; // a file is sent that far ahead, so that an interruption throws little away

/** The one audio context of the page; the session takes PCM at its rate, so nothing is resampled. */
export const makeContext = () => new AudioContext({ latencyHint: "interactive" });

/**
 * Listen to the microphone; silence is not sent, so the avatar rests between sentences.
 * @param {AudioContext} context
 * @param {object} told
 * @param {function(Int16Array): void} told.onSound
 * @param {function(): void} told.onPause a sentence is over
 * @param {function(number): void} told.onLevel loudness, 0 to 1
 * @returns {Promise<function(): void>} stops it
 */
export async function listen(context, { onSound, onPause, onLevel }) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
  } catch (error) {
    throw noMicrophone(error);
  }
  await context.resume();
  await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
  const source = context.createMediaStreamSource(stream);
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const gate = new Gate(onSound, onPause);
  capture.port.onmessage = ({ data: { pcm, rms } }) => {
    onLevel(Math.min(1, rms * 6));
    gate.take(pcm, rms);
  };
  source.connect(capture);
  return () => {
    capture.port.onmessage = null;
    source.disconnect();
    for (const track of stream.getTracks()) track.stop();
    gate.end();
    onLevel(0);
  };
}

class Gate {
  constructor(onSound, onPause) {
    Object.assign(this, { onSound, onPause, before: [], quiet: 0, open: false });
  }

  take(pcm, rms) {
    this.quiet = rms > OPEN_RMS ? 0 : this.quiet + 1;
    if (this.open) {
      this.onSound(pcm);
      if (this.quiet >= HANG_BLOCKS) this.end();
    } else if (this.quiet === 0) {
      this.open = true;
      for (const block of this.before.splice(0)) this.onSound(block);
      this.onSound(pcm);
    } else {
      this.before.push(pcm);
      if (this.before.length > BEFORE_BLOCKS) this.before.shift();
    }
  }

  end() {
    if (this.open) this.onPause();
    this.open = false;
  }
}

/** A file's sound, mono, 16 bit, at the context's rate. Raises ApiError. */
export async function readSound(context, file) {
  let sound;
  try {
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new ApiError({
      code: "AUDIO_UNREADABLE", message: `${file.name} has no sound that this browser can read.`,
      remedy: "Choose a WAV, MP3, M4A, Ogg or FLAC file.",
    });
  }
  const pcm = new Int16Array(sound.length);
  const channels = Array.from({ length: sound.numberOfChannels }, (_, at) => sound.getChannelData(at));
  for (let at = 0; at < pcm.length; at += 1) {
    let sum = 0;
    for (const channel of channels) sum += channel[at];
    pcm[at] = Math.max(-1, Math.min(1, sum / channels.length)) * 32767;
  }
  return pcm;
}

/** Push a file's sound, a little ahead of what is heard, until it is through or stopped. */
export async function speak(pcm, rate, link, signal) {
  const step = Math.round(rate / 10);
  const began = performance.now();
  for (let at = 0; at < pcm.length; at += step) {
    while (at / rate - (performance.now() - began) / 1000 > AHEAD_S) await pause(100, signal);
    if (signal.aborted) return;
    link.say(pcm.slice(at, at + step));
  }
  link.send({ type: "segment_end" });
}

function noMicrophone(error) {
  const denied = error.name === "NotAllowedError";
  return new ApiError({
    code: denied ? "MICROPHONE_DENIED" : "MICROPHONE_MISSING",
    message: denied ? "This page may not use the microphone." : "No microphone was found.",
    remedy: denied ? "Allow it in the browser's address bar; it needs https, or this very machine." : "Connect one, or speak by a file.",
  });
}
