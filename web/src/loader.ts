/**
 * Load what `sprat bundle` wrote: a small preview model answers first, the full one takes over
 * between two calls.
 */

import { type Answer, answer } from "./answers.js";
import { asFailure, type Code, SpratError } from "./failure.js";
import { Loading, type Running } from "./loading.js";
import type { Manifest, Model, Role } from "./manifest.js";
import { type Options, wanted } from "./options.js";
import { isPicture, type Picture } from "./pixels.js";
import { either, Store } from "./store.js";
import type { Tensors } from "./tensors.js";
import { fetchManifest, refresh, remembered, settle, type Version } from "./versions.js";

export type { Answer } from "./answers.js";
export { type Code, SpratError } from "./failure.js";
export type { Manifest, Role } from "./manifest.js";
export type { Options, Progress } from "./options.js";
export type { Picture } from "./pixels.js";
export type { Tensors } from "./tensors.js";

/** Milliseconds that the full model's session waits for answers under way. */
const QUIET = 1000;

export interface Result {
  /** Which model answered. */
  role: Role;
  /** In which runtime: ONNX Runtime Web or the lean one. */
  runtime: "ort" | "lean";
  /** Every output, by name. */
  outputs: Tensors;
  /** The answer, where the manifest says how to read one. */
  answer: Answer | null;
  /** Its class's name; empty without. */
  label: string;
  milliseconds: number;
}

interface Events {
  /** Another model answers from now on. */
  upgrade: Role;
  /** The full model, or a newer version, could not be loaded; what answers goes on. */
  error: SpratError;
  /** A newer version is whole in the cache; the next load uses it. */
  update: Manifest;
}

type Listeners = { [K in keyof Events]: Set<(value: Events[K]) => void> };

/** What the server may say at any time, and what a page that has a model need not know. */
const UNHEARD: Code[] = ["aborted", "network", "missing", "not-a-manifest", "address"];

/** In the words of ONNX Runtime: the model is right, and what it was given is not. */
const MISFIT = /ERROR_CODE: 2\b|in 'feeds'|tensor's|tensor type/i;

function isTensors(input: unknown): input is Tensors {
  const parts = Object.values(input ?? [null]);
  return parts.every((part) => part?.type && part.dims && ArrayBuffer.isView(part.data));
}

export class Loaded {
  readonly manifest: Manifest;
  readonly #listeners: Listeners = { upgrade: new Set(), error: new Set(), update: new Set() };
  readonly #end: AbortController;
  #running: Running;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(manifest: Manifest, running: Running, end: AbortController) {
    this.manifest = manifest;
    this.#running = running;
    this.#end = end;
  }

  /** Which model answers now. */
  get role(): Role {
    return this.#running.role;
  }

  /** Listen; returns a function that ends it. */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => void): () => void {
    this.#listeners[name].add(listener);
    return () => this.#listeners[name].delete(listener);
  }

  /** Answer an image (a file, a canvas's pixels) or ready tensors. Answers come in order. */
  run(input: Picture | Tensors): Promise<Result> {
    const result = this.#tail.then(() => this.#answer(input));
    this.#tail = result.catch(() => {});
    return result;
  }

  /** End all workers, and what still loads. */
  close(): void {
    this.#end.abort();
  }

  /** Wait for the calls that run now, a second at most: a session takes the processor from them. */
  quiet(): Promise<unknown> {
    return Promise.race([this.#tail, new Promise((done) => setTimeout(done, QUIET))]);
  }

  /** Let another model answer from the next call on; the old one ends when it is done. */
  swap(next: Running, signal: AbortSignal): void {
    this.#tail = this.#tail.then(() => {
      if (signal.aborted) return;
      this.#running.engine.close();
      this.#running = next;
      this.tell("upgrade", next.role);
    });
  }

  tell<K extends keyof Events>(name: K, value: Events[K]): void {
    for (const listener of this.#listeners[name]) {
      try {
        listener(value);
      } catch (error) {
        reportError(error); // a fault of the page's must not lose an answer
      }
    }
  }

  async #answer(input: Picture | Tensors): Promise<Result> {
    const { role, runtime, engine } = this.#running;
    const { preprocess, reading, classes } = this.manifest;
    const start = performance.now();
    try {
      const image = isPicture(input);
      if (image ? preprocess === null : !isTensors(input)) {
        const what = image ? "this model takes no images, but " : "give a Blob, ImageData or ";
        throw new SpratError("input", `${what}tensors by name: { type, dims, data }`);
      }
      const feeds = image ? await engine.prepare(input, preprocess!) : input;
      const outputs = await engine.run(feeds);
      const found = reading === null ? null : answer(outputs, reading);
      const label = found === null ? "" : (classes[found.value] ?? "");
      const milliseconds = performance.now() - start;
      return { role, runtime, outputs, answer: found, label, milliseconds };
    } catch (error) {
      throw asFailure(error, MISFIT.test(`${error}`) ? "input" : "model");
    }
  }
}

