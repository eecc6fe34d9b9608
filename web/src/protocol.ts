/** What the page and its worker say to each other. */

import type { Code } from "./failure.js";
import type { Picture } from "./pixels.js";
import type { Preprocess } from "./preprocess.js";
import type { Tensors } from "./tensors.js";

export type Provider = "wasm" | "webgpu" | "lean";

/** The wasm file's bytes, or what they compile to, which several workers can share. */
export type Wasm = ArrayBuffer | WebAssembly.Module;

/** The runtime's files, as the page fetched and checked them: the worker itself fetches nothing. */
export interface Runtime {
  /** `ort.wasm.min.mjs` or another build of ONNX Runtime Web; `lean.mjs` of the lean runtime. */
  module: ArrayBuffer;
  /** The script that goes with the wasm file; the lean runtime's second wasm file. */
  glue: ArrayBuffer;
  wasm: Wasm;
  /** What computes; WebAssembly where nothing is said. */
  provider?: Provider | undefined;
  threads?: number | undefined;
}

/** The worker's calls: name to arguments and result. */
export interface Calls {
  /** Import the runtime's scripts; it starts with the first session. */
  begin: (runtime: Runtime) => Promise<void>;
  /** Make a session in the runtime that runs; the one before it ends. */
  open: (model: ArrayBuffer) => Promise<void>;
  prepare: (image: Picture, how: Preprocess) => Promise<Tensors>;
  run: (feeds: Tensors) => Promise<Tensors>;
  /** Put a file into a cache. */
  keep: (cache: string, address: string, content: ArrayBuffer) => Promise<void>;
}

export interface Opened {
  /** Milliseconds to make the session; for the first one the runtime's start is included. */
  milliseconds: number;
  heap: number;
}

/** And those of the worker that measures. */
export interface MeasuredCalls extends Calls {
  timedOpen: (model: ArrayBuffer) => Promise<Opened>;
  /** Run again and again for so many milliseconds, at least once; returns each run's own. */
  time: (feeds: Tensors, milliseconds: number) => Promise<number[]>;
  heap: () => Promise<number>;
}

export interface Request {
  id: number;
  call: string;
  args: unknown[];
}

export interface Reply {
  id: number;
  result?: unknown;
  error?: string;
  /** Where the worker knows more than that the call failed. */
  code?: Code | undefined;
}
