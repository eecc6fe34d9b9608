/**
 * A page as a product would have it, for measuring a visit: it says how far the load is, and
 * answers one sample as soon as it can.
 */

import { type Addresses, fetchBytes, MeasuredEngine } from "./measured.js";
import type { Preprocess } from "./preprocess.js";
import { decode } from "./tensors.js";

interface Case {
  title: string;
  runtime: Addresses;
  model: string;
  /** Decoded bytes of the model and the runtime's wasm. */
  bytes: number;
  /** A preprocessed sample (safetensors), or an image with `preprocess`. */
  sample: string;
  preprocess: Preprocess | null;
}

function part(id: string): HTMLElement {
  return document.getElementById(id)!;
}

async function visit(): Promise<void> {
  const wanted: Case = JSON.parse(part("case").textContent);
  part("title").textContent = wanted.title;
  let got = 0;
  const sample = fetchBytes(wanted.sample);
  const engine = await MeasuredEngine.open({
    runtime: wanted.runtime,
    model: wanted.model,
    limit: 600_000,
    onProgress(bytes) {
      got += bytes;
      part("progress").setAttribute("value", String(Math.min(1, got / wanted.bytes)));
    },
  });
  const content = await sample;
  const feeds =
    wanted.preprocess === null
      ? decode(content)
      : await engine.prepare(new Blob([content]), wanted.preprocess);
  const ready = performance.now();
  const outputs = await engine.run(feeds);
  const answered = performance.now();
  if (wanted.preprocess !== null) {
    part("sample").setAttribute("src", wanted.sample);
  }
  const values = Object.values(outputs)[0]!;
  const shown = Array.from(values.data as unknown as ArrayLike<number>).slice(0, 4);
  part("answer").textContent = `${shown.map((v) => Number(v).toPrecision(3)).join(", ")}`;
  part("time").textContent = `${(answered / 1000).toFixed(2)} s`;
  document.body.dataset.milliseconds = String(answered);
  const wasm = new URL(wanted.runtime.wasm, document.baseURI).href;
  const [large] = performance.getEntriesByName(wasm);
  document.body.dataset.begin = String(large?.startTime ?? 0);
  document.body.dataset.create = String(engine.opened.milliseconds);
  document.body.dataset.run = String(answered - ready);
  document.body.dataset.state = "answered";
}

visit().catch((error: unknown) => {
  part("answer").textContent = String(error);
  document.body.dataset.state = "failed";
});
