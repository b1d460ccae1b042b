// The microphone's worklet: hands on what is heard, some 30 ms at a time.

const AT_ONCE = 512;

class Listener extends AudioWorkletProcessor {
  constructor() {
    super();
    this.heard = new Float32Array(AT_ONCE);
    this.count = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.heard[this.count] = sample;
      this.count += 1;
      if (this.count === AT_ONCE) {
        this.port.postMessage(this.heard.slice());
        this.count = 0;
      }
    }
    return true;
  }
}

registerProcessor("listener", Listener);
