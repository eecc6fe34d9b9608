/**
 * Load what `sprat bundle` wrote: a small preview model answers first, the full one takes over
 * between two calls.
 */

import { type Answer, answer } from "./answers.js";
import { Engine } from "./engine.js";
import { asFailure, SpratError } from "./failure.js";
import { WORKER_LOST } from "./lost.js";
import {
  allFiles,
  type Manifest,
  type Model,
  parseManifest,
  type Role,
  type RuntimeFiles,
} from "./manifest.js";
import type { Runtime } from "./protocol.js";
import {
  alone,
  claim,
  claimed,
  digest,
  type Fetching,
  type Keeper,
  openCache,
  persistently,
  RETRY,
  type Retry,
  Store,
} from "./store.js";
import type { Tensors } from "./tensors.js";

export type { Answer } from "./answers.js";
export { type Code, SpratError } from "./failure.js";
export type { Manifest, Role } from "./manifest.js";
export type { Tensors } from "./tensors.js";

/** Attempts to start a worker whose script got lost. */
const WORKERS = 3;
/** Milliseconds that the full model's session waits for answers under way. */
const QUIET = 1000;

export interface Progress {
  /** Decoded bytes so far, and of everything that is to come. */
  loaded: number;
  total: number;
}

export interface Options {
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
  /** `always` loads the full model even where the visitor asked to save data. */
  full?: "auto" | "always" | "never";
  threads?: number;
  retry?: Partial<Retry>;
}

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

/** What one call works with; swapped as a whole. */
interface Running {
  role: Role;
  runtime: "ort" | "lean";
  engine: Engine;
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

