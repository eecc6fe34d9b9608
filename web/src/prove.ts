/** The page that `sprat prove` drives: it does what it is told and measures. */

import { type Addresses, fetchBytes, MeasuredEngine } from "./measured.js";
import type { Preprocess } from "./preprocess.js";
import type { Opened } from "./protocol.js";
import { decode, encode, type Tensors } from "./tensors.js";

interface Opening {
  runtime: Addresses;
  model: string;
  threads: number;
  limit: number;
}

interface Adapter {
  info: { vendor: string; architecture: string };
}

const engines = new Map<string, MeasuredEngine>();

function engine(name: string): MeasuredEngine {
  const found = engines.get(name);
  if (found === undefined) throw new Error(`nothing is open as ${name}`);
  return found;
}

async function tensors(address: string): Promise<Tensors> {
  return decode(await fetchBytes(address));
}

async function send(address: string, content: Tensors): Promise<void> {
  const response = await fetch(address, { method: "POST", body: encode(content) });
  if (!response.ok) throw new Error(`HTTP ${response.status} for ${address}`);
}

const prove = {
  isolated: globalThis.crossOriginIsolated,

  /** What WebGPU computes on; empty without it. */
  async adapter(): Promise<string> {
    const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
    const info = (await gpu?.requestAdapter())?.info;
    return info === undefined ? "" : `${info.vendor} ${info.architecture}`.trim();
  },

  async open(name: string, { runtime, model, threads, limit }: Opening): Promise<Opened> {
    engines.get(name)?.close();
    engines.delete(name);
    const opened = await MeasuredEngine.open({ runtime, model, threads, limit });
    engines.set(name, opened);
    return opened.opened;
  },

  /** Milliseconds of one run, from the page: the messages to the worker and back included. */
  async first(name: string, sample: string): Promise<number> {
    const feeds = await tensors(sample);
    const start = performance.now();
    await engine(name).run(feeds);
    return performance.now() - start;
  },

  /** Answer samples `from` to `to` and send what came out. */
  async answer(name: string, from: number, to: number): Promise<void> {
    for (let i = from; i < to; i++) {
      const feeds = await tensors(`./samples/${i}.safetensors`);
      await send(`./answers/${name}/${i}`, await engine(name).run(feeds));
    }
  },

  /** Preprocess images `from` to `to`, answer each, and send the inputs and the answers. */
  async look(name: string, how: Preprocess, from: number, to: number): Promise<void> {
    for (let i = from; i < to; i++) {
      const response = await fetch(`./images/${i}`);
      if (!response.ok) throw new Error(`HTTP ${response.status} for image ${i}`);
      const feeds = await engine(name).prepare(await response.blob(), how);
      await send(`./prepared/${i}`, feeds);
      await send(`./seen/${name}/${i}`, await engine(name).run(feeds));
    }
  },

  /** Time models by turns; milliseconds of each run, by name. */
  async time(
    names: string[],
    sample: string,
    rounds: number,
    milliseconds: number,
  ): Promise<Record<string, number[][]>> {
    const feeds = await tensors(sample);
    const times = Object.fromEntries(names.map((name) => [name, [] as number[][]]));
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? names : names.toReversed();
      for (const name of order) times[name]!.push(await engine(name).time(feeds, milliseconds));
    }
    return times;
  },

  heap: (name: string): Promise<number> => engine(name).heap(),

  /** Try to load one-node models in the runtime that is open; the error of each, or null. */
  async operators(name: string, addresses: string[]): Promise<(string | null)[]> {
    const found: (string | null)[] = [];
    for (const address of addresses) {
      try {
        await engine(name).reopen(await fetchBytes(address));
        found.push(null);
      } catch (error) {
        found.push(error instanceof Error ? error.message : String(error));
      }
    }
    return found;
  },

  close(name: string): void {
    engines.get(name)?.close();
    engines.delete(name);
  },
};

Object.assign(globalThis, { prove });
