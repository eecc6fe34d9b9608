/** An engine for the pages that measure: its files are fetched by their addresses, and timed. */

import { Engine } from "./engine.js";
import type { Opened, Provider } from "./protocol.js";
import type { Tensors } from "./tensors.js";

/** Where the runtime's files lie. */
export interface Addresses {
  module: string;
  glue: string;
  wasm: string;
  provider?: Provider;
}

export interface Source {
  runtime: Addresses;
  /** Address of the model. */
  model: string;
  threads?: number;
  /** Milliseconds after which a call counts as hung; the worker is then ended. */
  limit?: number;
  /** Told the decoded bytes of wasm and model that came in. */
  onProgress?: (bytes: number) => void;
}

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

export class MeasuredEngine extends Engine {
  /** What the model is, once {@link MeasuredEngine.open} returned. */
  opened: Opened = { milliseconds: 0, heap: 0 };

  constructor(limit?: number) {
    // A build finds the worker's script by this very form.
    super(
      undefined,
      limit,
      new Worker(new URL("./measured-worker.ts", import.meta.url), { type: "module" }),
    );
  }

  /** Fetch the runtime and the model side by side, and make a session in a new worker. */
  static async open({ runtime, model, threads, limit, onProgress }: Source) {
    const engine = new MeasuredEngine(limit);
    try {
      const [module, glue, wasm, content] = await Promise.all([
        fetchBytes(runtime.module),
        fetchBytes(runtime.glue),
        fetchBytes(runtime.wasm, onProgress),
        fetchBytes(model, onProgress),
      ]);
      const { provider } = runtime;
      await engine.call("begin", [{ module, glue, wasm, provider, threads }]);
      await engine.reopen(content);
      return engine;
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** Make another model's session in the same worker; the runtime stays. */
  async reopen(model: ArrayBuffer): Promise<Opened> {
    this.opened = await this.call("timedOpen", [model], [model]);
    return this.opened;
  }

  time(feeds: Tensors, milliseconds: number): Promise<number[]> {
    return this.call("time", [feeds, milliseconds]);
  }

  heap(): Promise<number> {
    return this.call("heap", []);
  }
}
