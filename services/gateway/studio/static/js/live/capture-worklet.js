// Runs beside the page: hands on the microphone in blocks of 20 ms, 16 bit.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 50));
    this.filled = 0;
    this.energy = 0;
  }

  process([[channel]]) {
    if (!channel) return true;
    for (const sample of channel) {
      const limited = Math.max(-1, Math.min(1, sample));
      this.block[this.filled] = limited * 32767;
      this.energy += limited * limited;
      this.filled += 1;
      if (this.filled === this.block.length) {
        this.port.postMessage({ pcm: this.block.slice(), rms: Math.sqrt(this.energy / this.filled) });
        this.filled = 0;
        this.energy = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
