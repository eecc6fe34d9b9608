/** What the page and its worker say to each other. */

import type { Picture } from "./pixels.js";
import type { Preprocess } from "./preprocess.js";
import type { Tensors } from "./tensors.js";

export type Provider = "wasm" | "webgpu" | "lean";

/** Where the runtime's two small files lie; its wasm comes as bytes. */
export interface Runtime {
  /** `ort.wasm.min.mjs` or another build of ONNX Runtime Web; `lean.mjs` of the lean runtime. */
  module: string;
  /** The script that goes with the wasm file; the lean runtime's second wasm file. */
  glue: string;
  /** The wasm file. */
  wasm: string;
  /** What computes; WebAssembly where nothing is said. */
  provider?: Provider;
}

/** The wasm file's bytes, or what they compile to, which several workers can share. */
export type Wasm = ArrayBuffer | WebAssembly.Module;

export interface Opened {
  inputs: string[];
  outputs: string[];
  /** Milliseconds to make the session; for the first one the runtime's start is included. */
  milliseconds: number;
  heap: number;
}

/** The worker's calls: name to arguments and result. */
export interface Calls {
  /** Get the runtime's scripts. */
  warm: (runtime: Runtime) => Promise<void>;
  /** Tell what the runtime is made of; it starts with the first session. */
  begin: (wasm: Wasm, threads: number) => Promise<void>;
  /** Make a session in the runtime that runs; the one before it ends. */
  open: (model: ArrayBuffer) => Promise<Opened>;
  prepare: (image: Picture, how: Preprocess) => Promise<Tensors>;
  run: (feeds: Tensors) => Promise<Tensors>;
  /** Run again and again for so many milliseconds, at least once; returns each run's own. */
  time: (feeds: Tensors, milliseconds: number) => Promise<number[]>;
  heap: () => Promise<number>;
  /** Put a file into a cache. */
  keep: (cache: string, address: string, content: ArrayBuffer, how: ResponseInit) => Promise<void>;
}

export interface Request {
  id: number;
  call: keyof Calls;
  args: unknown[];
}

export interface Reply {
  id: number;
  result?: unknown;
  error?: string;
  /** The error is the image's, not the model's. */
  image?: boolean;
}