/**
 * Load a bundle.
 *
 * @param manifest Address of its `manifest.json`.
 * @param options Progress, an end, which version, and how eager to be.
 * @returns A model that answers; where there is a preview, the full model arrives behind it.
 */
export async function load(manifest: string | URL, options: Options = {}): Promise<Loaded> {
  if (typeof WebAssembly !== "object") {
    throw new SpratError("no-wasm", "this browser has no WebAssembly");
  }
  if (globalThis.crypto?.subtle === undefined) {
    throw new SpratError("insecure", "the page must come over https: files cannot be checked here");
  }
  const store = await Store.open(located(manifest));
  const kept = await remembered(store, options).catch(() => null);
  if (kept !== null) {
    try {
      return await version(kept, true, store, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      await store.cache?.delete(store.base); // what it needs is lost, here and on the server
    }
  }
  return version(await fetchManifest(store, options), false, store, options);
}

function located(manifest: string | URL): URL {
  try {
    return new URL(manifest, document.baseURI);
  } catch (cause) {
    throw new SpratError("address", `${manifest} is no address`, { cause });
  }
}

/** Load one version. */
async function version(
  current: Version,
  kept: boolean,
  store: Store,
  given: Options,
): Promise<Loaded> {
  const { manifest } = current;
  const end = new AbortController();
  const signal = either(end.signal, given.signal);
  const options = { ...given, signal };
  const models = wanted(manifest, options);
  const loading = new Loading(manifest, store, options, models, given.signal);
  const release = store.claim(manifest.version);
  const full = models.findLast((model) => !model.runtime) ?? models[models.length - 1]!;
  try {
    signal.throwIfAborted();
    // What is in the cache already needs no preview; another runtime takes over even then.
    const stored = await Promise.all(full.chunks.map((chunk) => store.has(chunk)));
    const first = stored.every(Boolean) ? full : models[0]!;
    const next = models.slice(models.indexOf(first) + 1);
    const running = await loading.engine(first, next[0]);
    signal.throwIfAborted();
    const loaded = new Loaded(manifest, running, end);
    // The page's first calls, which come now, go before.
    setTimeout(() => loaded.quiet().then(() => loading.calm()));
    const after = async () => {
      release();
      if (kept) {
        // A page that names its version looks for no other.
        if (given.integrity !== undefined) return;
        const newer = await refresh(store, current, options);
        if (newer !== null) loaded.tell("update", newer);
      } else {
        // A close does not undo a first visit.
        await settle(store, current, given.integrity !== undefined, given);
      }
    };
    void behind(loaded, loading, next, signal, after).finally(release);
    return loaded;
  } catch (error) {
    release();
    end.abort();
    throw asFailure(error, "network", given.signal);
  }
}

/** Let each further model take over when it is ready. */
async function behind(
  loaded: Loaded,
  loading: Loading,
  next: Model[],
  signal: AbortSignal,
  after: () => Promise<void>,
): Promise<void> {
  const told = (unheard: Code[]) => (error: unknown) => {
    const failure = asFailure(error, "network", signal);
    if (!unheard.includes(failure.code)) loaded.tell("error", failure);
  };
  try {
    for (const [i, model] of next.entries()) {
      loaded.swap(await loading.engine(model, next[i + 1], () => loaded.quiet()), signal);
    }
  } catch (error) {
    return told(["aborted"])(error);
  }
  await after().catch(told(UNHEARD));
}
