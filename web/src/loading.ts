/** Make the models of one version ready. */

import { Engine } from "./engine.js";
import { asFailure, SpratError } from "./failure.js";
import { WORKER_LOST } from "./lost.js";
import { allFiles, type File, type Manifest, type Model, type Role } from "./manifest.js";
import { fetching, type Options } from "./options.js";
import { digest, type Fetching, type Keeper, type Store } from "./store.js";

/** Attempts to start a worker whose script got lost. */
const WORKERS = 3;

/** What one call works with; swapped as a whole. */
export interface Running {
  role: Role;
  runtime: "ort" | "lean";
  engine: Engine;
}

export class Loading {
  readonly #manifest: Manifest;
  readonly #store: Store;
  readonly #options: Options;
  readonly #visit: AbortSignal | undefined;
  readonly #total: number;
  readonly #got = new Map<File | Model | string, Promise<unknown>>();
  readonly #calm = Promise.withResolvers<void>();
  #loaded = 0;

  /**
   * @param options Its signal ends what loads.
   * @param visit Ends what a visit leaves in the cache, too; a mere close does not.
   */
  constructor(
    manifest: Manifest,
    store: Store,
    options: Options,
    models: Model[],
    visit: AbortSignal | undefined,
  ) {
    this.#manifest = manifest;
    this.#store = store;
    this.#options = options;
    this.#visit = visit;
    this.#total = allFiles(manifest, models).reduce((sum, file) => sum + file.bytes, 0);
    options.signal?.addEventListener("abort", () => this.calm());
  }

  /** Keep what is large from now on: the first answers are out. */
  calm(): void {
    this.#calm.resolve();
  }

  #fetching(): Fetching {
    const onBytes = (bytes: number) => {
      this.#loaded += bytes;
      this.#options.onProgress?.({ loaded: this.#loaded, total: this.#total });
    };
    return { ...fetching(this.#options), onBytes };
  }

  /** Get something once, however many models need it. */
  #once<T>(name: Model | string, get: () => Promise<T>): Promise<T> {
    const known = (this.#got.get(name) as Promise<T> | undefined) ?? get();
    this.#got.set(name, known);
    return known;
  }

  #script(file: File): Promise<ArrayBuffer> {
    return this.#once(file.path, () => this.#store.get(file, this.#fetching()));
  }

  #core(wasm: File): Promise<WebAssembly.Module> {
    return this.#once(wasm.path, () => this.#compiled(wasm));
  }

  /** Compile a runtime while it comes in; it is used only when its bytes are checked. */
  async #compiled(wasm: File): Promise<WebAssembly.Module> {
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
      await this.#core(wasm); // it is compiled from what moves to the worker here
      await this.#calm.promise;
      if (this.#visit?.aborted) return;
      return Engine.keep(this.#visit, this.#store.name, ...file);
    };
    const content = await this.#store.get(wasm, { ...this.#fetching(), onBody, keeper });
    return (await early) ?? WebAssembly.compile(content).catch(lacking);
  }

  #model(model: Model): Promise<ArrayBuffer> {
    return this.#once(model, () => this.#joined(model));
  }

  /** Fetch a model's chunks side by side, and join them. */
  async #joined(model: Model): Promise<ArrayBuffer> {
    const how = this.#fetching();
    const whole = new Uint8Array(model.bytes);
    let start = 0;
    await Promise.all(
      model.chunks.map(async (chunk) => {
        const at = start;
        start += chunk.bytes;
        whole.set(new Uint8Array(await this.#store.get(chunk, how)), at);
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
    const { kind = "ort", ...files } = model.runtime ?? this.#manifest.runtime;
    const { signal, threads } = this.#options;
    const spawn = () => new Engine(signal);
    const early = spawn();
    try {
      const [module, glue, wasm, content] = await Promise.all([
        this.#script(files.module),
        this.#script(files.glue),
        this.#core(files.wasm),
        this.#model(model),
      ]);
      if (next !== undefined) this.#model(next).catch(() => {}); // said when its turn comes
      await quiet();
      const provider = kind === "lean" ? kind : "wasm";
      const runtime = { provider, module, glue, wasm, threads } as const;
      const engine = await started(early, spawn, (one) => one.start(runtime, content.slice(0)));
      this.#got.delete(model); // the session has what it needs
      return { role: model.role, runtime: kind, engine };
    } catch (error) {
      early.close();
      throw error;
    }
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
  spawn: () => Engine,
  start: (engine: Engine) => Promise<unknown>,
): Promise<Engine> {
  for (let attempt = 1, engine = early; ; attempt++, engine = spawn()) {
    try {
      await start(engine);
      return engine;
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
