// Sound: a WAV file or the microphone as samples, one a step.

import { ROOT } from "./api.js";

const SECONDS_AT_FIRST = 30;
/** Digits of a sample: as many as 24 bits have, and no more bytes on the way than that. */
const SCALE = 2 ** 24;

/** Samples from -1 to 1; of the microphone they grow while they are heard. */
export class SoundSource {
  constructor(rate, told, samples = null) {
    Object.assign(this, { rate, told, isLive: !samples, samples: samples ?? new Float32Array(rate * SECONDS_AT_FIRST), count: samples?.length ?? 0 });
  }

  rows(from, to) {
    return Array.from(this.samples.subarray(from, Math.min(to, this.count)), (sample) => [Math.round(sample * SCALE) / SCALE]);
  }

  value(step) {
    return this.samples[step];
  }

  hear(samples) {
    if (this.count + samples.length > this.samples.length) {
      const larger = new Float32Array(2 * this.samples.length + samples.length);
      larger.set(this.samples.subarray(0, this.count));
      this.samples = larger;
    }
    this.samples.set(samples, this.count);
    this.count += samples.length;
  }

  close() {
    this.isLive = false;
    this.stop?.();
  }
}

/** A WAV of 16 bits at the model's rate sample by sample, as it stands there; any other sound by the browser's own reader. */
export async function soundOf(buffer, name, rate) {
  const plain = plainWave(buffer);
  if (plain?.rate === rate) return new SoundSource(rate, `${name}: ${(plain.samples.length / rate).toFixed(1)} s, as it is in the file`, plain.samples);
  const decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer.slice(0)).catch(() => {
    throw new Error(`${name} is no sound that this browser reads; a WAV is.`);
  });
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, channel) => decoded.getChannelData(channel));
  const samples = channels[0].map((_, place) => channels.reduce((total, channel) => total + channel[place], 0) / channels.length);
  return new SoundSource(rate, `${name}: ${(samples.length / rate).toFixed(1)} s, brought to ${rate.toLocaleString("en")} samples a second`, samples);
}

/** A WAV of one channel of 16 bits (RIFF): `{rate, samples}`; null of any other. */
export function plainWave(buffer) {
  const view = new DataView(buffer);
  const name = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 44 || name(0) !== "RIFF" || name(8) !== "WAVE") return null;
  let [at, rate, isPlain] = [12, 0, false];
  while (at + 8 <= buffer.byteLength) {
    const length = view.getUint32(at + 4, true);
    if (name(at) === "fmt ") {
      isPlain = view.getUint16(at + 8, true) === 1 && view.getUint16(at + 10, true) === 1 && view.getUint16(at + 22, true) === 16;
      rate = view.getUint32(at + 12, true);
    } else if (name(at) === "data") {
      if (!isPlain) return null;
      const count = Math.floor(Math.min(length, buffer.byteLength - at - 8) / 2);
      return { rate, samples: Float32Array.from({ length: count }, (_, index) => view.getInt16(at + 8 + 2 * index, true) / 32_768) };
    }
    at += 8 + length + (length % 2);
  }
  return null;
}

export async function exampleSound(rate) {
  const answer = await fetch(new URL("console/examples/go_forward.wav", ROOT));
  return soundOf(await answer.arrayBuffer(), "“go forward ten meters”", rate);
}

/** The microphone, at the model's rate; asks whoever sits there. */
export async function microphone(rate) {
  if (!navigator.mediaDevices) throw new Error("A browser lends its microphone to pages of this machine, or over https, alone.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } }).catch((error) => {
    throw new Error(`There is no microphone for this page (${error.name}).`);
  });
  const context = new AudioContext({ sampleRate: rate });
  await context.audioWorklet.addModule(new URL("console/microphone.js", ROOT));
  const source = new SoundSource(rate, "the microphone, as it is heard");
  const listener = new AudioWorkletNode(context, "listener", { numberOfOutputs: 0 });
  listener.port.onmessage = ({ data }) => source.isLive && source.hear(data);
  context.createMediaStreamSource(stream).connect(listener);
  source.stop = () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
  return source;
}
