/** Make the models of one version ready. */

import { Engine } from "./engine.js";
import { asFailure, SpratError } from "./failure.js";
import { WORKER_LOST } from "./lost.js";
import type { Manifest, Model, Role, RuntimeFiles } from "./manifest.js";
import { type Options, stubborn } from "./options.js";
import type { Runtime } from "./protocol.js";
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
    this.#models.delete(model); // the session has what it needs
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
