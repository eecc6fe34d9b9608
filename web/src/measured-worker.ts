/** The worker of the pages that measure: the same, and a clock and a look at its memory. */

import { heapBytes } from "./heap.js";
import type { MeasuredCalls } from "./protocol.js";
import { calls, opened } from "./worker.js";

const { open } = calls;
const measured: Omit<MeasuredCalls, keyof typeof calls> = {
  async timedOpen(model) {
    const start = performance.now();
    await open(model);
    return { milliseconds: performance.now() - start, heap: heapBytes() };
  },
  async time(feeds, milliseconds) {
    const again = opened().prepared(feeds);
    const times: number[] = [];
    const end = performance.now() + milliseconds;
    do {
      const start = performance.now();
      await again();
      times.push(performance.now() - start);
    } while (performance.now() < end);
    return times;
  },
  async heap() {
    return heapBytes();
  },
};

Object.assign(calls, measured);
