/** Inference, away from the page's own thread. */

import type * as Ort from "onnxruntime-web";
import { heapBytes } from "./heap.js";
import type * as Lean from "./lean/index.js";
import { WORKER_LOST } from "./lost.js";
import { decodeImage, ImageError } from "./pixels.js";
import { toTensor } from "./preprocess.js";
import type { Calls, Provider, Reply, Request, Wasm } from "./protocol.js";
import type { Tensors } from "./tensors.js";

type Library = typeof Ort;

let ort: Library | undefined;
let session: Ort.InferenceSession | undefined;
let provider: Provider = "wasm";

/** The lean runtime, where it is what computes. */
let lean: { library: typeof Lean; helper: WebAssembly.Module; wasm?: Wasm } | undefined;
let small: Lean.LeanSession | undefined;

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

async function warmLean(module: string, glue: string): Promise<void> {
  const [library, response] = await Promise.all([
    import(/* @vite-ignore */ /* webpackIgnore: true */ module),
    fetch(glue),
  ]);
  if (!response.ok) throw new Error(`HTTP ${response.status} for ${glue}`);
  lean = { library, helper: await WebAssembly.compile(await response.arrayBuffer()) };
}

async function openLean(model: ArrayBuffer): Promise<Lean.LeanSession> {
  const { library, helper, wasm } = lean!;
  if (wasm === undefined) throw new Error("the runtime has not arrived");
  small = undefined; // its memory may go before the next one's comes
  small = await library.openFile(wasm, helper, model);
  return small;
}

/** Make a run that can be repeated at once. */
function prepared(feeds: Tensors): () => unknown {
  const session = small;
  if (session !== undefined) return () => session.run(feeds);
  const [library, model] = opened();
  const given = feed(library, feeds);
  return () => model.run(given);
}

/** What the runtime is given in place of the bytes of a module that is compiled already. */
const HEADER = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);

/** Let the runtime, which asks for bytes to be compiled, have a module that is. */
function hand(module: WebAssembly.Module): void {
  const instantiate = WebAssembly.instantiate;
  const given = async (source: BufferSource | WebAssembly.Module, imports?: object) => {
    const known = imports as WebAssembly.Imports;
    if (source instanceof WebAssembly.Module) return instantiate(source, known);
    return { module, instance: await instantiate(module, known) };
  };
  WebAssembly.instantiate = given as typeof WebAssembly.instantiate;
}

const calls: Calls = {
  async warm(runtime) {
    try {
      if (runtime.provider === "lean") return await warmLean(runtime.module, runtime.glue);
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
  async begin(wasm, threads) {
    if (lean !== undefined) {
      lean.wasm = wasm; // it starts with each session
      return;
    }
    if (ort === undefined) throw new Error("the runtime has not arrived");
    ort.env.wasm.numThreads = threads;
    if (wasm instanceof WebAssembly.Module) hand(wasm);
    ort.env.wasm.wasmBinary = wasm instanceof ArrayBuffer ? wasm : HEADER.buffer;
  },
  async open(model) {
    const start = performance.now();
    if (lean !== undefined) {
      const { inputs, outputs, heap } = await openLean(model);
      return { inputs, outputs, milliseconds: performance.now() - start, heap };
    }
    if (ort === undefined) throw new Error("the runtime has not arrived");
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
    if (small !== undefined) return small.run(feeds);
    return run(feed(opened()[0], feeds));
  },
  async time(feeds, milliseconds) {
    const again = prepared(feeds);
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
    return small?.heap ?? heapBytes();
  },
  async keep(cache, address, content, how) {
    await (await caches.open(cache)).put(address, new Response(content, how));
  },
};

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const reply: Reply = { id: data.id };
  try {
    const call = calls[data.call] as (...args: unknown[]) => Promise<unknown>;
    reply.result = await call(...data.args);
  } catch (error) {
    reply.image = error instanceof ImageError;
    reply.error = reply.image ? (error as ImageError).message : String(error);
  }
  self.postMessage(reply);
};
