/** Inference, away from the page's own thread. */

import type * as Ort from "onnxruntime-web";
import type { SpratError } from "./failure.js";
import type * as Lean from "./lean/index.js";
import { decodeImage } from "./pixels.js";
import { toTensor } from "./preprocess.js";
import type { Calls, Provider, Reply, Request, Wasm } from "./protocol.js";
import type { Tensors } from "./tensors.js";

type Library = typeof Ort;

/** Makes a model's session, and what answers with it. */
let make: (model: ArrayBuffer) => Promise<Session> = async () => {
  throw new Error("the runtime has not arrived");
};

interface Session {
  /** Make a run that can be repeated at once. */
  prepared: (feeds: Tensors) => () => Tensors | Promise<Tensors>;
  release?: () => Promise<void>;
}

let session: Session | undefined;

export function opened(): Session {
  if (session === undefined) throw new Error("no model is open");
  return session;
}

function inOrt({ InferenceSession, Tensor }: Library, provider: Provider): typeof make {
  const Given = Tensor as unknown as new (t: string, d: unknown, s: number[]) => Ort.Tensor;
  return async (model) => {
    const made = await InferenceSession.create(new Uint8Array(model), {
      executionProviders: [provider],
    });
    return {
      prepared: (feeds) => {
        const given: Record<string, Ort.Tensor> = {};
        for (const [name, { type, dims, data }] of Object.entries(feeds)) {
          given[name] = new Given(type, data, dims);
        }
        return async () => {
          const tensors: Tensors = {};
          for (const [name, { type, dims, data }] of Object.entries(await made.run(given))) {
            tensors[name] = { type, dims: [...dims], data: data as unknown as ArrayBufferView };
          }
          return tensors;
        };
      },
      release: () => made.release(),
    };
  };
}

function inLean({ openFile }: typeof Lean, helper: WebAssembly.Module, wasm: Wasm): typeof make {
  return async (model) => {
    const made = await openFile(wasm, helper, model);
    return { prepared: (feeds) => () => made.run(feeds) };
  };
}

/** Give checked bytes an address: an address on the network may give others the next time. */
function placed(script: ArrayBuffer): string {
  return URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
}

async function imported<T>(script: ArrayBuffer): Promise<T> {
  const address = placed(script);
  return import(/* @vite-ignore */ /* webpackIgnore: true */ address).catch((cause) => {
    throw new Error(`${cause} (the page's policy needs "script-src blob:")`);
  });
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

export const calls: Calls = {
  async begin({ provider = "wasm", module, glue, wasm, threads = 1 }) {
    if (provider === "lean") {
      make = inLean(await imported(module), await WebAssembly.compile(glue), wasm);
      return;
    }
    const ort = await imported<Library>(module);
    ort.env.logLevel = "error";
    ort.env.wasm.wasmPaths = { mjs: placed(glue) };
    ort.env.wasm.numThreads = threads;
    if (wasm instanceof WebAssembly.Module) hand(wasm);
    ort.env.wasm.wasmBinary = wasm instanceof ArrayBuffer ? wasm : HEADER.buffer;
    make = inOrt(ort, provider);
  },
  async open(model) {
    await session?.release?.();
    session = undefined; // its memory may go before the next one's comes
    session = await make(model);
  },
  async prepare(image, how) {
    return { [how.input]: toTensor(await decodeImage(image), how) };
  },
  async run(feeds) {
    return opened().prepared(feeds)();
  },
  async keep(cache, address, content) {
    await (await caches.open(cache)).put(address, new Response(content));
  },
};

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const reply: Reply = { id: data.id };
  try {
    const call = calls[data.call as keyof Calls] as (...args: unknown[]) => Promise<unknown>;
    reply.result = await call(...data.args);
  } catch (error) {
    // The lean runtime has its own copy of the class; a DOMException's code is a number.
    const { name, code, message } = error as SpratError;
    if (name === "SpratError") reply.code = code;
    reply.error = reply.code === undefined ? String(error) : message;
  }
  self.postMessage(reply);
};
