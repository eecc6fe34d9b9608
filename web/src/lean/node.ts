/** Runs plans in Node for `sprat compile` and the tests: a list of cases in, their outputs out. */

import { readFileSync, writeFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";
import { decode, encode } from "../tensors.js";
import { LeanSession } from "./session.js";

interface Case {
  plan: string;
  weights: string;
  /** Files of tensors by name, one for each run. */
  feeds: string[];
  /** Where each run's outputs go. */
  outputs: string[];
  /** Runs after the first of each, whose outputs are not kept. */
  repeat?: number;
}

interface Job {
  /** The two wasm files, in brotli. */
  xnnpack: string;
  helper: string;
  cases: Case[];
}

interface Result {
  error?: string;
  /** Bytes of memory after loading, and at the end. */
  heaps?: [number, number];
}

const buffer = (path: string): ArrayBuffer => new Uint8Array(readFileSync(path)).buffer;

async function perform(one: Case, wasm: [WebAssembly.Module, WebAssembly.Module]): Promise<Result> {
  try {
    const [xnnpack, helper] = wasm;
    const plan = JSON.parse(readFileSync(one.plan, "utf8"));
    const session = await LeanSession.open({
      xnnpack,
      helper,
      plan,
      weights: buffer(one.weights),
    });
    const before = session.heap;
    for (const [i, path] of one.feeds.entries()) {
      const feeds = decode(buffer(path));
      writeFileSync(one.outputs[i]!, encode(session.run(feeds)));
      for (let k = 0; k < (one.repeat ?? 0); k++) session.run(feeds);
    }
    return { heaps: [before, session.heap] };
  } catch (error) {
    return { error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
}

const job: Job = JSON.parse(readFileSync(process.argv[2]!, "utf8"));
const load = (path: string) => WebAssembly.compile(brotliDecompressSync(readFileSync(path)));
const wasm = await Promise.all([load(job.xnnpack), load(job.helper)]);
const results: Result[] = [];
for (const one of job.cases) results.push(await perform(one, wasm));
process.stdout.write(JSON.stringify(results));
