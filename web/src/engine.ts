/** The page's side of the worker: one model, its calls in order. */

import { SpratError } from "./failure.js";
import { WORKER_LOST } from "./lost.js";
import type { Picture } from "./pixels.js";
import type { Preprocess } from "./preprocess.js";
import type { Calls, MeasuredCalls, Reply, Request, Runtime } from "./protocol.js";
import type { Tensors } from "./tensors.js";

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

const LIMIT = 120_000;

export class Engine {
  readonly #worker: Worker;
  readonly #limit: number;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #ended: Error | undefined;

  /**
   * Start a worker, while the page fetches what it is to be given.
   *
   * @param signal Ends the worker, at whatever moment it aborts.
   * @param limit Milliseconds after which a call counts as hung; the worker is then ended.
   * @param worker Another than the usual one.
   */
  constructor(
    signal?: AbortSignal,
    limit = LIMIT,
    worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }),
  ) {
    this.#limit = limit;
    this.#worker = worker;
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#settle(data);
    this.#worker.onerror = (event) => this.#end(new Error(event.message || WORKER_LOST));
    if (signal?.aborted) this.close();
    signal?.addEventListener("abort", () => this.close());
  }

  /** Put a file into a cache in a worker of its own; its content moves there. */
  static async keep(signal: AbortSignal | undefined, ...file: Parameters<Calls["keep"]>) {
    const engine = new Engine(signal);
    await engine.call("keep", file, [file[2]]).finally(() => engine.close());
  }

  /** Make the session; the model moves to the worker. */
  async start(runtime: Runtime, model: ArrayBuffer): Promise<void> {
    try {
      await this.call("begin", [runtime]);
      await this.call("open", [model], [model]);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  prepare(image: Picture, how: Preprocess): Promise<Tensors> {
    return this.call("prepare", [image, how]);
  }

  run(feeds: Tensors): Promise<Tensors> {
    return this.call("run", [feeds]);
  }

  /** End the worker; calls under way are rejected. */
  close(): void {
    this.#end(new SpratError("closed", "the model was closed"));
  }

  /** Let the worker do something. */
  call<K extends keyof MeasuredCalls>(
    call: K,
    args: Parameters<MeasuredCalls[K]>,
    transfer: Transferable[] = [],
  ): ReturnType<MeasuredCalls[K]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const done = promise as ReturnType<MeasuredCalls[K]>;
    if (this.#ended !== undefined) {
      reject(this.#ended);
      return done;
    }
    const id = this.#next++;
    const request: Request = { id, call, args };
    const timer = setTimeout(() => {
      this.#end(new Error(`'${call}' took more than ${this.#limit / 1000} s`));
    }, this.#limit);
    const over = () => {
      clearTimeout(timer);
      this.#waiting.delete(id);
    };
    promise.then(over, over);
    this.#waiting.set(id, { resolve, reject });
    try {
      this.#worker.postMessage(request, transfer);
    } catch (error) {
      // What cannot be sent is the caller's fault, and no reason to end the worker.
      reject(new SpratError("input", String(error)));
    }
    return done;
  }

  #settle({ id, result, error, code }: Reply): void {
    const waiting = this.#waiting.get(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(code === undefined ? new Error(error) : new SpratError(code, error));
  }

  /** The worker ends: every call, now and later, is rejected. */
  #end(error: Error): void {
    this.#worker.terminate();
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
  }
}