  /** Answer an image (a file, a canvas's blob) or ready tensors. Answers come in order. */
  run(input: Blob | Tensors): Promise<Result> {
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

  async #answer(input: Blob | Tensors): Promise<Result> {
    const { role, runtime, engine } = this.#running;
    const { preprocess, reading, classes } = this.manifest;
    const start = performance.now();
    try {
      if (input instanceof Blob && preprocess === null) {
        throw new SpratError("model", "this model takes tensors, not images");
      }
      const feeds = input instanceof Blob ? await engine.prepare(input, preprocess!) : input;
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

/** The list of the last version that was whole, or null; its files may be lost since. */
async function remembered(cache: Cache | null, address: URL): Promise<Manifest | null> {
  const kept = await cache?.match(address);
  return kept === undefined ? null : parseManifest(await kept.text());
}

function fetchManifest(address: URL, options: Options): Promise<Manifest> {
  const { signal } = options;
  const fetching = { signal, retry: stubborn(options) };
  return persistently("the manifest", fetching, async (attempt) => {
    const cache = attempt === 0 ? "default" : "reload";
    const end = AbortSignal.timeout(fetching.retry.silence);
    const either = signal === undefined ? end : AbortSignal.any([signal, end]);
    const response = await fetch(address, { cache, signal: either });
    if (!response.ok) throw new SpratError("network", `HTTP ${response.status} for the manifest`);
    const manifest = parseManifest(await response.text());
    if (manifest === null) throw new SpratError("manifest", "the manifest is none of this version");
    return manifest;
  });
}

function stubborn(options: Options): Retry {
  return { ...RETRY, ...options.retry };
}

function savesData(): boolean {
  const connection = (navigator as { connection?: { saveData?: boolean } }).connection;
  return connection?.saveData === true;
}

function wanted(manifest: Manifest, options: Options): Model[] {
  const full = options.full ?? "auto";
  const lean = full === "never" || (full === "auto" && savesData());
  const previews = manifest.models.filter((model) => model.role === "preview");
  return lean && previews.length > 0 ? previews : manifest.models;
}

class Loading {
  readonly #manifest: Manifest;
  readonly #store: Store;
  readonly #options: Options;
  readonly #total: number;
  readonly #cores = new Map<string, Promise<WebAssembly.Module>>();
  readonly #models = new Map<Model, Promise<ArrayBuffer>>();
  readonly #calm = Promise.withResolvers<void>();
  #loaded = 0;

  constructor(manifest: Manifest, store: Store, options: Options, models: Model[]) {
    this.#manifest = manifest;
    this.#store = store;
    this.#options = options;
    const cores = models.flatMap((model) => model.runtime?.wasm ?? []);
    const files = [manifest.runtime.wasm, ...cores, ...models.flatMap((model) => model.chunks)];
    this.#total = files.reduce((sum, file) => sum + file.bytes, 0);
    options.signal?.addEventListener("abort", () => this.calm());
  }

  /** Keep what is large from now on: the first answers are out. */
  calm(): void {
    this.#calm.resolve();
  }

  readonly #onBytes = (bytes: number): void => {
    this.#loaded += bytes;
    this.#options.onProgress?.({ loaded: this.#loaded, total: this.#total });
  };

  #fetching(counted = true): Fetching {
    const { signal } = this.#options;
    const onBytes = counted ? this.#onBytes : () => {};
    return { signal, onBytes, retry: stubborn(this.#options) };
  }

  /** Get a runtime once, however many models need it. */
  #core(runtime: RuntimeFiles): Promise<WebAssembly.Module> {
    const known = this.#cores.get(runtime.wasm.path);
    const core = known ?? this.#compiled(runtime);
    this.#cores.set(runtime.wasm.path, core);
    return core;
  }

  /** Compile a runtime while it comes in; it is used only when its bytes are checked. */
  async #compiled(runtime: RuntimeFiles): Promise<WebAssembly.Module> {
    let early: Promise<WebAssembly.Module | null> = Promise.resolve(null);
    const onBody: Fetching["onBody"] = (body) => {
      const module =
        body instanceof ArrayBuffer
          ? WebAssembly.compile(body)
          : WebAssembly.compileStreaming(
              new Response(body, { headers: { "content-type": "application/wasm" } }),
            );
      early = module.catch(() => null);
    };
    const keeper: Keeper = async (...file) => {
      await this.#core(runtime); // it is compiled from what moves to the worker here
      await this.#calm.promise;
      return Engine.keep(this.#store.name, ...file);
    };
    const fetching = { ...this.#fetching(), onBody, keeper };
    const content = await this.#store.get(runtime.wasm, fetching);
    return (await early) ?? WebAssembly.compile(content).catch(lacking);
  }

  /** Get a model once. */
  #model(model: Model): Promise<ArrayBuffer> {
    const known = this.#models.get(model) ?? this.#joined(model);
    this.#models.set(model, known);
    return known;
  }

  /** Fetch a model's chunks side by side, and join them. */
  async #joined(model: Model): Promise<ArrayBuffer> {
    const fetching = this.#fetching();
    const whole = new Uint8Array(model.bytes);
    let start = 0;
    await Promise.all(
      model.chunks.map(async (chunk) => {
        const at = start;
        start += chunk.bytes;
        whole.set(new Uint8Array(await this.#store.get(chunk, fetching)), at);
      }),
    );
    if ((await digest(whole.buffer)) !== model.sha256) {
      throw new SpratError("integrity", `the chunks do not make the ${model.role} model`);
    }
    return whole.buffer;
  }

  /** Make a model ready; when all bytes are there the next one's are fetched, and `quiet` waited for. */
  async engine(
    model: Model,
    next?: Model,
    quiet: () => Promise<unknown> = async () => {},
  ): Promise<Running> {
    const files = model.runtime ?? this.#manifest.runtime;
    const { kind = "ort", module, glue, wasm } = files;
    const runtime: Runtime = {
      provider: kind === "lean" ? "lean" : "wasm",
      module: this.#store.address(module).href,
      glue: this.#store.address(glue).href,
      wasm: this.#store.address(wasm).href,
    };
    const threads = this.#options.threads ?? 1;
    const early = Engine.spawn(runtime);
    let core: WebAssembly.Module;
    let content: ArrayBuffer;
    try {
      // The worker imports both scripts by itself; here they are checked, and kept for it.
      const scripts = [module, glue].map((script) =>
        this.#store.get(script, this.#fetching(false)),
      );
      const needed = [this.#core(files), this.#model(model), ...scripts] as const;
      [core, content] = await Promise.all(needed);
      if (next !== undefined) this.#model(next).catch(() => {}); // said when its turn comes
      await quiet();
    } catch (error) {
      early.close();
      throw error;
    }
    const engine = await started(early, runtime, (found) =>
      found.start(core, content.slice(0), threads),
    );
    return { role: model.role, runtime: kind, engine };
  }
}

/** The runtime's bytes are right: what does not compile them lacks something. */
function lacking(cause: unknown): never {
  throw new SpratError("no-wasm", "this browser has no WebAssembly with SIMD", { cause });
}

/** Fetch the worker's script around the HTTP cache, which may hold what is broken for ever. */
async function renewWorker(): Promise<void> {
  const scripts = performance.getEntriesByType("resource").map((entry) => entry.name);
  for (const address of new Set(scripts.filter((name) => /\/worker[^/]*\.js$/.test(name)))) {
    await fetch(address, { cache: "reload" }).catch(() => {});
  }
}

/** Make a session; where the worker's script got lost, in a worker that is started again. */
async function started(
  early: Engine,
  runtime: Runtime,
  start: (engine: Engine) => Promise<Engine>,
): Promise<Engine> {
  for (let attempt = 1, engine = early; ; attempt++, engine = Engine.spawn(runtime)) {
    try {
      return await start(engine);
    } catch (error) {
      const failure = asFailure(error, "model");
      const lost = failure.message.includes(WORKER_LOST);
      if (!lost || attempt === WORKERS) {
        throw lost ? new SpratError("network", WORKER_LOST, { cause: error }) : failure;
      }
      await renewWorker();
    }
  }
}

/** Remember a version that is whole in the cache, and remove what no tab needs. */
async function settle(
  cache: Cache | null,
  address: URL,
  manifest: Manifest,
  kept: boolean,
  options: Options,
): Promise<boolean> {
  if (cache === null) return false;
  const store = new Store(address, cache);
  const files = allFiles(manifest, wanted(manifest, options));
  const fetching = { signal: options.signal, retry: stubborn(options) };
  for (const file of files) if (!(await store.keep(file, fetching))) return false;
  return alone(address.pathname, options.signal, async () => {
    // Meanwhile a tab with another version may have removed what that one does not need.
    for (const file of files) if (!(await store.has(file))) return false;
    // Or it remembered a version that is newer than what this first visit began with.
    if (!kept && (await cache.match(address))) return false;
    await cache.put(address, new Response(JSON.stringify(manifest)));
    if (await claimed(address.pathname, manifest.version)) return true;
    const needed = new Set([address.href, ...files.map((file) => store.address(file).href)]);
    for (const request of await cache.keys()) {
      if (!needed.has(request.url)) await cache.delete(request);
    }
    return true;
  });
}

/** Look for a newer version once the page answers; the next load uses it when it is whole. */
async function refresh(
  loaded: Loaded,
  cache: Cache | null,
  address: URL,
  options: Options,
): Promise<void> {
  const manifest = await fetchManifest(address, options);
  const settled = await settle(cache, address, manifest, true, options);
  if (settled && manifest.version !== loaded.manifest.version) loaded.tell("update", manifest);
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
      if (kept) await refresh(loaded, cache, address, options);
      else await settle(cache, address, current, false, given); // a close does not undo a visit
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
