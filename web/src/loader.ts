/**
 * Load what `sprat bundle` wrote: a small preview model answers first, the full one takes over
 * between two calls.
 */

import { type Answer, answer } from "./answers.js";
import { asFailure, SpratError } from "./failure.js";
import { Loading, type Running } from "./loading.js";
import type { Manifest, Model, Role } from "./manifest.js";
import { type Options, wanted } from "./options.js";
import { isPicture, type Picture } from "./pixels.js";
import { claim, openCache, Store } from "./store.js";
import type { Tensors } from "./tensors.js";
import { fetchManifest, refresh, remembered, settle } from "./versions.js";

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
  /** The full model could not be loaded; the preview goes on. */
  error: SpratError;
  /** A newer version is whole in the cache; the next load uses it. */
  update: Manifest;
}

type Listeners = { [K in keyof Events]: Set<(value: Events[K]) => void> };

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
    this.#running.engine.close();
  }

  /** Wait for the calls that run now, a second at most: a session takes the processor from them. */
  quiet(): Promise<unknown> {
    return Promise.race([this.#tail, new Promise((done) => setTimeout(done, QUIET))]);
  }

  /** Let another model answer from the next call on; the old one ends when it is done. */
  swap(next: Running): void {
    this.#tail = this.#tail.then(() => {
      if (this.#end.signal.aborted) return next.engine.close();
      const before = this.#running;
      this.#running = next;
      before.engine.close();
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
      if (image && preprocess === null) {
        throw new SpratError("model", "this model takes no images");
      }
      const feeds = image ? await engine.prepare(input, preprocess!) : input;
      const outputs = await engine.run(feeds);
      const found = reading === null ? null : answer(outputs, reading);
      const label = found === null ? "" : (classes[found.value] ?? "");
      const milliseconds = performance.now() - start;
      return { role, runtime, outputs, answer: found, label, milliseconds };
    } catch (error) {
      throw asFailure(error, "model");
    }
  }
}

/**
 * Load a bundle.
 *
 * @param manifest Address of its `manifest.json`.
 * @param options Progress, an end, and how eager to be.
 * @returns A model that answers; where there is a preview, the full model arrives behind it.
 */
export async function load(manifest: string | URL, options: Options = {}): Promise<Loaded> {
  if (typeof WebAssembly !== "object") {
    throw new SpratError("no-wasm", "this browser has no WebAssembly");
  }
  if (globalThis.crypto?.subtle === undefined) {
    throw new SpratError("insecure", "the page must come over https: files cannot be checked here");
  }
  const address = new URL(manifest, document.baseURI);
  const cache = await openCache(address);
  const kept = await remembered(cache, address).catch(() => null);
  if (kept !== null) {
    try {
      return await version(kept, true, cache, address, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      await cache?.delete(address); // what it needs is lost, here and on the server
    }
  }
  const current = await fetchManifest(address, options);
  return version(current, false, cache, address, options);
}

/** Load one version. */
async function version(
  current: Manifest,
  kept: boolean,
  cache: Cache | null,
  address: URL,
  given: Options,
): Promise<Loaded> {
  const end = new AbortController();
  const signals = given.signal === undefined ? [end.signal] : [end.signal, given.signal];
  const options = { ...given, signal: AbortSignal.any(signals) };
  const store = new Store(address, cache);
  const models = wanted(current, options);
  const loading = new Loading(current, store, options, models);
  const release = claim(address.pathname, current.version);
  const full = models.findLast((model) => !model.runtime) ?? models[models.length - 1]!;
  // What is in the cache already needs no preview; another runtime takes over even then.
  const stored = await Promise.all(full.chunks.map((chunk) => store.has(chunk)));
  const first = stored.every(Boolean) ? full : models[0]!;
  try {
    const next = models.slice(models.indexOf(first) + 1);
    const running = await loading.engine(first, next[0]);
    const loaded = new Loaded(current, running, end);
    // The page's first calls, which come now, go before.
    setTimeout(() => loaded.quiet().then(() => loading.calm()));
    const after = async () => {
      release();
      // A close does not undo a first visit.
      if (!kept) await settle(cache, address, current, false, given);
      const newer = kept ? await refresh(cache, address, current, options) : null;
      if (newer !== null) loaded.tell("update", newer);
    };
    void behind(loaded, loading, next, after).finally(release);
    return loaded;
  } catch (error) {
    release();
    end.abort();
    throw asFailure(error, "network");
  }
}

/** Let each further model take over when it is ready. */
async function behind(
  loaded: Loaded,
  loading: Loading,
  next: Model[],
  after: () => Promise<void>,
): Promise<void> {
  try {
    for (const [i, model] of next.entries()) {
      loaded.swap(await loading.engine(model, next[i + 1], () => loaded.quiet()));
    }
    await after();
  } catch (error) {
    const failure = asFailure(error, "network");
    if (failure.code === "aborted") return;
    if (next.length > 0 || failure.code !== "network") loaded.tell("error", failure);
  }
}
