/** Inference, away from the page's own thread. */

import type * as Ort from "onnxruntime-web";
import { heapBytes } from "./heap.js";
import { WORKER_LOST } from "./lost.js";
import { decodeImage } from "./pixels.js";
import { toTensor } from "./preprocess.js";
import type { Calls, Reply, Request } from "./protocol.js";
import type { Tensors } from "./tensors.js";

type Library = typeof Ort;

let ort: Library | undefined;
let session: Ort.InferenceSession | undefined;
let provider: "wasm" | "webgpu" = "wasm";

function opened(): [Library, Ort.InferenceSession] {
  if (ort === undefined || session === undefined) throw new Error("no model is open");
  return [ort, session];
}

function feed(library: Library, tensors: Tensors): Ort.InferenceSession.FeedsType {
  const make = library.Tensor as unknown as new (t: string, d: unknown, s: number[]) => Ort.Tensor;
  return Object.fromEntries(
    Object.entries(tensors).map(([name, t]) => [name, new make(t.type, t.data, t.dims)]),
  );
}

async function run(feeds: Ort.InferenceSession.FeedsType): Promise<Tensors> {
  const found = await opened()[1].run(feeds);
  const tensors: Tensors = {};
  for (const [name, value] of Object.entries(found)) {
    tensors[name] = {
      type: value.type,
      dims: [...value.dims],
      data: value.data as unknown as ArrayBufferView,
    };
  }
  return tensors;
}

const calls: Calls = {
  async warm(runtime) {
    try {
      const [library] = await Promise.all([
        import(/* @vite-ignore */ /* webpackIgnore: true */ runtime.module),
        import(/* @vite-ignore */ /* webpackIgnore: true */ runtime.glue),
      ]);
      ort = library as Library;
    } catch (error) {
      throw new Error(`${WORKER_LOST}: ${error instanceof Error ? error.message : error}`);
    }
    ort.env.wasm.wasmPaths = { mjs: runtime.glue };
    ort.env.logLevel = "error";
    provider = runtime.provider ?? "wasm";
  },
  async open(wasm, model, threads) {
    if (ort === undefined) throw new Error("the runtime has not arrived");
    const start = performance.now();
    if (wasm.byteLength > 0) {
      ort.env.wasm.numThreads = threads;
      ort.env.wasm.wasmBinary = wasm;
    }
    await session?.release();
    session = undefined;
    session = await ort.InferenceSession.create(new Uint8Array(model), {
      executionProviders: [provider],
    });
    const milliseconds = performance.now() - start;
    const { inputNames, outputNames } = session;
    return {
      inputs: [...inputNames],
      outputs: [...outputNames],
      milliseconds,
      heap: heapBytes(),
    };
  },
  async prepare(image, how) {
    return { [how.input]: toTensor(await decodeImage(image), how) };
  },
  async run(feeds) {
    return run(feed(opened()[0], feeds));
  },
  async time(feeds, milliseconds) {
    const [library, model] = opened();
    const prepared = feed(library, feeds);
    const times: number[] = [];
    const end = performance.now() + milliseconds;
    do {
      const start = performance.now();
      await model.run(prepared);
      times.push(performance.now() - start);
    } while (performance.now() < end);
    return times;
  },
  async heap() {
    return heapBytes();
  },
};

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const reply: Reply = { id: data.id };
  try {
    const call = calls[data.call] as (...args: unknown[]) => Promise<unknown>;
    reply.result = await call(...data.args);
  } catch (error) {
    reply.error = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
  self.postMessage(reply);
};
