/** The page's side of the worker: one model, its calls in order. */

import { SpratError } from "./failure.js";
import { WORKER_LOST } from "./lost.js";
import type { Picture } from "./pixels.js";
import type { Preprocess } from "./preprocess.js";
import type { Calls, Opened, Reply, Request, Runtime, Wasm } from "./protocol.js";
import type { Tensors } from "./tensors.js";

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

export interface Source {
  runtime: Runtime;
  /** Address of the model. */
  model: string;
  threads?: number;
  /** Milliseconds after which a call counts as hung; the worker is then ended. */
  limit?: number;
  /** Told the decoded bytes that came in. */
  onProgress?: (bytes: number) => void;
}

const LIMIT = 120_000;

/** Fetch a file; a page that says "not found" in HTML is an error, not a model. */
export async function fetchBytes(
  address: string,
  onProgress: (bytes: number) => void = () => {},
): Promise<ArrayBuffer> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`HTTP ${response.status} for ${address}`);
  if (response.body === null) return response.arrayBuffer();
  const watched = response.body.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(chunk, controller) {
        onProgress(chunk.byteLength);
        controller.enqueue(chunk);
      },
    }),
  );
  return new Response(watched).arrayBuffer();
}

export class Engine {
  readonly #worker: Worker;
  readonly #limit: number;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #ended: Error | undefined;
  #warm: Promise<unknown> = Promise.resolve();
  /** What the model is, once {@link Engine.open} returned. */
  opened: Opened = { inputs: [], outputs: [], milliseconds: 0, heap: 0 };

  private constructor(limit: number) {
    this.#limit = limit;
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#settle(data);
    this.#worker.onerror = (event) => this.#fail(new Error(event.message || WORKER_LOST));
  }

  /** Fetch the runtime and the model side by side, and make a session in a new worker. */
  static async open(source: Source): Promise<Engine> {
    const address = (path: string) => new URL(path, document.baseURI).href;
    const runtime = {
      ...source.runtime,
      module: address(source.runtime.module),
      glue: address(source.runtime.glue),
      wasm: address(source.runtime.wasm),
    };
    const engine = Engine.spawn(runtime, source.limit);
    try {
      const [wasm, model] = await Promise.all([
        fetchBytes(source.runtime.wasm, source.onProgress),
        fetchBytes(source.model, source.onProgress),
      ]);
      return await engine.start(wasm, model, source.threads);
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** Start a worker that gets the runtime's scripts while the page fetches the rest. */
  static spawn(runtime: Runtime, limit = LIMIT): Engine {
    const engine = new Engine(limit);
    engine.#warm = engine.#call("warm", [runtime]);
    engine.#warm.catch(() => {}); // said when the session is made
    return engine;
  }

  /** Put a file into a cache in a worker of its own; its content moves there. */
  static async keep(...file: Parameters<Calls["keep"]>): Promise<void> {
    const engine = new Engine(LIMIT);
    await engine.#call("keep", file, [file[2]]).finally(() => engine.close());
  }

  /** Make the session; buffers move to the worker, a module stays here as well. */
  async start(wasm: Wasm, model: ArrayBuffer, threads = 1): Promise<Engine> {
    try {
      await this.#warm;
      await this.#call("begin", [wasm, threads], wasm instanceof ArrayBuffer ? [wasm] : []);
      this.opened = (await this.#call("open", [model], [model])) as Opened;
      return this;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Make another model's session in the same worker; the runtime stays. */
  async reopen(model: ArrayBuffer): Promise<Opened> {
    this.opened = (await this.#call("open", [model], [model])) as Opened;
    return this.opened;
  }

  prepare(image: Picture, how: Preprocess): Promise<Tensors> {
    return this.#call("prepare", [image, how]) as ReturnType<Calls["prepare"]>;
  }

  run(feeds: Tensors): Promise<Tensors> {
    return this.#call("run", [feeds]) as ReturnType<Calls["run"]>;
  }

  time(feeds: Tensors, milliseconds: number): Promise<number[]> {
    return this.#call("time", [feeds, milliseconds]) as ReturnType<Calls["time"]>;
  }

  heap(): Promise<number> {
    return this.#call("heap", []) as ReturnType<Calls["heap"]>;
  }

  /** End the worker; calls under way are rejected. */
  close(): void {
    this.#worker.terminate();
    this.#fail(new Error("the engine was closed"));
  }

  #call(call: keyof Calls, args: unknown[], transfer: Transferable[] = []): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = this.#next++;
    const request: Request = { id, call, args };
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    const timer = setTimeout(() => {
      this.#worker.terminate();
      this.#fail(new Error(`'${call}' took more than ${this.#limit / 1000} s`));
    }, this.#limit);
    try {
      this.#worker.postMessage(request, transfer);
    } catch (error) {
      // What cannot be sent is the caller's fault, and no reason to end the worker.
      this.#waiting.delete(id);
      reject(error instanceof Error ? error : new Error(String(error)));
    }
    return promise.finally(() => clearTimeout(timer));
  }

  #settle({ id, result, error, image }: Reply): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(image ? new SpratError("image", error) : new Error(error));
  }

  /** The worker is gone: every call, now and later, is rejected. */
  #fail(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
